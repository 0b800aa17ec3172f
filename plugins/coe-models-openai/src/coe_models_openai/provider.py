"""The provider `openai`: completes and embeds through any OpenAI-compatible upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, field
from loguru import logger

from coe_core.deadline import Deadline
from coe_core.error import (
    CoeError,
    ModelNotConfigured,
    SettingsError,
    UpstreamCut,
    UpstreamMalformed,
    UpstreamRejected,
)
from coe_core.model import Chunk, Model, Vectors
from coe_core.request import ChatRequest, EmbeddingRequest
from coe_models_openai.body import chat_body, embedding_body
from coe_models_openai.embedding import decode_vectors
from coe_models_openai.failure import Target, from_frame
from coe_models_openai.frame import AnswerDecoder, ErrorFrame, NotAFrame
from coe_models_openai.options import Options
from coe_models_openai.text import joined

if TYPE_CHECKING:
    import aiohttp

    from coe_models_openai.exchange import Exchange, Reply


T = TypeVar("T")


@define(eq=False)
class OpenAIProvider:
    """A `ModelProvider`. Connections are kept and used again until it is closed."""

    name: str = "openai"
    options: type[Any] = Options
    _session: aiohttp.ClientSession | None = field(default=None, init=False)
    _without_usage: set[str] = field(factory=set, init=False)
    """Upstreams that do not know `stream_options`."""

    def models(self) -> Sequence[Model]:
        return []

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def describe(self, model: Model) -> Model:
        return model

    async def complete(
        self, model: Model, request: ChatRequest, *, group: str
    ) -> AsyncIterator[Chunk]:
        with Deadline() as deadline:
            reply = await self._ask(self._exchange(model, deadline), model, request)
            decoder = AnswerDecoder(request.n or 1)
            target = reply.exchange.target
            try:
                if reply.is_stream:
                    async for chunk in _streamed(reply, decoder):
                        yield chunk
                else:
                    for chunk in _decoded(target, decoder.answer, await reply.read()):
                        yield chunk
            finally:
                reply.close()

    async def embed(self, model: Model, request: EmbeddingRequest, *, group: str) -> Vectors:
        body = embedding_body(model, request, model.options.embedding_format)
        with Deadline() as deadline:
            exchange = self._exchange(model, deadline)
            reply = await exchange.post("embeddings", body)
            try:
                text = await reply.read()
            finally:
                reply.close()
        count = len(request.tokens or request.input)
        return _decoded(exchange.target, lambda text: decode_vectors(text, count), text)

    async def _ask(self, exchange: Exchange, model: Model, request: ChatRequest) -> Reply:
        """Send the request, once more without `stream_options` if the upstream chokes on them."""
        options: Options = model.options
        timeout_s = model.timeouts.first_token_timeout_s if request.stream else None
        report_usage = options.base_url not in self._without_usage
        body = chat_body(model, request, report_usage=report_usage)
        try:
            return await exchange.post("chat/completions", body, timeout_s=timeout_s)
        except UpstreamRejected as error:
            if (
                "stream_options" not in body
                or "stream_options" not in f"{error.message} {error.param}"
            ):
                raise
        self._without_usage.add(options.base_url)
        body = chat_body(model, request, report_usage=False)
        return await exchange.post("chat/completions", body, timeout_s=timeout_s)

    def _exchange(self, model: Model, deadline: Deadline) -> Exchange:
        from coe_models_openai.exchange import Exchange, open_session

        options: Options = model.options
        try:
            secrets = options.reveal_secrets()
        except SettingsError as error:
            logger.bind(model=model.alias, why=error.message).error("a model's key is missing")
            raise ModelNotConfigured(model.alias) from error
        headers = options.open_headers() | secrets
        if options.api_key is not None:
            headers["Authorization"] = f"Bearer {secrets['Authorization']}"
        if self._session is None:
            self._session = open_session()
        return Exchange(
            session=self._session,
            options=options,
            timeouts=model.timeouts,
            target=Target(model.alias, options.host, tuple(secrets.values())),
            headers=headers,
            deadline=deadline,
            started_s=asyncio.get_running_loop().time(),
        )


async def _streamed(reply: Reply, decoder: AnswerDecoder) -> AsyncIterator[Chunk]:
    events, target = reply.events(), reply.exchange.target
    try:
        while (texts := await events.next(is_rest=decoder.finished)) is not None:
            frames = (
                chunk
                for text in texts
                for chunk in _decoded(target, decoder.chunks, text, broken_off=events.broken_off)
            )
            for chunk in joined(frames):
                yield chunk
    except CoeError:
        # A whole answer stays whole, whatever befalls the connection afterwards.
        if not decoder.finished:
            raise
    if not decoder.whole:
        raise target.error(UpstreamCut, "the stream ended before the answer did")


def _decoded(
    target: Target, decode: Callable[[bytes], T], text: bytes, *, broken_off: bool = False
) -> T:
    """Decode; what cannot be decoded becomes an error about the target."""
    try:
        return decode(text)
    except ErrorFrame as error:
        raise from_frame(target, error.body) from error
    except NotAFrame as error:
        kind = UpstreamCut if broken_off else UpstreamMalformed
        raise target.error(kind, str(error)) from error
