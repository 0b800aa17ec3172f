"""Capture: from turns of the record to cases in the folder."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from attrs import define, evolve, field, frozen

from coe_core.application import Application
from coe_core.codec import canonical, structure, unstructure
from coe_core.error import InvalidRequest
from coe_core.identity import TurnId
from coe_core.message import Message
from coe_core.record import Interaction
from coe_core.request import ChatRequest
from coe_core.service import Clock, RecordReader, SessionStore
from coe_regress.case import Case, Context, Seen, Step
from coe_regress.finding import Finding, findings
from coe_regress.folder import Folder
from coe_regress.mask import Mask, mask, masked_json, masked_message
from coe_regress.minimizer import Minimizer
from coe_regress.recorder import recording_of
from coe_regress.replay import how_it_went, replay
from coe_regress.settings import Settings
from coe_regress.stage import Stage

MOST_SEEN = 50
"""How many turns a case names; it counts the others."""
ASKED_AGAIN = timedelta(days=1)
"""How long after a turn it may be asked again."""
SET_PARAMS = ("operator", "experiment", "request")


class NoFailure(InvalidRequest):
    """The turn did not fail, as far as the record knows."""

    code = "no_failure"


@frozen(kw_only=True)
class Captured:
    """What became of a finding."""

    turn_id: str
    case: Case
    merged: bool
    """Whether the case was there, and now knows of the turn."""


@define
class Capturer:
    """Makes cases of what the record of an open deployment holds."""

    application: Application
    stage: Stage
    folder: Folder
    settings: Settings
    actor: str
    mask: Mask = mask
    _known: dict[str, Case] = field(init=False)

    @_known.default
    def _(self) -> dict[str, Case]:
        return {case.signature: case for case in self.folder.cases()}

    async def turn(self, group: str, turn_id: TurnId) -> Captured:
        """Make a case of one turn. Raises `NoFailure`."""
        turn = await self.application.need(RecordReader).interaction(group, turn_id)
        if turn is not None:
            until = turn.started_at + ASKED_AGAIN
            async for finding in self._findings(group, turn.started_at, until):
                if finding.turn.id == turn_id:
                    return await self._keep(finding)
        raise NoFailure(
            f"the turn {turn_id!r} is not in the record of the group {group!r}, or did not fail; "
            "`coe feedback TURN --route NAME` says that it should have gone elsewhere"
        )

    async def since(self, group: str | None, since: datetime) -> AsyncIterator[Captured]:
        """Make cases of all turns that began, or were spoken of, since a time; of every group
        where none is named.
        """
        async for finding in self._findings(group, since, None):
            yield await self._keep(finding)

    async def _findings(
        self, group: str | None, since: datetime, until: datetime | None
    ) -> AsyncIterator[Finding]:
        reader = self.application.need(RecordReader)
        turns = {t.id: t async for t in reader.interactions(group, since=since, until=until)}
        said = [each async for each in reader.feedback(group, since=since)]
        for each in said:  # Also of turns that are older.
            turn = await reader.interaction(each.group, each.turn_id)
            if turn is not None and turn.started_at < since:
                turns[turn.id] = turn
        in_order = sorted(turns.values(), key=lambda turn: (turn.started_at, turn.id))
        for finding in findings(in_order, said, self.settings.unsure_below):
            if not self._embeds(finding.turn):
                yield finding

    def _embeds(self, turn: Interaction) -> bool:
        """Whether a turn only made embeddings of a model that the client named: nothing was
        decided in it.
        """
        model = self.application.models.get(turn.requested_model)
        return model is not None and model.capability == "embedding"

    async def _keep(self, finding: Finding) -> Captured:
        case = await self._made(finding)
        known = self._known.get(case.signature)
        kept = case if known is None else _merged(known, case)
        if kept != known:
            self.folder.write(kept)
        self._known[kept.signature] = kept
        return Captured(turn_id=finding.turn.id, case=kept, merged=known is not None)

    async def _made(self, finding: Finding) -> Case:
        case = await self._whole(finding)
        if (known := self._known.get(case.signature)) is not None:
            return evolve(known, seen=case.seen)  # No need to make it smaller once more.
        case = await self._failing(case)
        if not case.reproduces:
            return case
        with self.stage.vectors.only_what_lasts():
            case = await Minimizer(self.stage).minimize(case)
            self.stage.vectors.used.clear()
            await replay(case, self.stage)
        return case

    async def _failing(self, case: Case) -> Case:
        """See whether a case fails on replay as its turn did."""
        found = await replay(case, self.stage)
        if case.failure == "budget_denied" and not found.misses(case):
            limit = self.application.group(case.context.group).budget_usd_month
            case = evolve(case, context=evolve(case.context, spent_usd=limit))
            found = await replay(case, self.stage)
        return evolve(case, reproduces=bool(found.misses(case)) and not found.unrecorded)

    async def _whole(self, finding: Finding) -> Case:
        turn = finding.turn
        signature = signature_of(finding, self.mask)
        context = await self._context(turn)
        if finding.failure == "budget_denied":
            context = evolve(context, spent_usd=await self._spent_before(turn))
        return Case(
            id=f"{finding.failure.replace('_', '-')}-{signature[:8]}",
            failure=finding.failure,
            request=self._request(turn),
            context=context,
            decision=turn.route,
            happened=how_it_went(turn),
            expect=finding.expect,
            recording=recording_of(turn, self.mask),
            signature=signature,
            seen=(await self._seen(finding),),
            history=(Step(state="candidate", at=self._now(), by=self.actor),),
        )

    def _now(self) -> datetime:
        return self.application.need(Clock).now()

    def _request(self, turn: Interaction) -> ChatRequest:
        asked = {"model": turn.requested_model, "messages": [{"role": "user", "content": ""}]}
        told = structure(masked_json(dict(turn.options), self.mask) | asked, ChatRequest)
        return evolve(told, messages=self._masked(turn.new_messages))

    def _masked(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        return tuple(masked_message(message, self.mask) for message in messages)

    async def _context(self, turn: Interaction) -> Context:
        store = self.application.need(SessionStore)
        limit = self.application.settings.coe.history_messages
        before = (
            await store.history(turn.group, turn.follows, limit=limit) if turn.follows else None
        )
        return Context(
            group=turn.group,
            role=turn.role,
            started_at=turn.started_at,
            headers={name: self.mask(value) for name, value in turn.headers.items()},
            history=self._masked(before.messages) if before else (),
            summary=self.mask(before.summary) if before and before.summary else None,
            params={n: p.value for n, p in turn.params.items() if p.origin in SET_PARAMS},
        )

    async def _spent_before(self, turn: Interaction) -> Decimal:
        """Add up what the group had spent of the month before the turn, by the turns' records."""
        month = turn.started_at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        reader = self.application.need(RecordReader)
        spent = Decimal(0)
        async for each in reader.interactions(turn.group, since=month, until=turn.started_at):
            spent += sum((a.cost_usd or Decimal(0) for a in each.attempts), Decimal(0))
        return spent

    async def _seen(self, finding: Finding) -> Seen:
        turn = finding.turn
        pointer = await self.application.need(RecordReader).pointer(turn.group, turn.id)
        said = tuple(
            evolve(each, text=None if each.text is None else self.mask(each.text))
            for each in finding.said
        )
        return Seen(turn_id=turn.id, at=turn.started_at, pointer=pointer, said=said)


def signature_of(finding: Finding, mask: Mask) -> str:
    """Digest what makes two failures the same: how, where and for whom. Where a request should
    have gone is a matter of its words, so those count where that is what failed.
    """
    turn, route = finding.turn, finding.turn.route
    words = [mask(m.text).casefold().split() for m in turn.new_messages if m.role == "user"]
    is_about_words = finding.failure in ("wrong_route", "low_confidence")
    alike = [
        turn.group,
        finding.failure,
        unstructure(finding.expect),
        [route.router, route.target, route.name] if route is not None else None,
        turn.outcome.error_code,
        list(dict.fromkeys((a.model, a.error_code) for a in turn.attempts if a.purpose == "chat")),
        words[-1:] if is_about_words else [],
    ]
    return hashlib.sha256(canonical(alike)).hexdigest()


def _merged(known: Case, case: Case) -> Case:
    """Let a case know of another turn that failed so; one that it knows changes nothing but what
    was said of it.
    """
    turns = {each.turn_id: each for each in known.seen}
    new = [each for each in case.seen if each.turn_id not in turns and not _is_older(each, known)]
    turns |= {each.turn_id: each for each in case.seen if each.turn_id in turns or each in new}
    newest = sorted(turns.values(), key=lambda each: (each.at, each.turn_id))[-MOST_SEEN:]
    return evolve(known, seen=tuple(newest), count=known.count + len(new))


def _is_older(seen: Seen, known: Case) -> bool:
    """Whether a turn may have been counted and forgotten."""
    return len(known.seen) >= MOST_SEEN and seen.at < known.seen[0].at
