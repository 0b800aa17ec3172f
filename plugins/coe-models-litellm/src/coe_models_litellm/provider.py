"""The provider `litellm`: completes and embeds through whatever litellm knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from attrs import define, evolve, field, frozen
from loguru import logger

from coe_core.error import (
    ModelNotConfigured,
    SettingsError,
    StartRefused,
    UpstreamCut,
    UpstreamMalformed,
    UpstreamTimeout,
)
from coe_core.model import Chunk, Model, Vectors
from coe_core.request import ChatRequest, EmbeddingRequest
from coe_core.timeout import Timeouts
from coe_models_litellm import answer, library
from coe_models_litellm.call import chat_arguments, embedding_arguments
from coe_models_litellm.failure import Target
from coe_models_litellm.options import Options

T = TypeVar("T")


@define(eq=False)
class LiteLLMProvider:
    """A `ModelProvider`. litellm is imported with the first call."""

    name: str = "litellm"
    options: type[Any] = Options
    _litellm: Any = field(default=None, init=False)

    def models(self) -> Sequence[Model]:
        return []

    async def close(self) -> None:
        if self._litellm is not None:
            await library.close(self._litellm)
            self._litellm = None

    def describe(self, model: Model) -> Model:
        return model

    async def complete(
        self, model: Model, request: ChatRequest, *, group: str
    ) -> AsyncIterator[Chunk]:
        call = await self._begin(model)
        asked = chat_arguments(model, request)
        wait_s = call.timeouts.first_token_timeout_s if asked["stream"] else None
        completion = self._litellm.acompletion(**call.arguments, **asked)
        answered = await call.in_time(completion, wait_s)
        chunks = _streamed(call, answered) if asked["stream"] else _plain(call, answered)
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk

    async def embed(self, model: Model, request: EmbeddingRequest, *, group: str) -> Vectors:
        call = await self._begin(model)
        asked = embedding_arguments(model, request)
        answered = await call.in_time(self._litellm.aembedding(**call.arguments, **asked))
        try:
            return answer.vectors(answered, len(request.tokens or request.input))
        except (LookupError, TypeError, ValueError) as error:
            raise call.target.error(UpstreamMalformed, f"no vectors: {error}") from error

    async def _begin(self, model: Model) -> Call:
        options: Options = model.options
        request_s = model.timeouts.request_timeout_s
        target = Target(model.alias, model.name)
        try:
            secrets = options.reveal_secrets()
            self._litellm = self._litellm or await library.load()
        except (SettingsError, StartRefused) as error:
            logger.bind(model=model.alias, why=error.message).error("a model cannot be called")
            raise ModelNotConfigured(model.alias) from error
        return Call(
            target=evolve(target, secrets=tuple(secrets.values())),
            timeouts=model.timeouts,
            arguments={"timeout": request_s} | options.arguments() | secrets,
            ends_s=asyncio.get_running_loop().time() + request_s,
        )


@frozen(kw_only=True)
class Call:
    """A call that may take until `ends_s` on the event loop's clock."""

    target: Target
    timeouts: Timeouts
    arguments: Mapping[str, Any] = field(repr=False)
    ends_s: float

    async def in_time(self, awaitable: Awaitable[T], wait_s: float | None = None) -> T:
        """Wait for a step, at most `wait_s`, nor beyond the call's end."""
        wait_until_s = asyncio.get_running_loop().time() + (
            wait_s or self.timeouts.request_timeout_s
        )
        try:
            async with asyncio.timeout_at(min(wait_until_s, self.ends_s)):
                return await awaitable
        except TimeoutError:
            text = "no answer, or no more of it, in time"
            raise self.target.error(UpstreamTimeout, text) from None
        except Exception as error:  # whatever some provider's code raises
            # Without its cause: that would carry the arguments, and the key, into logs.
            raise self.target.failure(error) from None


async def _plain(call: Call, answered: Any) -> AsyncGenerator[Chunk]:
    chunks = list(answer.chunks(answered))
    if not chunks:
        raise call.target.error(UpstreamMalformed, "an answer without a choice")
    chunks[-1] = evolve(chunks[-1], usage=answer.last_usage([answered]))
    for chunk in chunks:
        yield chunk


async def _streamed(call: Call, stream: Any) -> AsyncGenerator[Chunk]:
    wait_s = call.timeouts.first_token_timeout_s
    try:
        while (frame := await call.in_time(anext(stream, None), wait_s)) is not None:
            wait_s = call.timeouts.stall_timeout_s
            for chunk in answer.chunks(frame):
                # litellm ends every stream with a finish reason, its own if none had come.
                if chunk.finish_reason and not answer.is_finished(stream):
                    text = "the stream ended before the answer did"
                    raise call.target.error(UpstreamCut, text)
                yield chunk
        if (usage := answer.last_usage(stream.chunks)) is not None:
            yield Chunk(usage=usage)
    finally:
        await stream.aclose()
