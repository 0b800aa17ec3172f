"""A turn, told in the events of the Responses API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from attrs import define, evolve, field

from coe_core.codec import unstructure
from coe_core.event import AttemptStarted, Delta, Event, TurnEnded, TurnFailed
from coe_core.model import Usage
from coe_server.responses.output import Output, ResponseEvent
from coe_server.responses.response import (
    IncompleteDetails,
    InputTokens,
    OutputTokens,
    Response,
    ResponseError,
    ResponseUsage,
)


@define
class Story:
    """One response while its turn runs: what it has come to, and what to tell of each event."""

    response: Response
    _output: Output = field(init=False)
    _told: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        """Begin with nothing said."""
        self._output = Output(self.response.id.partition("_")[2])

    def begin(self) -> list[ResponseEvent]:
        """Tell that the response exists."""
        return self._numbered(iter([self._whole("created"), self._whole("in_progress")]))

    def tell(self, event: Event) -> list[ResponseEvent]:
        """Take in an event of the turn."""
        match event:
            case Delta(chunk=chunk) if chunk.index == 0:
                return self._numbered(self._output.add(chunk))
            case AttemptStarted(model=model):
                self.response = evolve(self.response, model=model)
            case TurnEnded():
                return self._numbered(self._end(event))
            case TurnFailed(error=error):
                failure = ResponseError(code=error.code, message=error.message)
                return self._numbered(self.break_off("failed", failure))
        return []

    def break_off(
        self, status: Literal["failed", "cancelled"], error: ResponseError | None
    ) -> Iterator[ResponseEvent]:
        """End with what was said until then."""
        output = self._output.items("incomplete")
        self.response = evolve(self.response, status=status, output=output, error=error)
        return iter([*self._output.finish("incomplete"), self._whole(status)])

    def _end(self, ended: TurnEnded) -> Iterator[ResponseEvent]:
        self._output.cite(ended.record.passages)
        details = _incomplete(ended.finish_reasons[0])
        status: Literal["completed", "incomplete"] = "incomplete" if details else "completed"
        self.response = evolve(
            self.response,
            status=status,
            model=ended.model,
            output=self._output.items(status),
            usage=_usage(ended.usage),
            incomplete_details=details,
        )
        yield from self._output.finish(status)
        yield self._whole(status)

    def _whole(self, what: str) -> ResponseEvent:
        return {"type": f"response.{what}", "response": unstructure(self.response)}

    def _numbered(self, events: Iterator[ResponseEvent]) -> list[ResponseEvent]:
        told = [
            {**event, "sequence_number": number}
            for number, event in enumerate(events, start=self._told)
        ]
        self._told += len(told)
        return told


def _incomplete(finish_reason: str) -> IncompleteDetails | None:
    match finish_reason:
        case "length":
            return IncompleteDetails(reason="max_output_tokens")
        case "content_filter":
            return IncompleteDetails(reason="content_filter")
        case _:
            return None


def _usage(usage: Usage) -> ResponseUsage:
    return ResponseUsage(
        input_tokens=usage.input_tokens,
        input_tokens_details=InputTokens(cached_tokens=usage.cached_input_tokens),
        output_tokens=usage.output_tokens,
        output_tokens_details=OutputTokens(reasoning_tokens=usage.reasoning_tokens),
        total_tokens=usage.total_tokens,
    )
