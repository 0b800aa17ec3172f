"""A model provider that says what a test tells it to, and fails when it is told to."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence

from attrs import define, field, frozen

from coe_core.error import CoeError
from coe_core.model import FREE, Chunk, Model, Usage, Vectors
from coe_core.request import ChatRequest, EmbeddingRequest

DIMENSIONS = 8


@frozen(kw_only=True)
class Fault:
    """How one call fails: with `error`, after that many chunks of the answer."""

    error: CoeError
    after_chunks: int = 0


@frozen(kw_only=True)
class ScriptedOptions:
    """No keys of its own."""


@define
class ScriptedProvider:
    """A `ModelProvider` with two models, `scripted` and `scripted-embed`.

    The first call follows the first entry of `schedule`, and so on; None, and the end of the
    schedule, mean that the call goes well. `requests` keeps what was asked.
    """

    answers: Sequence[str] = ("A scripted answer.",)
    """Given in turn, over and over."""
    schedule: Sequence[Fault | None] = ()
    name: str = "scripted"
    requests: list[ChatRequest] = field(factory=list, init=False)

    @property
    def options(self) -> type[ScriptedOptions]:
        """The keys of `[models.ALIAS]` that are this provider's own."""
        return ScriptedOptions

    def models(self) -> Sequence[Model]:
        """List the two."""
        chat = Model(alias=self.name, provider=self.name, name="chat", price=FREE)
        alias = f"{self.name}-embed"
        embedding = Model(
            alias=alias, provider=self.name, name="embed", capability="embedding", price=FREE
        )
        return [chat, embedding]

    def describe(self, model: Model) -> Model:
        """Leave a configured model as it is."""
        return model

    async def complete(
        self, model: Model, request: ChatRequest, *, group: str
    ) -> AsyncIterator[Chunk]:
        """Give the next answer word by word, or whole to a request that does not stream."""
        turn = len(self.requests)
        self.requests.append(request)
        fault = self.schedule[turn] if turn < len(self.schedule) else None
        words = self.answers[turn % len(self.answers)].split(" ")
        pieces = [words[0], *(f" {word}" for word in words[1:])]
        for given, chunk in enumerate(_chunks(request, pieces)):
            if fault is not None and given == fault.after_chunks:
                raise fault.error
            yield chunk
        if fault is not None:
            raise fault.error

    async def embed(self, model: Model, request: EmbeddingRequest, *, group: str) -> Vectors:
        """Give each text a vector of its own, always the same."""
        digests = (hashlib.sha256(text.encode()).digest() for text in request.input)
        rows = [[byte / 255 for byte in digest[:DIMENSIONS]] for digest in digests]
        return Vectors.of(rows, Usage(input_tokens=len(rows)))


def _chunks(request: ChatRequest, pieces: list[str]) -> list[Chunk]:
    choices = range(request.n or 1)
    usage = Usage(input_tokens=len(request.messages), output_tokens=len(pieces) * len(choices))
    if not request.stream:
        text = "".join(pieces)
        whole = [Chunk(content=text, finish_reason="stop", index=index) for index in choices]
        return [*whole, Chunk(usage=usage)]
    said = [Chunk(content=piece, index=index) for piece in pieces for index in choices]
    ends = [Chunk(finish_reason="stop", index=index) for index in choices]
    return [*said, *ends, Chunk(usage=usage)]
