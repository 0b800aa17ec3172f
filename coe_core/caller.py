"""Calls to models: each is paid from a budget, announced to the journal, and ends in the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Literal

from attrs import define, evolve, field, frozen
from loguru import logger

from coe_core.budget import ZERO, Reservation
from coe_core.deadline import Deadline
from coe_core.error import CoeError, MissingModel, UpstreamCut, UpstreamError, UpstreamTimeout
from coe_core.identity import AttemptId, uuid7
from coe_core.ledger import Attempt, Intent, Purpose
from coe_core.message import unmarked
from coe_core.model import Chunk, Model, Usage, Vectors
from coe_core.parameter import Parameters
from coe_core.payer import Payer
from coe_core.request import ChatRequest, EmbeddingRequest
from coe_core.service import Clock, Journal
from coe_core.turn import Turn

ASSUMED_OUTPUT_TOKENS = 4096
"""Reserved for when neither the client nor the model's settings limit the output."""
UNPRICED_USD = Decimal("0.000001")
"""Reserved for a call whose price nobody knows, so that a budget that is used up refuses it."""


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text, rather high: four letters of ASCII, or one of any other
    script, to a token.
    """
    ascii_letters = len(text) if text.isascii() else len(text.encode("ascii", "ignore"))
    return -(-ascii_letters // 4) + len(text) - ascii_letters


def estimate_prompt_tokens(request: ChatRequest) -> int:
    """Estimate the tokens of a prompt, with four for the frame of each message."""
    texts = sum(estimate_tokens(message.text) + 4 for message in request.messages)
    calls = sum(
        estimate_tokens(call.function.arguments)
        for message in request.messages
        for call in message.tool_calls
    )
    return texts + calls + sum(estimate_tokens(str(tool.function)) for tool in request.tools)


@define
class Call:
    """One call of a model while it runs; `attempt` is set when it has ended."""

    id: AttemptId
    model: Model
    purpose: Purpose
    payer: Payer
    reservation: Reservation
    clock: Clock
    prompt_tokens: int
    """Our estimate, in case the upstream reports nothing."""
    started_at: datetime
    started_s: float
    continues: AttemptId | None = None
    first_token_s: float | None = None
    usage: Usage | None = None
    output: list[str] = field(factory=list)
    """What came so far."""
    attempt: Attempt | None = None
    _open_choices: set[int] = field(factory=set, init=False)
    _finished: bool = field(default=False, init=False)

    async def chunks(self, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        """Yield the answer's chunks; on the way out, in whatever way, end the attempt."""
        provider = self.payer.application.model_providers[self.model.provider]
        if (messages := unmarked(request.messages)) != request.messages:
            request = evolve(request, messages=messages)
        with self._attempted(), Deadline() as deadline:
            answer = provider.complete(self.model, request, group=self.payer.group)
            async with closing(answer) as upstream:
                # Around each wait and not the whole loop: a generator may not yield inside a
                # timeout, or the deadline would cancel whoever happens to run then.
                while chunk := await deadline.wait(anext(upstream, None), self._until_s):
                    self._see(chunk)
                    yield chunk
            if self._open_choices or not self._finished:
                raise UpstreamCut(f"the answer of {self.model.alias!r} ended before it was whole")

    async def vectors(self, request: EmbeddingRequest) -> Vectors:
        """Embed, and end the attempt."""
        provider = self.payer.application.model_providers[self.model.provider]
        with self._attempted():
            async with asyncio.timeout_at(self._until_s):
                vectors = await provider.embed(self.model, request, group=self.payer.group)
            self.usage = vectors.usage if vectors.usage.input_tokens else None
        return vectors

    @property
    def _until_s(self) -> float:
        """The end of the call's time or of the turn's, on the event loop's clock: a provider
        should keep the call's itself.
        """
        own_s = self.started_s + self.model.timeouts.request_timeout_s
        left_s = min(self.payer.deadline_s, own_s) - self.clock.monotonic_s()
        return asyncio.get_running_loop().time() + left_s

    @contextmanager
    def _attempted(self) -> Iterator[None]:
        """End the attempt as the body ends; what the provider raises becomes an error of CoE."""
        try:
            yield
        except CoeError as error:
            self.end("failed", error)
            raise
        except Exception as error:
            known = self._known(error)
            self.end("failed", known)
            raise known from error
        except BaseException:  # Cancelled, or the client's iterator was closed.
            self.end("cancelled")
            raise
        self.end("ok")

    def _known(self, error: Exception) -> UpstreamError:
        if isinstance(error, TimeoutError):
            return UpstreamTimeout(f"{self.model.alias!r} did not answer within its time")
        # Its text is for the log alone: who knows what of this machine stands in it.
        provider = self.model.provider
        logger.bind(provider=provider).opt(exception=error).error("a provider raised")
        return UpstreamError(f"the provider {provider!r} failed: {type(error).__name__}")

    def _see(self, chunk: Chunk) -> None:
        if self.first_token_s is None and (chunk.content or chunk.tool_calls):
            self.first_token_s = self.clock.monotonic_s() - self.started_s
        if chunk.usage is not None:
            self.usage = chunk.usage
        if chunk.finish_reason is not None:
            self._finished = True
            self._open_choices.discard(chunk.index)
        elif chunk.content or chunk.tool_calls:
            self._open_choices.add(chunk.index)
        self.output.append(chunk.content)
        for piece in chunk.tool_calls:
            self.output.append(piece.arguments)

    def end(
        self, outcome: Literal["ok", "failed", "cancelled"], error: CoeError | None = None
    ) -> None:
        """Settle the call, once, and put it into the ledger."""
        if self.payer.ledger.running.pop(self.id, None) is None:
            return  # It was dropped, and the turn has ended meanwhile.
        usage = self.usage or self._estimate(outcome)
        price = self.model.price
        cost = price.cost_usd(usage) if price is not None else None
        self.attempt = Attempt(
            id=self.id,
            purpose=self.purpose,
            model=self.model.alias,
            provider=self.model.provider,
            name=self.model.name,
            started_at=self.started_at,
            duration_s=self.clock.monotonic_s() - self.started_s,
            first_token_s=self.first_token_s,
            usage=usage,
            cost_usd=cost,
            price_version=price.version if price is not None else None,
            overspent_usd=self.reservation.settle(cost or ZERO),
            outcome=outcome,
            error_code=error.code if error is not None else None,
            error=error.message if error is not None else None,
            continues=self.continues,
        )
        self.payer.ledger.attempts.append(self.attempt)

    def _estimate(self, outcome: str) -> Usage:
        """Estimate; an upstream that failed before its first token is taken to bill nothing."""
        if outcome == "failed" and self.first_token_s is None:
            return Usage(estimated=True)
        # Of the whole: in how many pieces it came must not change what it costs.
        output_tokens = estimate_tokens("".join(self.output))
        return Usage(input_tokens=self.prompt_tokens, output_tokens=output_tokens, estimated=True)


@asynccontextmanager
async def closing(chunks: AsyncIterator[Chunk]) -> AsyncIterator[AsyncIterator[Chunk]]:
    """Close an answer on the way out, if it can be: not every iterator is a generator."""
    try:
        yield aiter(chunks)
    finally:
        if (aclose := getattr(chunks, "aclose", None)) is not None:
            await aclose()


@frozen
class ModelCaller:
    """The `Caller` service."""

    clock: Clock

    async def begin(
        self,
        model: Model,
        prompt_tokens: int,
        output_tokens: int,
        *,
        purpose: Purpose,
        parent: Payer,
        continues: AttemptId | None = None,
    ) -> Call:
        """Reserve the money and announce the attempt. Raises `BudgetExceeded`, or `Unavailable`
        when the journal takes nothing.
        """
        likely = Usage(input_tokens=prompt_tokens, output_tokens=output_tokens)
        amount = model.price.cost_usd(likely) if model.price is not None else UNPRICED_USD
        reservation = await parent.budget.reserve(amount)
        timeouts = model.timeouts.under(_params(parent))
        call = Call(
            id=AttemptId(uuid7()),
            model=model if timeouts is model.timeouts else evolve(model, timeouts=timeouts),
            purpose=purpose,
            payer=parent,
            reservation=reservation,
            clock=self.clock,
            prompt_tokens=prompt_tokens,
            started_at=self.clock.now(),
            started_s=self.clock.monotonic_s(),
            continues=continues,
        )
        intent = Intent(
            attempt_id=call.id,
            owner_id=parent.id,
            group=parent.group,
            model=model.alias,
            purpose=purpose,
            reserved_usd=amount,
            at=call.started_at,
        )
        try:
            parent.application.need(Journal).intend(intent)
        except BaseException:
            reservation.settle(ZERO)
            raise
        parent.ledger.running[call.id] = partial(call.end, "cancelled")
        return call

    async def begin_chat(
        self,
        model: Model,
        request: ChatRequest,
        *,
        purpose: Purpose,
        parent: Payer,
        continues: AttemptId | None = None,
    ) -> Call:
        """Begin a chat completion."""
        output = request.output_limit_tokens or model.max_output_tokens or ASSUMED_OUTPUT_TOKENS
        return await self.begin(
            model,
            estimate_prompt_tokens(request),
            output * (request.n or 1),
            purpose=purpose,
            parent=parent,
            continues=continues,
        )

    async def complete(
        self, model: str, request: ChatRequest, *, purpose: Purpose, parent: Payer
    ) -> AsyncIterator[Chunk]:
        """Call a model by alias."""
        target = parent.application.model(model, parent.principal)
        call = await self.begin_chat(target, request, purpose=purpose, parent=parent)
        async with aclosing(call.chunks(request)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def embed(
        self, model: str, request: EmbeddingRequest, *, purpose: Purpose, parent: Payer
    ) -> Vectors:
        """Embed by alias."""
        target = parent.application.model(model, parent.principal)
        return await self.embed_with(target, request, purpose=purpose, parent=parent)

    async def embed_with(
        self, model: Model, request: EmbeddingRequest, *, purpose: Purpose, parent: Payer
    ) -> Vectors:
        """Embed with a model that the deployment has chosen, whatever the group may name itself."""
        tokens = sum(map(estimate_tokens, request.input)) + sum(map(len, request.tokens))
        call = await self.begin(model, tokens, 0, purpose=purpose, parent=parent)
        return await call.vectors(request)


@frozen
class ModelEmbedder:
    """The `Embedder` service: `[coe] embedder`, called like any other model."""

    alias: str
    caller: ModelCaller

    async def embed(
        self, texts: Sequence[str], *, purpose: str, parent: Payer, model: str | None = None
    ) -> Vectors:
        """Embed texts as `query` or `passage`, by the deployment's embedder or another model."""
        alias = model or self.alias
        target = parent.application.models.get(alias)
        if target is None:
            named = "[coe] embedder names" if model is None else "an embedder is asked for as"
            raise MissingModel(f"{named} {alias!r}, which is no model of this deployment")
        request = EmbeddingRequest(model=alias, input=tuple(texts), purpose=purpose)
        questions = parent.ledger.questions if purpose == "query" else {}
        if (found := questions.get((alias, request.input))) is None:
            found = await self.caller.embed_with(
                target, request, purpose="embedding", parent=parent
            )
            questions[alias, request.input] = found
        return found


def _params(payer: Payer) -> Parameters:
    """Return the parameters in force: a turn has its own, other work those of the deployment."""
    return payer.params if isinstance(payer, Turn) else payer.application.params()
