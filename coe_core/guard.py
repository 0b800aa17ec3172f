"""Guards asked, step by step. Whatever goes wrong in one is a refusal."""

from __future__ import annotations

from attrs import evolve
from loguru import logger

from coe_core.error import GuardRefused
from coe_core.message import Message
from coe_core.patience import in_time
from coe_core.payer import Payer
from coe_core.turn import GuardVerdict


async def inspect(turn: Payer, step: str, text: str, verdicts: list[GuardVerdict]) -> str:
    """Ask every guard of a step, each seeing the text as the one before left it.

    Returns the text; verdicts other than `allow` are added to `verdicts`. Raises `GuardRefused`.
    """
    for guard in turn.application.guards:
        if step not in guard.steps:
            continue
        try:
            work = guard.inspect(turn, step, text)
            verdict = await in_time(turn.application, guard.name, work)
            if not isinstance(verdict, GuardVerdict):
                raise TypeError(f"the verdict is {verdict!r:.80}")
        except Exception as error:
            logger.bind(guard=guard.name, step=step).opt(exception=error).error("a guard failed")
            verdict = GuardVerdict(verdict="refuse", reason="the guard failed")
        if verdict.verdict == "allow":
            continue
        verdicts.append(evolve(verdict, guard=guard.name, step=step, text=None))
        if verdict.verdict == "refuse" or verdict.text is None:
            raise GuardRefused(f"the guard {guard.name!r} refused the {step}: {verdict.reason}")
        text = verdict.text
    return text


async def inspect_messages(
    turn: Payer, step: str, messages: tuple[Message, ...], verdicts: list[GuardVerdict]
) -> tuple[Message, ...]:
    """Ask every guard about every text of the messages."""
    if not any(step in guard.steps for guard in turn.application.guards):
        return messages
    return tuple([await _inspect_message(turn, step, m, verdicts) for m in messages])


async def _inspect_message(
    turn: Payer, step: str, message: Message, verdicts: list[GuardVerdict]
) -> Message:
    match message.content:
        case None:
            return message
        case str(text):
            return evolve(message, content=await inspect(turn, step, text, verdicts))
        case parts:
            inspected = [
                part
                if part.text is None
                else evolve(part, text=await inspect(turn, step, part.text, verdicts))
                for part in parts
            ]
            return evolve(message, content=tuple(inspected))
