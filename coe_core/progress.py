"""How far a turn has come: what its record is made from, however it ends."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from attrs import define, evolve, field

from coe_core.admission import Admission
from coe_core.answer import AnswerBuilder
from coe_core.caller import ModelCaller
from coe_core.citation import used
from coe_core.codec import canonical
from coe_core.error import CoeError
from coe_core.event import AttemptEnded, Event
from coe_core.message import Json, Message
from coe_core.record import Interaction, conversation_digest
from coe_core.service import Clock
from coe_core.turn import GuardVerdict, Outcome, Passage, Route, ToolRun, Turn

OWN_HEADERS = "x-coe-"
"""How the names of the headers begin that speak to CoE."""


@define
class Progress:
    """The state of a running turn."""

    admission: Admission
    clock: Clock
    caller: ModelCaller
    request_sha256: str
    options: Mapping[str, Json]
    """What the client asked for beside model and messages."""
    route: Route | None = None
    passages: tuple[Passage, ...] = ()
    prompts: dict[str, str] = field(factory=dict)
    verdicts: list[GuardVerdict] = field(factory=list)
    sent: AnswerBuilder = field(factory=AnswerBuilder)
    """The answer as the client sees it."""
    exchange: list[Message] = field(factory=list)
    tool_runs: list[ToolRun] = field(factory=list)
    tried: list[str] = field(factory=list)
    answered_by: str = ""
    finish_reasons: tuple[str, ...] = ()
    rescued_from: CoeError | None = None
    """Why the last resort answers, if it does."""
    recorded: bool = False
    _reported: int = field(default=0, init=False)

    @classmethod
    def of(cls, admission: Admission, clock: Clock, caller: ModelCaller) -> Progress:
        """Begin."""
        asked = admission.turn.request
        fields = asked.fields
        digest = hashlib.sha256(canonical(fields)).hexdigest()
        elsewhere = ("model", "messages") if asked.stream else ("model", "messages", "stream")
        options = {name: value for name, value in fields.items() if name not in elsewhere}
        return cls(admission, clock, caller, digest, options)

    @property
    def turn(self) -> Turn:
        """The turn itself."""
        return self.admission.turn

    @property
    def is_late(self) -> bool:
        """Whether the turn's time is over: nothing more is tried then."""
        return self.clock.monotonic_s() >= self.turn.deadline_s

    def replace_messages(self, new_messages: tuple[Message, ...]) -> None:
        """Let everything that follows see what the guards left of the new messages."""
        turn = self.turn
        if new_messages == turn.session.new_messages:
            return
        kept = turn.request.messages[: len(turn.request.messages) - len(new_messages)]
        turn = evolve(
            turn,
            session=evolve(turn.session, new_messages=new_messages),
            request=evolve(turn.request, messages=(*kept, *new_messages)),
        )
        self.admission = evolve(self.admission, turn=turn)

    def news(self) -> Sequence[Event]:
        """Return the attempts that have ended since the last look. Asked at every chunk."""
        attempts = self.admission.turn.ledger.attempts
        if len(attempts) == self._reported:
            return ()
        ended = attempts[self._reported :]
        self._reported += len(ended)
        return [AttemptEnded(attempt=attempt) for attempt in ended]

    def interaction(self, outcome: Outcome) -> Interaction:
        """Write the record of the turn as it stands."""
        turn = self.turn
        answer = self.sent.messages()
        conversation = (*turn.session.history, *turn.session.new_messages, *answer[:1])
        return Interaction(
            id=turn.id,
            group=turn.group,
            session=turn.session.id,
            key_id=turn.principal.key_id,
            user=turn.principal.user,
            role=turn.principal.role,
            started_at=turn.started_at,
            ended_at=self.clock.now(),
            requested_model=turn.request.model,
            request_sha256=self.request_sha256,
            follows=turn.session.follows,
            parent_turn_id=turn.parent_id,
            root_id=turn.root_id or turn.id,
            depth=turn.depth,
            new_messages=turn.session.new_messages,
            options=self.options,
            headers={n: v for n, v in turn.headers.items() if n.startswith(OWN_HEADERS)},
            route=self.route,
            params=turn.params.recorded,
            passages=self.passages,
            passages_used=used(self.passages, [message.text for message in answer]),
            prompts=dict(self.prompts),
            attempts=tuple(turn.ledger.attempts),
            exchange=tuple(self.exchange),
            tool_runs=tuple(self.tool_runs),
            answer=answer,
            outcome=outcome,
            conversation=conversation_digest(conversation) if answer else "",
            exposures=self.admission.exposures,
            verdicts=tuple(self.verdicts),
        )
