"""The laws of summarizers."""

from __future__ import annotations

from hypothesis import strategies as st

from coe_core.caller import estimate_tokens
from coe_core.contract import Summarizer
from coe_core.message import Message
from coe_core.testing.contracts.component import (
    ComponentContract,
    survives_cancellation,
    untouched,
)
from coe_core.testing.contracts.law import law
from coe_core.testing.strategies import conversations, texts
from coe_core.testing.turn import make_turn, scripted_application

LENIENCE = 2
"""Tokens are estimated; a summary twice as long as allowed is one that did not look."""

LIMITS = st.integers(8, 64)
PREVIOUS = st.none() | texts()


class SummarizerContract(ComponentContract[Summarizer]):
    """What holds of every summarizer."""

    contract = Summarizer

    @law(previous=PREVIOUS, messages=conversations(), limit_tokens=LIMITS)
    async def test_returns_a_text_within_the_limit(
        self,
        summarizer: Summarizer,
        previous: str | None,
        messages: tuple[Message, ...],
        limit_tokens: int,
    ) -> None:
        """A summary is a text of at most `limit_tokens` tokens."""
        text = await self.summary(summarizer, previous, messages, limit_tokens)
        assert isinstance(text, str), f"summarize() returned {text!r}; return the text"
        estimate = estimate_tokens(text)
        assert estimate <= limit_tokens * LENIENCE, (
            f"allowed were {limit_tokens} tokens, the summary has about {estimate}; "
            "a prompt with it would not fit"
        )

    @law(limit_tokens=LIMITS)
    async def test_keeps_what_was_said(self, summarizer: Summarizer, limit_tokens: int) -> None:
        """A conversation with words in it has a summary with words in it."""
        said = (Message(role="user", content="My order 4711 has not arrived."),)
        text = await self.summary(summarizer, None, said, limit_tokens)
        assert text.strip(), "a conversation was summarized as nothing"

    @law(previous=PREVIOUS, messages=conversations())
    async def test_leaves_the_messages_alone(
        self, summarizer: Summarizer, previous: str | None, messages: tuple[Message, ...]
    ) -> None:
        """Messages are read, not changed."""
        with untouched(messages):
            await self.summary(summarizer, previous, messages, 32)

    @law(messages=conversations(), steps=st.integers(0, 3))
    async def test_lets_itself_be_cancelled(
        self, summarizer: Summarizer, messages: tuple[Message, ...], steps: int
    ) -> None:
        """A summary that is no longer wanted can be cancelled."""
        work = self.summary(summarizer, None, messages, 32)
        await survives_cancellation(work, steps)

    async def summary(
        self,
        summarizer: Summarizer,
        previous: str | None,
        messages: tuple[Message, ...],
        limit_tokens: int,
    ) -> str:
        """Ask for a summary; the models are those of `coe_core.testing.ScriptedProvider`."""
        parent = make_turn(application=scripted_application())
        return await summarizer.summarize(
            previous, messages, limit_tokens=limit_tokens, parent=parent
        )
