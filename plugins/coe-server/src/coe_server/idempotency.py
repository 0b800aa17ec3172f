"""`Idempotency-Key`: a request that is sent again gets the same answer, and is not run again.

The first try claims the key in the state store, under the id that its turn will have. Whoever
comes with the same key meanwhile waits; whoever comes later gets the answer from the record. A
claim is a lease, renewed while the turn runs, so that a worker that dies does not keep the key; if
its turn was recorded before it died, the record answers. A try that fails, or whose client leaves,
frees the key.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from attrs import evolve, field, frozen
from loguru import logger

from coe_core import engine
from coe_core.admission import Ask
from coe_core.codec import structure, unstructure
from coe_core.error import Conflict, InvalidField, Unavailable
from coe_core.event import Event, TurnEnded
from coe_core.http import HttpRequest
from coe_core.identity import TurnId, uuid7
from coe_core.message import Json
from coe_core.model import Usage, Vectors
from coe_core.record import Interaction
from coe_core.request import EmbeddingRequest
from coe_core.service import Clock, RecordReader, StateStore, Versioned
from coe_server.replay import replay

T = TypeVar("T")
Events = AsyncGenerator[Event, None]

HEADER = "idempotency-key"
LONGEST_KEY = 255
KEPT = timedelta(hours=24)
"""How long an answer can be had again."""
LEASE = timedelta(seconds=15)
"""A claim that is not renewed for so long belongs to a worker that died."""
KEPT_BYTES = 4 * 1024 * 1024
"""Vectors larger than this are computed again: the state store is for small things."""


def run(request: HttpRequest, ask: Ask) -> Events:
    """Run a turn, or tell the one again that had the request's key. As `coe_core.engine.run`;
    raises `Conflict` also, when the key was used for another request.
    """
    if HEADER in request.headers:
        return _run_once(request, ask)
    return engine.run(request.application, ask)


async def embed(request: HttpRequest, wanted: EmbeddingRequest) -> Vectors:
    """Embed, or give the vectors again that were made for the request's key."""
    if HEADER not in request.headers:
        return await engine.embed(request.application, request.principal, wanted)

    async def vectors(claim: Claim) -> Vectors | None:
        return claim.answer and _unpacked(claim.answer)

    key = Key.of(request, vectors)
    claim = await key.take()
    if isinstance(claim, Vectors):
        return claim
    async with key.held(claim) as end:
        made = await engine.embed(request.application, request.principal, wanted)
        if len(made.data) <= KEPT_BYTES:
            await end(_packed(made))
        return made


async def _run_once(request: HttpRequest, ask: Ask) -> Events:
    reader = request.application.need(RecordReader)

    async def told_again(claim: Claim) -> Replay | None:
        record = await reader.interaction(request.principal.group, claim.turn_id)
        if record is None or record.outcome.status != "success":
            return None
        return Replay(record, tuple((claim.answer or {}).get("finish_reasons", ())))

    key = Key.of(request, told_again)
    claim = await key.take()
    if isinstance(claim, Replay):
        for event in replay(request.application, ask, claim.record, claim.finish_reasons):
            yield event
        return
    own = evolve(ask, turn_id=claim.turn_id)
    async with key.held(claim) as end, aclosing(engine.run(request.application, own)) as events:
        async for event in events:
            if isinstance(event, TurnEnded):
                await end({"finish_reasons": list(event.finish_reasons)})
            yield event


@frozen
class Replay:
    """A turn that can be told again."""

    record: Interaction
    finish_reasons: tuple[str, ...]
    """Empty when the worker died before it could note them."""


@frozen(kw_only=True)
class Claim:
    """What the state store holds of a key."""

    digest: str
    """Of the request."""
    turn_id: TurnId
    until: datetime
    """The end of the lease, or of the time for which the answer is kept."""
    answer: Json = None
    """None while the first try runs."""


@frozen(kw_only=True)
class Key(Generic[T]):
    """A key in the state store. `recall` finds what a claim came to, None when it failed."""

    name: str
    digest: str
    store: StateStore
    clock: Clock
    recall: Callable[[Claim], Awaitable[T | None]] = field(repr=False)

    @classmethod
    def of(cls, request: HttpRequest, recall: Callable[[Claim], Awaitable[T | None]]) -> Key[T]:
        """Read it from a request. Raises `InvalidField`."""
        key = request.headers[HEADER]
        if not 0 < len(key) <= LONGEST_KEY:
            raise InvalidField(
                f"the header Idempotency-Key has 1 to {LONGEST_KEY} characters, not {len(key)}",
                param="Idempotency-Key",
            )
        hashed = hashlib.sha256(key.encode()).hexdigest()
        return cls(
            name=f"idempotency/{request.principal.group}/{hashed}",
            digest=_digest(request),
            store=request.application.need(StateStore),
            clock=request.application.need(Clock),
            recall=recall,
        )

    async def take(self) -> T | Claim:
        """Claim the key, or return what it has come to; waits while another try runs."""
        while True:
            entry = await self.store.get(self.name)
            if (held := self._read(entry)) is not None:
                if held.answer is None and self.clock.now() < held.until:
                    self._check(held)
                    await self._changed(entry, held.until)
                    continue
                if (found := await self.recall(held)) is not None:
                    self._check(held)
                    return found
            claim = Claim(
                digest=self.digest, turn_id=TurnId(uuid7()), until=self.clock.now() + LEASE
            )
            with contextlib.suppress(Conflict):
                await self.store.put(self.name, unstructure(claim), expect=entry.version)
                await self._sweep()
                return claim

    @asynccontextmanager
    async def held(self, claim: Claim) -> AsyncIterator[Callable[[Json], Awaitable[None]]]:
        """Renew the claim while the body runs. The body gets a function to call with the answer;
        if it does not, the key is freed, unless the turn was recorded all the same.
        """
        answers: list[Json] = []

        async def end(answer: Json) -> None:
            answers.append(answer)
            await self._write(claim, answer)

        renewal = asyncio.create_task(self._renew(claim))
        try:
            yield end
        finally:
            renewal.cancel()
            await asyncio.wait([renewal])
            if not answers:
                recorded = await self.recall(claim) is not None
                await self._write(claim, {} if recorded else None)

    def _read(self, entry: Versioned) -> Claim | None:
        if entry.value is None:
            return None
        claim = structure(entry.value, Claim)
        outlived = claim.answer is not None and self.clock.now() >= claim.until
        return None if outlived else claim

    def _check(self, held: Claim) -> None:
        if held.digest != self.digest:
            raise Conflict(
                "this Idempotency-Key was used for another request; "
                "send each request under a key of its own",
                param="Idempotency-Key",
            )

    async def _changed(self, entry: Versioned, until: datetime) -> None:
        """Wait until the entry is another, or the lease is over."""
        patience_s = (until - self.clock.now()).total_seconds()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s), aclosing(_watch(self.store, self.name)) as seen:
                async for now in seen:
                    if now != entry:
                        return

    async def _renew(self, claim: Claim) -> None:
        while True:
            await self.clock.sleep(LEASE.total_seconds() / 3)
            await self._replace(claim, evolve(claim, until=self.clock.now() + LEASE))

    async def _write(self, claim: Claim, answer: Json) -> None:
        """Note the answer, or free the key when there is none."""
        kept = evolve(claim, answer=answer, until=self.clock.now() + KEPT)
        await self._replace(claim, None if answer is None else kept)

    async def _replace(self, claim: Claim, by: Claim | None) -> None:
        """Replace a claim of ours, if it still is. When the state store fails, the turn goes on:
        after the lease the record answers for it.
        """
        try:
            entry = await self.store.get(self.name)
            while entry.value is not None and entry.value["turn_id"] == claim.turn_id:
                with contextlib.suppress(Conflict):
                    value = None if by is None else unstructure(by)
                    await self.store.put(self.name, value, expect=entry.version)
                    return
                entry = await self.store.get(self.name)
        except Unavailable as error:
            logger.bind(error=error.message).warning("an idempotency key could not be written")

    async def _sweep(self) -> None:
        """Remove the group's outlived keys; one claim in 256 does, and its key decides which."""
        folder, _, hashed = self.name.rpartition("/")
        if not hashed.startswith("00"):
            return
        for name, entry in (await self.store.list(f"{folder}/")).items():
            if structure(entry.value, Claim).until + KEPT < self.clock.now():
                with contextlib.suppress(Conflict):
                    await self.store.put(name, None, expect=entry.version)


async def _watch(store: StateStore, key: str) -> AsyncGenerator[Versioned, None]:
    async for values in store.watch(key):
        yield values.get(key, Versioned())


def _digest(request: HttpRequest) -> str:
    session = request.headers.get("x-coe-session", "")
    place = f"{request.method} {request.path}\n{session}\n"
    return hashlib.sha256(place.encode() + request.body).hexdigest()


def _packed(vectors: Vectors) -> Json:
    data = base64.b64encode(vectors.data).decode()
    return unstructure(vectors) | {"data": data}


def _unpacked(value: Json) -> Vectors:
    return Vectors(
        data=base64.b64decode(value["data"]),
        dimensions=value["dimensions"],
        usage=structure(value["usage"], Usage),
    )
