"""Writes what was recorded for other systems to read: conversations, or the log's own lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
from attrs import frozen
from sqlalchemy import ColumnElement, Connection, Select, exists, func, select
from sqlalchemy.exc import DBAPIError

from coe_core.codec import decode, rfc3339, structure
from coe_core.ledger import Ledger
from coe_core.record import Interaction, Pointer
from coe_records.conversation import MESSAGES, whole
from coe_records.extent import Extent
from coe_records.folder import DataFolder
from coe_records.log import Log, Show, unshown
from coe_records.reader import selected, told
from coe_records.table import feedback, interactions


@frozen
class Export:
    """One export. A record that cannot be read ends it with `RecordDamaged`."""

    folder: DataFolder
    extent: Extent
    show: Show = unshown

    def conversations(self) -> Iterator[bytes]:
        """Yield each conversation as a line in OpenAI's shape: one for each turn that no other
        follows, by its start.
        """
        turns = interactions
        later = turns.alias()
        is_followed = exists().where(
            later.c.follows == turns.c.id, later.c.group_name == turns.c.group_name
        )
        query = selected(turns).where(*self.extent.holds(turns, turns.c.started_at), ~is_followed)
        with self._connected() as connection:
            for row in self._rows(connection, query.order_by(turns.c.started_at, turns.c.id)):
                yield msgspec.json.encode(self._conversation(connection, row)) + b"\n"

    def envelopes(self) -> Iterator[bytes]:
        """Yield the log's own lines: turns by their start, then feedback by its time."""
        with self._connected() as connection:
            for table, at in ((interactions, "started_at"), (feedback, "at")):
                yield from self._lines(connection, table, table.c[at])

    def _lines(self, connection: Connection, table: Any, at: ColumnElement[str]) -> Iterator[bytes]:
        query = selected(table).where(*self.extent.holds(table, at))
        for row in self._rows(connection, query.order_by(at, table.c.id)):
            yield self._log.line(_pointer(row), row["line"]).raw

    def _conversation(self, connection: Connection, row: Mapping[Any, Any]) -> dict[str, Any]:
        turn = structure(told(self._log.line(_pointer(row), row["line"])), Interaction)
        newest_first = connection.execute(MESSAGES, whole(turn.group, turn.id)).all()
        line = {
            "messages": [_said(*said) for said in reversed(newest_first)],
            "session_id": turn.session,
            "id": turn.id,
            "group": turn.group,
            "coe_turn_id": turn.id,
            "model": turn.requested_model,
            "user": turn.user,
        }
        line |= _told(turn) | _paid(turn)
        return {name: value for name, value in line.items() if value}

    @property
    def _log(self) -> Log:
        return Log(self.folder.events)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        engine = self.folder.tables.engine()
        try:
            with engine.connect() as connection:
                self.folder.tables.begin_reading(connection, self.extent.group)
                yield connection
        except DBAPIError as error:  # The database's own is what is told of everywhere else.
            raise error.orig or error from error
        finally:
            engine.dispose()

    def _rows(self, connection: Connection, query: Select[Any]) -> Iterator[Mapping[Any, Any]]:
        """Yield rows, of which only some hundred are held at a time."""
        count = connection.scalar(select(func.count()).select_from(query.order_by(None).subquery()))
        with (
            self.show("exporting", count or 0) as tell,
            connection.execute(query, execution_options={"yield_per": 500}) as result,
        ):
            for row in result.mappings():
                yield row
                tell(1)


def _said(role: str, content: str | None, whole: str | None) -> Any:
    return {"role": role, "content": content} if whole is None else decode(whole)


def _told(turn: Interaction) -> dict[str, Any]:
    """Say when it was, and of an imported turn only what was said of it."""
    origin = turn.provenance
    if origin is None:
        return {"started_at": rfc3339(turn.started_at), "ended_at": rfc3339(turn.ended_at)}
    told = {"id": origin.source, "metadata": dict(origin.metadata)}
    if origin.at is not None:
        told |= {"started_at": rfc3339(origin.at), "ended_at": rfc3339(turn.ended_at)}
    return told


def _paid(turn: Interaction) -> dict[str, Any]:
    """Say what the turn used and cost, as far as that is known."""
    ledger = Ledger(turn.id, list(turn.attempts))
    paid: dict[str, Any] = {}
    if turn.attempts and not ledger.usage.estimated:
        paid["usage"] = {
            "prompt_tokens": ledger.usage.input_tokens,
            "completion_tokens": ledger.usage.output_tokens,
            "prompt_tokens_details": {"cached_tokens": ledger.usage.cached_input_tokens},
            "completion_tokens_details": {"reasoning_tokens": ledger.usage.reasoning_tokens},
        }
    if any(attempt.cost_usd is not None for attempt in turn.attempts):
        paid["cost_usd"] = str(ledger.cost_usd)
    return paid


def _pointer(row: Mapping[Any, Any]) -> Pointer:
    return Pointer(
        segment=row["segment"],
        offset=row["offset_bytes"],
        length=row["length_bytes"],
        sha256=row["sha256"],
    )
