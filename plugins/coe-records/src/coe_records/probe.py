"""Looks at log and database while they are in use: how far they are apart, and whether what one
says, taken at random, holds in the other. `verify` looks at everything.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import suppress
from random import Random
from typing import Literal, TypeAlias

from attrs import define, field, frozen
from sqlalchemy import Column, Connection, func, select

from coe_core.codec import decode
from coe_core.error import RecordDamaged
from coe_core.record import Pointer
from coe_records.log import Entry, Log
from coe_records.reader import place
from coe_records.table import interactions, segments

MOST_FAULTS = 100
"""So many are looked at again and again until they are mended; of more, an alert says enough."""

Fault: TypeAlias = Literal["missing", "bad_pointer"]
"""A line of the log without its row, or a row whose pointer does not lead to its line."""


@frozen
class Spot:
    """Something to look at: a turn of the database, or a place in a segment of the log."""

    turn_id: str | None = None
    segment: str = ""
    offset: int = 0

    def __str__(self) -> str:
        """Name it, so that an operator finds it."""
        return f"turn {self.turn_id}" if self.turn_id else f"{self.segment} at byte {self.offset}"


@define
class Probe:
    """Remembers what it found until it is well again. Used by one thread at a time."""

    _log: Log
    _random: Random = field(factory=Random)
    checked: int = 0
    """How many spots were looked at."""
    lag_bytes: int = 0
    """What the log has and the database does not."""
    lag_records: int = 0
    faults: dict[Spot, Fault] = field(factory=dict)
    _awaited: dict[str, tuple[int, float]] = field(factory=dict, init=False)
    """How long a segment once was, and when, if the database has not come so far yet."""

    def look(self, connection: Connection, now_s: float) -> None:
        """Look at how far the database is, at a turn and at a line, and at what was not well."""
        query = select(segments.c.path, segments.c.end_bytes)
        ends = {row.path: row.end_bytes for row in connection.execute(query)}
        self._see_lag(ends, now_s)
        found = {*self.faults, _any_turn(connection, self._random), _any_place(ends, self._random)}
        spots = [spot for spot in found if spot is not None]
        faults = {spot: self._examine(connection, spot, ends) for spot in spots}
        self.checked += len(spots)
        self.faults = dict([(s, f) for s, f in faults.items() if f is not None][:MOST_FAULTS])

    def lag_s(self, now_s: float) -> float:
        """Tell for how long the database has not had what the log has."""
        return max((now_s - since_s for _, since_s in self._awaited.values()), default=0.0)

    def _see_lag(self, ends: Mapping[str, int], now_s: float) -> None:
        sizes = {path: self._log.size(path) for path in self._log.segments()}
        behind = {path: ends.get(path, 0) for path in sizes if sizes[path] > ends.get(path, 0)}
        self.lag_bytes = sum(sizes[path] - end for path, end in behind.items())
        self.lag_records = sum(self._log.lines(path, end) for path, end in behind.items())
        for path in [*self._awaited]:
            if ends.get(path, 0) >= self._awaited[path][0]:
                del self._awaited[path]
        for path in behind:
            self._awaited.setdefault(path, (sizes[path], now_s))

    def _examine(self, connection: Connection, spot: Spot, ends: Mapping[str, int]) -> Fault | None:
        if spot.turn_id is None:
            return self._examine_line(connection, spot, ends.get(spot.segment, 0))
        pointer = _pointer(connection, spot.turn_id)
        return None if pointer is None else self._follow(pointer)

    def _examine_line(self, connection: Connection, spot: Spot, end: int) -> Fault | None:
        entry = self._entry(spot, end)
        if entry is None:
            return None  # A segment that is gone is found by the turns that were in it.
        if entry.line is None:
            return "bad_pointer"
        if entry.line.kind != "interaction":
            return None
        pointer = _pointer(connection, decode(entry.line.body)["id"])
        return "missing" if pointer is None else self._follow(pointer)

    def _follow(self, pointer: Pointer) -> Fault | None:
        try:
            self._log.read(pointer)
        except RecordDamaged:
            return "bad_pointer"
        return None

    def _entry(self, spot: Spot, end: int) -> Entry | None:
        """Read the first line that begins behind the spot, or else the segment's first."""
        try:
            entries = self._log.entries(spot.segment, spot.offset, end)
            next(entries, None)
            return next(entries, None) or next(self._log.entries(spot.segment, 0, end), None)
        except FileNotFoundError:
            return None


def _pointer(connection: Connection, turn_id: str) -> Pointer | None:
    query = select(*place(interactions)).where(interactions.c.id == turn_id)
    if (row := connection.execute(query).first()) is None:
        return None
    segment, offset, length, sha256 = row
    return Pointer(segment=segment, offset=offset, length=length, sha256=sha256)


def _any_turn(connection: Connection, random: Random) -> Spot | None:
    """Choose a turn whose id follows a random one: one that was made in a lull sooner than another,
    which the random place makes up for.
    """
    id_: Column[str] = interactions.c.id
    # Two queries: SQLite finds the least or the greatest in the index, but both by reading it all.
    low, high = (connection.scalar(select(bound)) for bound in (func.min(id_), func.max(id_)))
    if low is None or high is None:
        return None
    with suppress(ValueError):  # Ids that others made need not be UUIDs.
        low = str(uuid.UUID(int=random.randint(uuid.UUID(low).int, uuid.UUID(high).int)))
    query = select(id_).where(id_ >= low).order_by(id_).limit(1)
    return Spot(connection.scalar(query))


def _any_place(ends: Mapping[str, int], random: Random) -> Spot | None:
    whole = {path: end for path, end in ends.items() if end}
    if not whole:
        return None
    (path,) = random.choices([*whole], [*whole.values()])
    return Spot(None, path, random.randrange(whole[path]))
