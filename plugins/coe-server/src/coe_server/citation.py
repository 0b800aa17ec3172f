"""Citations as clients are told of them: OpenAI's annotations, and all that was shown, in `coe`."""

from __future__ import annotations

from collections.abc import Sequence

from coe_core.citation import Citation, citations, passage_path
from coe_core.event import TurnEnded
from coe_core.message import Json
from coe_core.record import Interaction
from coe_core.turn import Passage


def text_annotations(text: str, shown: Sequence[Passage]) -> list[dict[str, Json]]:
    """Annotate a text as the Responses API does."""
    return [{"type": "url_citation", **_place(each)} for each in citations(text, shown)]


def chat_annotations(record: Interaction, choice: int) -> dict[str, Json]:
    """Annotate a choice as a chat completion does, in its field `annotations` if there are any."""
    text = record.answer[choice].text if choice < len(record.answer) else ""
    found = [
        {"type": "url_citation", "url_citation": _place(each)}
        for each in citations(text, record.passages)
    ]
    return {"annotations": found} if found else {}


def remarks(ended: TurnEnded) -> dict[str, Json]:
    """Tell in the field `coe` where somebody else than the turn's target has answered, and what
    passages were shown.
    """
    record = ended.record
    told: dict[str, Json] = {}
    if record.outcome.failure == "fallback_used":
        told["fallback"] = ended.model
    if record.passages:
        told["citations"] = [
            _shown(passage, number, is_used=passage.id in record.passages_used)
            for number, passage in enumerate(record.passages, start=1)
        ]
    return {"coe": told} if told else {}


def _place(citation: Citation) -> dict[str, Json]:
    passage = citation.passage
    return {
        "url": passage_path(passage) or passage.source,
        "title": passage.title or passage.source,
        "start_index": citation.start,
        "end_index": citation.end,
    }


def _shown(passage: Passage, number: int, *, is_used: bool) -> Json:
    place = passage.place
    return {
        "number": number,
        "used": is_used,
        "passage": passage.id,
        "url": passage_path(passage),
        "item": passage.item,
        "kind": passage.kind,
        "layer": passage.layer,
        "source": passage.source,
        "title": passage.title,
        "headings": list(place.headings),
        "page": place.page,
        "first_line": place.first_line,
        "last_line": place.last_line,
    }
