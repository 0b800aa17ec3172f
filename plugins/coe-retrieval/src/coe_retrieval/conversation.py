"""Earlier turns as passages: what was asked, and what was answered."""

from __future__ import annotations

from collections.abc import Iterator

from coe_core.identity import SessionId
from coe_core.record import Interaction
from coe_core.turn import Passage, group_layer


def passages(turn: Interaction) -> Iterator[Passage]:
    """Yield what users said in a turn and what they were told, in order. Neither prompts nor
    passages found for the turn are in there.
    """
    said = [m for m in turn.new_messages if m.role in ("user", "assistant")] + [*turn.answer[:1]]
    spoken = [message for message in said if message.text.strip()]
    for position, message in enumerate(spoken):
        yield Passage(
            id=f"{turn.id}/{position}",
            text=message.text,
            layer=group_layer(turn.group),
            source=f"{spoken_in(turn.session)}{turn.started_at:%Y-%m-%d %H:%M}",
            item=turn.id,
            kind="turn",
            title=message.name or "",
            position=position,
        )


def spoken_in(session: SessionId) -> str:
    """Return how the source of a session's turns begins."""
    return f"session {session}, "
