"""Records of turns, and the attempts in them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from functools import cache
from hashlib import sha256

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from coe_core.identity import AttemptId
from coe_core.ledger import Attempt, Intent
from coe_core.message import Message
from coe_core.model import Price, Usage
from coe_core.parameter import ParameterValue
from coe_core.record import (
    Feedback,
    Interaction,
    JobRun,
    Pointer,
    Provenance,
    Record,
    Settlement,
    StateChange,
    Summary,
    conversation_digest,
)
from coe_core.testing.strategies.conversation import contents, exchanges
from coe_core.testing.strategies.schema import json_values
from coe_core.testing.strategies.text import names, texts
from coe_core.testing.strategies.turn import (
    amounts_usd,
    instants,
    passages,
    routes,
    session_ids,
    turn_ids,
    uuids7,
)
from coe_core.turn import GuardVerdict, Outcome, ToolRun


@cache
def prices() -> SearchStrategy[Price]:
    """Prices, free ones included."""
    return st.builds(
        Price, input=amounts_usd(), output=amounts_usd(), cached_input=st.none() | amounts_usd()
    )


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Billed tokens; the parts are never more than the whole."""
    inward, outward = draw(st.integers(0, 10**6)), draw(st.integers(0, 10**5))
    return Usage(
        input_tokens=inward,
        output_tokens=outward,
        cached_input_tokens=draw(st.integers(0, inward)),
        reasoning_tokens=draw(st.integers(0, outward)),
        estimated=draw(st.booleans()),
    )


@cache
def attempts() -> SearchStrategy[Attempt]:
    """Calls, ended in any way."""
    return st.builds(
        Attempt,
        id=uuids7().map(AttemptId),
        purpose=st.sampled_from(["chat", "embedding", "summary", "judge", "routing"]),
        model=names(),
        provider=names(),
        name=names(),
        started_at=instants(),
        duration_s=st.floats(0, 600),
        first_token_s=st.none() | st.floats(0, 60),
        usage=usages(),
        cost_usd=st.none() | amounts_usd(),
        price_version=st.none() | st.just("0123456789ab"),
        overspent_usd=st.just(Decimal(0)) | amounts_usd(),
        outcome=st.sampled_from(["ok", "failed", "cancelled"]),
        error_code=st.none() | st.just("upstream_cut"),
        error=st.none() | texts(),
        continues=st.none(),
    )


@cache
def intents() -> SearchStrategy[Intent]:
    """Announcements of attempts."""
    return st.builds(
        Intent,
        attempt_id=uuids7().map(AttemptId),
        owner_id=uuids7(),
        group=names(),
        model=names(),
        purpose=st.just("chat"),
        reserved_usd=amounts_usd(),
        at=instants(),
    )


@cache
def outcomes() -> SearchStrategy[Outcome]:
    """Ways to end."""
    return st.sampled_from(
        [
            Outcome(status="success", finish_reason="stop"),
            Outcome(status="failed", failure="target_error", error_code="upstream_cut", error="x"),
            Outcome(status="failed", error_code="invalid_field", error="잘못된 값"),
            Outcome(status="cancelled"),
            Outcome(status="waiting"),
        ]
    )


def _provenances() -> SearchStrategy[Provenance]:
    return st.builds(
        Provenance,
        format=names(),
        source=st.just("") | names(),
        at=st.none() | instants(),
        metadata=st.dictionaries(names(), json_values(), max_size=1),
    )


@st.composite
def interactions(draw: st.DrawFn, group: SearchStrategy[str] | None = None) -> Interaction:
    """One turn's record, whole: the first of its session, with an answer."""
    turn_id, started_at = draw(turn_ids()), draw(instants())
    asked = Message(role="user", content=draw(contents()))
    answer = Message(role="assistant", content=draw(texts()))
    exchange = draw(st.one_of(st.just(()), exchanges()))
    shown = draw(st.lists(passages(), max_size=1).map(tuple))
    values = st.builds(ParameterValue, value=json_values(), origin=st.just("request"))
    ran = st.builds(
        ToolRun,
        id=uuids7(),
        tool=names(),
        arguments=json_values(),
        result=json_values(),
        error_code=st.none(),
        error=st.none(),
        duration_s=st.floats(0, 60),
    )
    return Interaction(
        id=turn_id,
        group=draw(names() if group is None else group),
        session=draw(session_ids()),
        key_id=draw(st.none() | names()),
        user=draw(st.none() | texts()),
        started_at=started_at,
        ended_at=started_at + timedelta(seconds=draw(st.floats(0, 600))),
        requested_model=draw(names()),
        request_sha256=draw(st.just("0" * 64)),
        root_id=turn_id,
        new_messages=(asked,),
        options=draw(st.dictionaries(names(), json_values(), max_size=1)),
        headers=draw(st.dictionaries(names().map("x-coe-{}".format), names(), max_size=1)),
        route=draw(st.none() | routes()),
        params=draw(st.dictionaries(names(), values, max_size=1)),
        passages=shown,
        passages_used=tuple(passage.id for passage in shown if draw(st.booleans())),
        prompts=draw(st.dictionaries(names(), names(), max_size=1)),
        attempts=draw(st.lists(attempts(), max_size=2).map(tuple)),
        exchange=exchange,
        tool_runs=draw(st.lists(ran, max_size=1).map(tuple)),
        answer=(answer,),
        outcome=draw(outcomes()),
        conversation=conversation_digest((asked, *exchange, answer)),
        exposures=draw(st.dictionaries(names(), names(), max_size=1)),
        verdicts=draw(st.sampled_from([(), (GuardVerdict(verdict="redact", reason="이름"),)])),
        provenance=draw(st.none() | _provenances()),
    )


@cache
def state_changes() -> SearchStrategy[StateChange]:
    """Changes of owned state."""
    keys = names().map("toggles/plugins/{}".format)
    return st.builds(StateChange, key=keys, value=json_values(), actor=names(), at=instants())


@st.composite
def feedbacks(draw: st.DrawFn) -> Feedback:
    """What somebody says of a turn: something at least."""
    rating = draw(st.none() | st.sampled_from([-1, 0, 1]))
    return Feedback(
        id=draw(uuids7()),
        turn_id=draw(turn_ids()),
        group=draw(names()),
        rating=rating,
        label=draw(st.none() | names()),
        route=draw(st.none() | names()),
        text=draw(texts().filter(bool) if rating is None else st.none() | texts()),
        actor=draw(names()),
        at=draw(instants()),
    )


@cache
def summaries() -> SearchStrategy[Summary]:
    """Summaries of conversations that need not be there."""
    digests = uuids7().map(lambda id_: sha256(id_.encode()).hexdigest())
    return st.builds(
        Summary,
        id=digests,
        group=names(),
        session=session_ids(),
        first_turn=turn_ids(),
        last_turn=turn_ids(),
        messages=st.integers(1, 1000),
        extends=st.none() | digests,
        summarizer=names(),
        text=texts(),
        job_id=st.none() | uuids7(),
        at=instants(),
    )


@cache
def job_runs() -> SearchStrategy[JobRun]:
    """Work of jobs, ended in any way."""
    return st.builds(
        JobRun,
        id=uuids7(),
        job=names(),
        group=names(),
        started_at=instants(),
        ended_at=instants(),
        attempts=st.lists(attempts(), min_size=1, max_size=2).map(tuple),
        outcome=st.sampled_from(["ok", "failed"]),
        error_code=st.none() | st.just("upstream_cut"),
        error=st.none() | texts(),
    )


@cache
def records() -> SearchStrategy[Record]:
    """Records of every kind."""
    settled = st.builds(Settlement, intent=intents())
    noted = state_changes() | feedbacks() | settled
    return interactions() | noted | summaries() | job_runs()


@cache
def pointers() -> SearchStrategy[Pointer]:
    """Places in the log."""
    return st.builds(
        Pointer,
        segment=st.just("2026-11-01/interactions.jsonl"),
        offset=st.integers(0, 2**40),
        length=st.integers(2, 2**20),
        sha256=st.just("0" * 64),
    )
