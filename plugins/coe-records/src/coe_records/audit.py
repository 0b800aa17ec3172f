"""The audit: compares log and database, both ways, with every checksum and every link."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from itertools import islice
from pathlib import Path
from typing import Literal, TypeAlias

from attrs import asdict, define, evolve, field, frozen

from coe_records import database, manifest
from coe_records.comparison import Comparison, tolerant_text
from coe_records.envelope import GENESIS, Line
from coe_records.folder import DataFolder
from coe_records.lock import locked
from coe_records.log import Entry, Log
from coe_records.manifest import Manifest, Tally
from coe_records.projection import CHUNK_LINES, Mark, Projection, moved

Kind: TypeAlias = Literal[
    "altered", "broken_chain", "damaged", "dangling", "extra", "lost", "missing", "torn"
]


@frozen(kw_only=True)
class Fault:
    """A place where log and database are not what they should be."""

    kind: Kind
    """`damaged`: bytes of the log or the database cannot be read as what they are. `torn`: so the
    end of a segment. `broken_chain`: a line does not follow the one before. `missing`: in the log,
    not in the database. `altered`: in both, not alike. `dangling`: a row points to no record.
    `extra`: a row points to a record that does not say so. `lost`: a part of the log that the
    database knows is not there.
    """
    where: str
    """`SEGMENT:OFFSET` or `TABLE:KEY`."""
    text: str


@frozen(kw_only=True)
class Report:
    """What an audit found."""

    segments: int
    records: int
    faults: tuple[Fault, ...]


def audit(folder: DataFolder) -> Report:
    """Compare everything. Changes nothing; a server may go on writing meanwhile: what it writes
    after the beginning is left out. Raises `OSError` or `sqlite3.Error` if there is no beginning.
    """
    log = Log(folder.events)
    connection = database.connect(folder.database, writable=False)
    connection.text_factory = tolerant_text
    try:
        with locked(folder.lock):  # Nobody is between log and database.
            connection.execute("BEGIN")
            marks = Projection(connection, log).marks()
            sizes = {path: log.size(path) for path in log.segments()}
            sealed = manifest.sealed(folder.events)
        return Audit(connection, log, marks, sizes, sealed).run()
    finally:
        connection.close()


@define
class Audit:
    """One audit, of one moment."""

    _connection: sqlite3.Connection
    _log: Log
    _marks: Mapping[str, Mark]
    _sizes: Mapping[str, int]
    _sealed: AbstractSet[str]
    _faults: list[Fault] = field(factory=list, init=False)
    _records: int = field(default=0, init=False)
    _links: dict[str, Mark] = field(factory=dict, init=False)
    """Where each writer's chain has got to."""
    _left: dict[str, Manifest] = field(factory=dict, init=False)
    """What each writer's segment before came to."""

    def run(self) -> Report:
        """Look at everything."""
        self._compare_extents()
        comparison = Comparison(self._connection, self._log, self._note)
        try:
            for path in self._in_order():
                self._compare_segment(path, comparison)
            comparison.find_strays()
            self._check_pages()
        except sqlite3.DatabaseError as error:
            self._note("damaged", "database", f"it cannot be read to its end: {error}")
        return Report(segments=len(self._sizes), records=self._records, faults=tuple(self._faults))

    def _note(self, kind: Kind, where: str, text: str) -> None:
        self._faults.append(Fault(kind=kind, where=where, text=text))

    def _compare_extents(self) -> None:
        for path, mark in self._marks.items():
            size = self._sizes.get(path)
            if size is None:
                self._note("lost", path, "the segment is not there")
            elif size < mark.end_bytes:
                text = f"the segment ends here, not at byte {mark.end_bytes}"
                self._note("lost", f"{path}:{size}", text)
        for path in sorted(self._sealed - self._sizes.keys() - self._marks.keys()):
            self._note("lost", path, "the segment is sealed, and not there")

    def _in_order(self) -> list[str]:
        """List the segments, each writer's in the order of its chain."""

        def key(path: str) -> tuple[str, int, str]:
            line = self._log.first(path)
            mark = self._marks.get(path)
            if line is not None:
                return line.writer, line.seq, path
            return (mark.writer, mark.first_seq, path) if mark else ("", 0, path)

        return sorted(self._sizes, key=key)

    def _compare_segment(self, path: str, comparison: Comparison) -> None:
        mark = self._marks.get(path)
        seen: Mark | None = None
        agrees, is_whole = mark is None, True
        entries, tally = self._log.entries(path, 0, self._sizes[path]), Tally(path)
        while chunk := list(islice(entries, CHUNK_LINES)):
            good = []
            tally.add(chunk)
            for entry in chunk:
                if entry.line is None:
                    is_whole = False
                    self._note_damage(entry)
                    continue
                self._check_link(entry, entry.line, after_damage=not is_whole)
                seen = self._links[entry.line.writer] = moved(seen, entry, entry.line)
                agrees = agrees or seen == mark
                good.append((entry.pointer, entry.line))
            comparison.compare(good)
            self._records += len(good)
        if is_whole and not agrees and mark and mark.end_bytes <= self._sizes[path]:
            self._note("altered", f"segments:{path}", f"no part of the log gives {asdict(mark)}")
        self._check_seal(path, tally)

    def _check_seal(self, path: str, tally: Tally) -> None:
        before = self._left.get(tally.writer)
        now = tally.manifest(*((before.segment, before.sha256) if before else (None, None)))
        self._left[now.writer] = now
        if path in self._sealed:
            where = manifest.place(Path(), path).as_posix()
            try:
                then = manifest.read(self._log.events, path)
            except (OSError, ValueError) as error:
                self._note("damaged", where, f"the manifest cannot be read: {error}")
                return
            if then.previous_sha256 is None:
                now = evolve(now, previous_sha256=None)
            if then != now:
                self._note("altered", where, f"the log does not come to it, but to {asdict(now)}")

    def _note_damage(self, entry: Entry) -> None:
        kind: Kind = "damaged" if entry.raw.endswith(b"\n") else "torn"
        self._note(kind, f"{entry.pointer.segment}:{entry.pointer.offset}", entry.fault)

    def _check_link(self, entry: Entry, line: Line, *, after_damage: bool) -> None:
        link = self._links.get(line.writer)
        seq, head = (link.last_seq, link.head) if link else (0, GENESIS)
        if (line.seq, line.prev) != (seq + 1, head) and not (after_damage and line.seq > seq + 1):
            where = f"{entry.pointer.segment}:{entry.pointer.offset}"
            text = f"line {line.seq} of {line.writer} does not follow its line {seq}"
            self._note("broken_chain", where, text)

    def _check_pages(self) -> None:
        """Let SQLite look at what no row shows: pages, and indexes against their tables."""
        for (text,) in self._connection.execute("PRAGMA integrity_check(20)"):
            if text != "ok":
                self._note("damaged", "database", text)
