"""The tape: what the far sides of plugins gave back, played to those who ask again.

It stands at the plugins' boundary: in the place of each provider, tool and retriever. What is not
on it is not answered, and remembered: such a replay proves nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from coe_core.codec import canonical
from coe_core.contract import ModelProvider, Tool, ToolContext
from coe_core.error import CoeError, ContextTooLong, ToolFailed, UpstreamError
from coe_core.message import Json
from coe_core.model import Chunk, Model, ToolCallDelta, Usage, Vectors
from coe_core.request import ChatRequest, EmbeddingRequest
from coe_core.turn import Passage, Turn
from coe_regress.case import Fault, ModelCall, Recording
from coe_regress.clock import ReplayClock
from coe_regress.vectors import VectorShelf

Embed = Callable[[Model, EmbeddingRequest], Awaitable[Vectors]]
"""Asks the real embedder, while a recording is made."""


class Unrecorded(UpstreamError):
    """Something was asked that the recording does not answer."""

    code = "unrecorded_call"
    retryable = False


@define
class Tape:
    """A recording while it is played."""

    recording: Recording
    vectors: VectorShelf
    clock: ReplayClock
    embed: Embed | None = None
    """Who is asked for vectors that are not there; None: nobody."""
    unrecorded: list[str] = field(factory=list)
    _played: Counter[str] = field(factory=Counter, init=False)
    _tools: list[bytes] = field(factory=list, init=False)

    def model_call(self, alias: str) -> ModelCall:
        """Return what a model gave: its calls in order, and what it failed with again and again."""
        calls = [call for call in self.recording.models if call.model == alias]
        number = self._played[alias]
        self._played[alias] += 1
        if number < len(calls):
            return calls[number]
        if calls and calls[-1].error is not None:
            return calls[-1]
        if self.recording.otherwise is None:
            raise self.missing(f"the model {alias!r} was not asked, or not so often")
        return ModelCall(model=alias, says=self.recording.otherwise)

    async def vectors_of(self, model: Model, request: EmbeddingRequest) -> Vectors:
        """Return recorded vectors, or ask for them while a recording is made."""
        found = self.vectors.find(model, request)
        if found is not None:
            return found
        if self.embed is None:
            raise self.missing(
                f"{model.alias!r} was not asked to embed this; `coe regress record` asks it"
            )
        given = await self.embed(model, request)
        self.vectors.add(model, request, given)
        return given

    def tool_result(self, name: str, arguments: Json) -> Json:
        """Return what a tool gave for these arguments, each answer once. Raises `ToolFailed`."""
        wanted = canonical([name, arguments])
        answers = [a for a in self.recording.tools if canonical([a.tool, a.arguments]) == wanted]
        number = self._tools.count(wanted)
        self._tools.append(wanted)
        if number >= len(answers):
            raise self.missing(f"the tool {name!r} was not called with these arguments")
        if (error := answers[number].error) is not None:
            raise ToolFailed(error)
        return answers[number].result

    def missing(self, what: str) -> Unrecorded:
        """Note that something is not on the tape."""
        self.unrecorded.append(what)
        return Unrecorded(what)


@frozen
class PlayedProvider:
    """A `ModelProvider` that knows its models as the real one does, and plays their answers."""

    real: ModelProvider
    tape: Tape

    @property
    def name(self) -> str:
        return self.real.name

    @property
    def options(self) -> type[Any]:
        return self.real.options

    def models(self) -> Sequence[Model]:
        return self.real.models()

    def describe(self, model: Model) -> Model:
        return self.real.describe(model)

    async def complete(
        self, model: Model, request: ChatRequest, *, group: str
    ) -> AsyncIterator[Chunk]:
        call = self.tape.model_call(model.alias)
        for chunk in _chunks(call, request):
            yield chunk
        self.tape.clock.advance(call.took_s)
        if call.error is not None:
            raise error_of(call.error)
        reason = call.finish_reason or ("tool_calls" if call.calls else "stop")
        for index in range(request.n or 1):
            yield Chunk(finish_reason=reason, index=index)
        yield Chunk(usage=call.usage or Usage(input_tokens=1, output_tokens=1))

    async def embed(self, model: Model, request: EmbeddingRequest, *, group: str) -> Vectors:
        return await self.tape.vectors_of(model, request)


@frozen
class PlayedTool:
    """A `Tool` that looks like the real one, and does nothing."""

    real: Tool
    tape: Tape

    @property
    def name(self) -> str:
        return self.real.name

    @property
    def description(self) -> str:
        return self.real.description

    @property
    def input_schema(self) -> Mapping[str, Json]:
        return self.real.input_schema

    @property
    def output_schema(self) -> Mapping[str, Json]:
        return self.real.output_schema

    @property
    def effects(self) -> Any:
        return self.real.effects

    async def call(self, arguments: Any, context: ToolContext) -> Json:
        return self.tape.tool_result(self.name, arguments)


@frozen
class PlayedRetriever:
    """A `Retriever` that finds what was found."""

    tape: Tape
    name: str = "recording"

    async def retrieve(self, turn: Turn, layers: tuple[str, ...]) -> Sequence[Passage]:
        return [p for p in self.tape.recording.passages if p.layer in layers]


def _chunks(call: ModelCall, request: ChatRequest) -> Iterator[Chunk]:
    pieces = re.findall(r"\s*\S+|\s+\Z", call.says) if request.stream else [call.says]
    for index in range(request.n or 1):
        for piece in pieces:
            if piece:
                yield Chunk(content=piece, index=index)
        for number, made in enumerate(call.calls):
            function = made.function
            yield Chunk(
                index=index,
                tool_calls=(
                    ToolCallDelta(
                        index=number, id=made.id, name=function.name, arguments=function.arguments
                    ),
                ),
            )


def error_of(fault: Fault) -> CoeError:
    """Make the error that a code stands for."""
    cls = ERRORS.get(fault.code, UpstreamError)
    error = cls.__new__(cls)  # Some are made from other things than their message.
    CoeError.__init__(error, fault.message or "recorded")
    return error


def _below(cls: type[CoeError]) -> Iterator[type[CoeError]]:
    yield cls
    for each in cls.__subclasses__():
        yield from _below(each)


_RAISED: tuple[type[CoeError], ...] = (ContextTooLong, *_below(UpstreamError))
ERRORS: Mapping[str, type[CoeError]] = {cls.code: cls for cls in _RAISED}
"""Code to class, of what a provider may raise."""
