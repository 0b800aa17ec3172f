"""Summarize a conversation by its latest words."""

from collections.abc import Sequence

from attrs import frozen

from coe_core import Message, Payer, hookimpl
from coe_core.compose import Context


@frozen
class ExampleSummarizer:
    name: str = "example"

    async def summarize(
        self,
        previous: str | None,
        messages: Sequence[Message],
        *,
        limit_tokens: int,
        parent: Payer,
    ) -> str:
        said = [previous or "", *(f"{message.role}: {message.text}" for message in messages)]
        # A token is at least one character.
        return "\n".join(filter(None, said))[-limit_tokens:]


@frozen
class ExamplePlugin:
    @hookimpl
    def coe_summarizers(self, ctx: Context) -> list[ExampleSummarizer]:
        return [ExampleSummarizer()]
