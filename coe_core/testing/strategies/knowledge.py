"""Cards, alerts and samples."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from coe_core.card import Card
from coe_core.contract import Alert, Sample
from coe_core.testing.strategies.record import pointers
from coe_core.testing.strategies.text import names, texts
from coe_core.testing.strategies.turn import instants, layers, uuids7

COUNTS = st.integers(0, 1000)


@cache
def cards(layer: SearchStrategy[str] | None = None) -> SearchStrategy[Card]:
    """Cards of any kind, age and standing."""
    return st.builds(
        Card,
        id=uuids7(),
        layer=layers() if layer is None else layer,
        kind=st.sampled_from(["fact", "procedure", "pitfall", "answer"]),
        text=texts(),
        evidence=st.lists(pointers(), max_size=2).map(tuple),
        quality_score=st.none() | st.floats(0, 1),
        feedback_count=COUNTS,
        used=COUNTS,
        helped=COUNTS,
        hurt=COUNTS,
        valid_until=st.none() | instants(),
        state=st.sampled_from(["candidate", "active", "held", "expired"]),
        reason=texts(),
    )


@cache
def alerts() -> SearchStrategy[Alert]:
    """Alerts, firing and resolved."""
    return st.builds(
        Alert,
        key=names(),
        rule=names(),
        severity=st.sampled_from(["info", "warning", "critical"]),
        text=texts(),
        playbook=names().map("docs/playbooks/{}.md".format),
        at=instants(),
        resolved=st.booleans(),
    )


@cache
def samples() -> SearchStrategy[Sample]:
    """Measurements."""
    return st.builds(
        Sample,
        metric=names(),
        value=st.floats(-1e9, 1e9),
        at=instants(),
        labels=st.dictionaries(names(), names(), max_size=2),
    )
