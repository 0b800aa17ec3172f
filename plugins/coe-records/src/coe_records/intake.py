"""The intake: makes turns of what other systems wrote down."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import sha256
from unicodedata import normalize

from attrs import define, evolve, field, frozen

from coe_core.codec import canonical
from coe_core.identity import AttemptId, SessionId, TurnId
from coe_core.ledger import Attempt
from coe_core.message import Message
from coe_core.model import Usage
from coe_core.record import Interaction, Provenance, conversation_digest
from coe_core.service import Clock
from coe_core.turn import Outcome
from coe_records.dialogue import Dialogue

REMEMBERED = 10_000
"""How many conversations are kept in mind for a later line to go on with."""

UNKNOWN_USAGE = Usage(estimated=True)


@frozen
class End:
    """The turn at the end of a conversation: all of it that need be kept in mind."""

    turn_id: TurnId
    session: str


@define
class Intake:
    """Makes turns for a group. Made again from the same line, they have the same ids."""

    group: str
    _clock: Clock
    _ends: OrderedDict[tuple[str | None, str], End] = field(factory=OrderedDict, init=False)
    """Session as the export names it, and digest of a conversation, to its last turn."""

    def turns(self, dialogue: Dialogue, line: bytes) -> list[Interaction]:
        """Make the turns of a line, in their order."""
        if dialogue.answer is None:
            return list(self._conversation(dialogue, line))
        return [self._call(dialogue, dialogue.answer, line)]

    def _conversation(self, dialogue: Dialogue, line: bytes) -> Iterator[Interaction]:
        """Cut a whole conversation behind each of its answers."""
        session = dialogue.session or f"import-{conversation_digest(dialogue.messages)[:32]}"
        follows, start, whole = None, 0, dialogue.messages
        for end, message in enumerate(whole, start=1):
            is_answer, is_last = message.role == "assistant", end == len(whole)
            if not is_answer and not is_last:
                continue
            turn = self._turn(
                dialogue if is_last else evolve(dialogue, call=None),
                line,
                session=session,
                follows=follows,
                history=whole[:start],
                asked=whole[start : end - 1] if is_answer else whole[start:end],
                answer=(message,) if is_answer else (),
            )
            yield turn
            follows, start = turn.id, end

    def _call(self, dialogue: Dialogue, answer: tuple[Message, ...], line: bytes) -> Interaction:
        """Let a call go on with the conversation that it repeats, if that is in mind."""
        asked = dialogue.messages
        known = max((n for n, m in enumerate(asked, 1) if m.role == "assistant"), default=0)
        follows = self._ends.get((dialogue.session, conversation_digest(asked[:known])))
        start = known if follows else 0
        turn = self._turn(
            dialogue,
            line,
            session=(follows.session if follows else dialogue.session)
            or f"import-{conversation_digest((*asked, *answer))[:32]}",
            follows=follows.turn_id if follows else None,
            history=asked[:start],
            asked=asked[start:],
            answer=answer,
        )
        self._remember(dialogue.session, turn)
        return turn

    def _remember(self, session: str | None, turn: Interaction) -> None:
        self._ends[session, turn.conversation] = End(turn.id, turn.session)
        if len(self._ends) > REMEMBERED:
            self._ends.popitem(last=False)

    def _turn(
        self,
        dialogue: Dialogue,
        line: bytes,
        *,
        session: str,
        follows: TurnId | None,
        history: tuple[Message, ...],
        asked: tuple[Message, ...],
        answer: tuple[Message, ...],
    ) -> Interaction:
        conversation = conversation_digest((*history, *asked, *answer[:1]))
        turn_id = TurnId(_id(self.group, session, conversation, dialogue.source))
        # Those of one line began in their order, though the export has one time for all.
        later = timedelta(microseconds=len(history))
        started_at = (dialogue.started_at or self._clock.now()) + later
        return Interaction(
            id=turn_id,
            group=self.group,
            session=session_id(session),
            user=dialogue.user,
            started_at=started_at,
            ended_at=max(started_at, dialogue.ended_at or started_at),
            requested_model=dialogue.model,
            request_sha256=sha256(line).hexdigest(),
            follows=follows,
            root_id=turn_id,
            new_messages=asked,
            attempts=_attempts(dialogue, turn_id, started_at),
            answer=answer,
            outcome=_outcome(dialogue, answer),
            conversation=conversation,
            provenance=Provenance(
                format=dialogue.format,
                source=dialogue.source,
                at=dialogue.started_at,
                metadata=dialogue.metadata,
            ),
        )


def session_id(named: str) -> SessionId:
    """Write a session's name as a client's would be."""
    return SessionId(normalize("NFC", named))


def _attempts(dialogue: Dialogue, turn_id: TurnId, started_at: datetime) -> tuple[Attempt, ...]:
    call, ended_at = dialogue.call, dialogue.ended_at or started_at
    if call is None:
        return ()
    return (
        Attempt(
            id=AttemptId(_id(turn_id)),
            purpose="chat",
            model=dialogue.model,
            provider=call.provider,
            name=call.name or dialogue.model,
            started_at=started_at,
            duration_s=max(0.0, (ended_at - started_at).total_seconds()),
            usage=call.usage or UNKNOWN_USAGE,
            cost_usd=call.cost_usd,
            outcome="failed" if dialogue.error else "ok",
            error=dialogue.error,
        ),
    )


def _outcome(dialogue: Dialogue, answer: tuple[Message, ...]) -> Outcome:
    if dialogue.error:
        return Outcome(status="failed", failure="target_error", error=dialogue.error)
    if not answer:
        return Outcome(status="cancelled", error_code="no_answer")
    return Outcome(status="success")


def _id(*parts: str) -> str:
    """Make a UUIDv8 (RFC 9562, 5.8) of what it names."""
    number = int.from_bytes(sha256(canonical(parts)).digest()[:16])
    number &= ~((0xF << 76) | (0b11 << 62))
    return str(uuid.UUID(int=number | (0x8 << 76) | (0b10 << 62)))
