"""Turns, and what belongs to them: principals, sessions, routes, passages, budgets."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from coe_core.access import Credentials, GroupName, Principal
from coe_core.budget import Budget
from coe_core.identity import SessionId, TurnId
from coe_core.parameter import Parameters
from coe_core.testing.strategies.conversation import chat_requests, messages
from coe_core.testing.strategies.text import names, texts
from coe_core.testing.turn import make_budget, make_turn
from coe_core.turn import Candidate, Passage, Place, Route, Session, Turn

FIRST_MS, LAST_MS = 1_790_000_000_000, 1_830_000_000_000
"""From September 2026 to December 2027."""
LANGUAGES = st.sampled_from(["", "en", "ko"])


@cache
def instants() -> SearchStrategy[datetime]:
    """Aware times in UTC, to the microsecond, between 2026 and 2028."""
    return st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


@cache
def uuids7() -> SearchStrategy[str]:
    """UUIDv7 of any time."""

    def build(at_ms: int, noise: int) -> str:
        return str(UUID(int=at_ms << 80 | 0x7 << 76 | 0b10 << 62 | noise))

    return st.builds(build, st.integers(FIRST_MS, LAST_MS), st.integers(0, 2**62 - 1))


@cache
def turn_ids() -> SearchStrategy[TurnId]:
    """Ids of turns."""
    return uuids7().map(TurnId)


@cache
def session_ids() -> SearchStrategy[SessionId]:
    """Ids of sessions: ours, and those that clients choose."""
    return st.one_of(uuids7(), names()).map(SessionId)


@cache
def amounts_usd() -> SearchStrategy[Decimal]:
    """Money, to the millionth of a dollar."""
    return st.decimals(0, 1000, places=6, allow_nan=False)


@cache
def budgets() -> SearchStrategy[Budget]:
    """Budgets with a limit, some of zero, and without."""
    return st.builds(make_budget, names(), st.none() | st.just(Decimal(0)) | amounts_usd())


@cache
def principals() -> SearchStrategy[Principal]:
    """Principals of any group and role."""
    return st.builds(
        Principal,
        group=names().map(GroupName),
        key_id=st.none() | names(),
        user=st.none() | texts(),
        role=st.sampled_from(["viewer", "member", "operator", "admin"]),
    )


@cache
def credentials() -> SearchStrategy[Credentials]:
    """What clients show: nothing, a token of any kind, headers."""
    tokens = st.one_of(st.none(), st.just(""), names(), names().map("sk-coe-{}".format), texts())
    hosts = st.sampled_from([None, "127.0.0.1", "::1", "192.0.2.7"])
    headers = st.dictionaries(names(), texts(), max_size=2)
    return st.builds(Credentials, token=tokens, headers=headers, client_host=hosts)


@cache
def sessions() -> SearchStrategy[Session]:
    """Conversations before a turn: new ones, stored ones, those that the client carries."""
    several = st.lists(messages(), max_size=1).map(tuple)
    return st.builds(
        Session,
        id=session_ids(),
        follows=st.none() | turn_ids(),
        history=several,
        new_messages=several,
        summary=st.none() | texts(),
        carried=st.booleans(),
    )


@cache
def turns() -> SearchStrategy[Turn]:
    """Any turn: any text, group and role, with a budget that may be nothing."""
    return st.builds(
        make_turn,
        id=turn_ids(),
        request=chat_requests(st.just("auto")),
        principal=principals(),
        session=sessions(),
        params=st.dictionaries(names(), st.integers(0, 9), max_size=1).map(Parameters),
        headers=st.dictionaries(names(), texts(), max_size=1),
        limit_usd=st.none() | amounts_usd(),
        started_at=instants(),
        depth=st.integers(0, 2),
    )


@cache
def routes() -> SearchStrategy[Route]:
    """Decisions, to a model or to an agent."""
    candidate = st.builds(Candidate, target=names(), score=st.floats(0, 1), reason=texts())
    named = st.none() | st.lists(names(), max_size=2).map(tuple)
    told = {
        "confidence": st.floats(0, 1),
        "reason": texts(),
        "tools": named,
        "layers": named,
        "candidates": st.lists(candidate, max_size=2).map(tuple),
        "router": names(),
        "name": st.just("") | names(),
    }
    to_model = st.builds(Route, model=names(), agent=st.none(), **told)
    return to_model | st.builds(Route, model=st.none(), agent=names(), **told)


@cache
def layers() -> SearchStrategy[str]:
    """Names of layers."""
    return st.just("global") | names().map("group:{}".format)


@cache
def places() -> SearchStrategy[Place]:
    """Places in a source."""
    number = st.none() | st.integers(1, 999)
    return st.builds(
        Place,
        headings=st.lists(texts(), max_size=2).map(tuple),
        page=number,
        first_line=number,
        last_line=number,
    )


@cache
def passages(layer: SearchStrategy[str] | None = None) -> SearchStrategy[Passage]:
    """Pieces of knowledge."""
    return st.builds(
        Passage,
        id=uuids7(),
        text=texts(),
        layer=layers() if layer is None else layer,
        source=texts(),
        score=st.floats(0, 1),
        reason=texts(),
        retriever=names(),
        item=uuids7(),
        kind=st.sampled_from(["document", "fact", "turn"]),
        title=texts(),
        language=LANGUAGES,
        position=st.integers(0, 99),
        place=places(),
        valid_until=st.none() | instants(),
    )
