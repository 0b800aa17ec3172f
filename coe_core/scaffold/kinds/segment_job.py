"""Count the words of questions, by group: something that can be made again from the log."""

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field, frozen

from coe_core import Interaction, hookimpl
from coe_core.compose import Context
from coe_core.record import Record


def words(records: Sequence[Record]) -> Sequence[Any]:
    turns = [record for record in records if isinstance(record, Interaction)]
    return [
        {"turn": turn.id, "words": sum(len(m.text.split()) for m in turn.new_messages)}
        for turn in turns
    ]


@define
class ExampleSegmentJob:
    name: str = "example"
    version: str = "1"
    derive: Callable[[Sequence[Record]], Sequence[Any]] = words
    kept: dict[str, int] = field(factory=dict)

    async def keep(self, results: Sequence[Any]) -> None:
        # By the turn's id, so that keeping it again changes nothing.
        self.kept |= {result["turn"]: result["words"] for result in results}


@frozen
class ExamplePlugin:
    @hookimpl
    def coe_segment_jobs(self, ctx: Context) -> list[ExampleSegmentJob]:
        return [ExampleSegmentJob()]
