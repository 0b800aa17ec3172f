"""Cards, documents, alerts and samples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import sha256

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from coe_core.card import Card
from coe_core.contract import Alert, Sample
from coe_core.knowledge import Document
from coe_core.testing.strategies.record import pointers
from coe_core.testing.strategies.text import names, texts
from coe_core.testing.strategies.turn import LANGUAGES, instants, layers, places, uuids7
from coe_core.turn import Passage

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
        title=texts(),
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


@st.composite
def _documents(draw: st.DrawFn, layer: SearchStrategy[str]) -> tuple[Document, Sequence[Passage]]:
    whole = draw(st.lists(texts(), min_size=1, max_size=3))
    document = Document(
        id=draw(uuids7()),
        layer=draw(layer),
        source=draw(names()),
        title=draw(texts()),
        media_type="text/markdown",
        language=draw(LANGUAGES),
        sha256=sha256("".join(whole).encode()).hexdigest(),
        size_bytes=draw(COUNTS),
        state=draw(st.sampled_from(["active", "held", "expired"])),
        reason=draw(texts()),
        valid_until=draw(st.none() | instants()),
        added_at=draw(instants()),
        added_by=draw(names()),
    )
    return document, [
        Passage(
            id=f"{document.id}-{position}",
            text=text,
            layer=document.layer,
            source=document.source,
            item=document.id,
            kind="document",
            title=document.title,
            language=document.language,
            position=position,
            place=draw(places()),
            valid_until=document.valid_until,
        )
        for position, text in enumerate(whole)
    ]


@cache
def documents(
    layer: SearchStrategy[str] | None = None,
) -> SearchStrategy[tuple[Document, Sequence[Passage]]]:
    """Documents of any standing, with their passages."""
    return _documents(layers() if layer is None else layer)


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
