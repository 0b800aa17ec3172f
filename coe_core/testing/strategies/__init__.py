"""Hypothesis strategies for CoE's types.

Once Hypothesis is imported they are registered: `st.from_type(Message)` and
`@given(st.from_type(Turn))` work by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

from coe_core.access import Credentials, Principal
from coe_core.budget import Budget
from coe_core.card import Card
from coe_core.contract import Alert, Failure, Sample
from coe_core.error import CoeError
from coe_core.ledger import Attempt, Intent
from coe_core.message import Message, Part, ToolCall
from coe_core.model import Price, Usage
from coe_core.record import Feedback, Interaction, JobRun, Pointer, StateChange, Summary
from coe_core.request import ChatRequest, EmbeddingRequest, ToolDefinition
from coe_core.testing.scripted import Fault
from coe_core.testing.strategies.conversation import (
    chat_requests,
    contents,
    conversations,
    embedding_requests,
    exchanges,
    messages,
    parts,
    tool_calls,
    tool_definitions,
)
from coe_core.testing.strategies.failure import (
    failure_schedules,
    failures,
    faults,
    upstream_errors,
)
from coe_core.testing.strategies.knowledge import alerts, cards, documents, samples
from coe_core.testing.strategies.record import (
    attempts,
    feedbacks,
    intents,
    interactions,
    job_runs,
    outcomes,
    pointers,
    prices,
    records,
    state_changes,
    summaries,
    usages,
)
from coe_core.testing.strategies.schema import (
    json_objects,
    json_values,
    object_schemas,
    schemas,
    schemas_with_values,
    values_of,
)
from coe_core.testing.strategies.text import decomposed, emoji, korean, names, sentences, texts
from coe_core.testing.strategies.turn import (
    amounts_usd,
    budgets,
    credentials,
    instants,
    layers,
    passages,
    places,
    principals,
    routes,
    session_ids,
    sessions,
    turn_ids,
    turns,
    uuids7,
)
from coe_core.turn import Outcome, Passage, Place, Route, Session, Turn

__all__ = [
    "alerts",
    "amounts_usd",
    "attempts",
    "budgets",
    "cards",
    "chat_requests",
    "contents",
    "conversations",
    "credentials",
    "decomposed",
    "documents",
    "embedding_requests",
    "emoji",
    "exchanges",
    "failure_schedules",
    "failures",
    "faults",
    "feedbacks",
    "instants",
    "intents",
    "interactions",
    "job_runs",
    "json_objects",
    "json_values",
    "korean",
    "layers",
    "messages",
    "names",
    "object_schemas",
    "outcomes",
    "parts",
    "passages",
    "places",
    "pointers",
    "prices",
    "principals",
    "records",
    "register",
    "routes",
    "samples",
    "schemas",
    "schemas_with_values",
    "sentences",
    "session_ids",
    "sessions",
    "state_changes",
    "summaries",
    "texts",
    "tool_calls",
    "tool_definitions",
    "turn_ids",
    "turns",
    "upstream_errors",
    "usages",
    "uuids7",
    "values_of",
]

BY_TYPE: Mapping[type[Any], Callable[[], st.SearchStrategy[Any]]] = {
    Alert: alerts,
    Attempt: attempts,
    Budget: budgets,
    Card: cards,
    ChatRequest: chat_requests,
    CoeError: upstream_errors,
    Credentials: credentials,
    EmbeddingRequest: embedding_requests,
    Failure: failures,
    Fault: faults,
    Feedback: feedbacks,
    Intent: intents,
    Interaction: interactions,
    JobRun: job_runs,
    Message: messages,
    Outcome: outcomes,
    Part: parts,
    Passage: passages,
    Place: places,
    Pointer: pointers,
    Price: prices,
    Principal: principals,
    Route: routes,
    Sample: samples,
    Session: sessions,
    StateChange: state_changes,
    Summary: summaries,
    ToolCall: tool_calls,
    ToolDefinition: tool_definitions,
    Turn: turns,
    Usage: usages,
}


def register() -> None:
    """Tell Hypothesis, which calls this through its entry point, how to make each type."""
    for kind, strategy in BY_TYPE.items():
        st.register_type_strategy(kind, strategy())
