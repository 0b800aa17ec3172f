"""The laws of guards."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from hypothesis import strategies as st

from coe_core.contract import Guard
from coe_core.testing.contracts.component import (
    ComponentContract,
    survives_cancellation,
    untouched,
)
from coe_core.testing.contracts.law import law
from coe_core.testing.strategies import texts, turns
from coe_core.turn import GuardVerdict, Turn

STEPS = frozenset({"request", "egress", "tool_call", "answer"})


class GuardContract(ComponentContract[Guard]):
    """What holds of every guard, whatever text it is shown."""

    contract = Guard
    catches: ClassVar[tuple[str, ...]] = ()
    """Texts that the guard must not let pass as they are; name some."""

    @law()
    async def test_wants_known_steps(self, guard: Guard) -> None:
        """A guard wants to see at least one of the four steps."""
        assert guard.steps, "steps is empty: the guard is never asked"
        unknown = set(guard.steps) - STEPS
        assert not unknown, f"steps {sorted(unknown)} are unknown; there are {sorted(STEPS)}"

    @law(turn=turns(), text=texts())
    async def test_judges_any_text(self, guard: Guard, turn: Turn, text: str) -> None:
        """Any text gets a verdict; an error would count as a refusal. A refusal has a reason, a
        redaction its text.
        """
        for step in guard.steps:
            verdict = await guard.inspect(turn, step, text)
            assert isinstance(verdict, GuardVerdict), (
                f"inspect() returned {verdict!r}; return coe_core.ALLOW or a GuardVerdict"
            )
            match verdict.verdict:
                case "allow":
                    assert verdict.text in (None, text), (
                        'a verdict that changes the text says verdict="redact"'
                    )
                case "redact":
                    assert verdict.text is not None, "a redaction has no text to go on with"
                case "refuse":
                    assert verdict.reason.strip(), "a refusal has no reason; the client reads it"
                case other:
                    raise AssertionError(f"verdict is {other!r}; say allow, redact or refuse")

    @law(turn=turns(), text=texts())
    async def test_is_content_with_its_own_redaction(
        self, guard: Guard, turn: Turn, text: str
    ) -> None:
        """A text that the guard has redacted passes it unchanged: it is shown again."""
        for shown in (text, *(f"{text} {caught}" for caught in self.catches)):
            for step in guard.steps:
                verdict = await guard.inspect(turn, step, shown)
                if verdict.verdict != "redact" or verdict.text is None:
                    continue
                again = await guard.inspect(turn, step, verdict.text)
                assert again.verdict == "allow" or again.text == verdict.text, (
                    f"made {verdict.text!r} of {shown!r}, and of that {again!r}"
                )

    @law(turn=turns(), around=texts())
    async def test_catches_what_it_is_for(self, guard: Guard, turn: Turn, around: str) -> None:
        """What `catches` names passes at no step unchanged, whatever stands beside it."""
        for caught in self.catches:
            for step in guard.steps:
                verdict = await guard.inspect(turn, step, f"{around} {caught} {around}")
                assert verdict.verdict != "allow", f"{caught!r} passed the step {step}"
                assert caught not in (verdict.text or ""), (
                    f"{caught!r} is still in the redacted text {verdict.text!r}"
                )

    @law(turn=turns(), text=texts())
    async def test_judges_alike(self, guard: Guard, turn: Turn, text: str) -> None:
        """The same text at the same step gets the same verdict, at once or one by one, and the
        turn is left alone.
        """
        for step in guard.steps:
            with untouched(turn):
                first, second = await asyncio.gather(
                    *(guard.inspect(turn, step, text) for _ in range(2))
                )
            assert first == second, f"{text!r} got {first!r}, then {second!r}"

    @law(turn=turns(), steps=st.integers(0, 3))
    async def test_lets_itself_be_cancelled(self, guard: Guard, turn: Turn, steps: int) -> None:
        """A client that goes away cancels the inspection."""
        step = next(iter(guard.steps))
        await survives_cancellation(guard.inspect(turn, step, "Hello"), steps)
