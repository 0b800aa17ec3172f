"""The audit: compares log and database, both ways, with every checksum and every link."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from pathlib import Path
from typing import Literal, TypeAlias

from attrs import asdict, define, evolve, field, frozen

from coe_core.codec import structure
from coe_core.record import Pointer
from coe_records import manifest
from coe_records.body import Interaction, Repair
from coe_records.comparison import Comparison, Piece
from coe_records.copies import Copies
from coe_records.database import Connection
from coe_records.envelope import GENESIS, Line
from coe_records.folder import DataFolder
from coe_records.lock import locked
from coe_records.log import Entry, Log, Tell, untold
from coe_records.manifest import Tally
from coe_records.projection import Mark, Projection, moved
from coe_records.registry import Registered, registered

Kind: TypeAlias = Literal[
    "altered", "broken_chain", "damaged", "dangling", "extra", "lost", "missing", "torn"
]

PIECE_LINES = 64
"""How many lines are compared at once: with more of them, they leave the processor's cache."""


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
    restored: tuple[Fault, ...] = ()
    """Damage that stays where it is, while all that was there is restored elsewhere in the log."""
    elsewhere: Mapping[str, int] = field(factory=dict)
    """Machine to the number of segments that are there, which it is for a `verify` there to look
    at.
    """


def audit(folder: DataFolder, tell: Tell = untold) -> Report:
    """Compare everything. Changes nothing; a server may go on writing meanwhile: what it writes
    after the beginning is left out. `tell` hears of each number of bytes that was compared. Raises
    `OSError` or the database's error if there is no beginning.
    """
    tables = folder.tables
    projection = folder.projection(writable=False)
    connection, log = projection.connection, projection.log
    try:
        with locked(folder.lock):  # Nobody is between log and database.
            connection.begin_reading()
            whose = registered(folder, connection)
            theirs = whose.elsewhere
            marks = {p: mark for p, mark in projection.marks().items() if p not in theirs}
            sizes = {path: log.size(path) for path in log.segments()}
            sealed = manifest.sealed(folder.events)
        work = Audit(projection, tables.damage, tell, marks, sizes, sealed, whose)
        return evolve(work.run(), elsewhere=Counter(theirs.values()))
    finally:
        connection.close()


@define
class Gap:
    """Bytes of a segment that are not what they were."""

    segment: str
    start: int
    end: int

    def is_tiled_by(self, pointers: AbstractSet[Pointer]) -> bool:
        """Whether the pointers fill it, without a byte between them."""
        ends = {p.offset: p.offset + p.length for p in pointers if p.segment == self.segment}
        at = self.start
        while at < self.end and ends.get(at, 0) > at:
            at = ends[at]
        return at == self.end


@define
class Audit:
    """One audit, of one moment."""

    _projection: Projection
    _damage: Callable[[Connection], Iterable[tuple[str, str]]]
    _tell: Tell
    _marks: Mapping[str, Mark]
    _sizes: Mapping[str, int]
    _sealed: AbstractSet[str]
    _registered: Registered
    _faults: list[Fault] = field(factory=list, init=False)
    _copies: Copies | None = field(default=None, init=False)
    _records: int = field(default=0, init=False)
    _links: dict[str, Line] = field(factory=dict, init=False)
    """Each writer's last line so far."""
    _left: dict[str, tuple[str, str | None]] = field(factory=dict, init=False)
    """Each writer's segment before, and its SHA-256, None if there is no telling."""
    _gaps: dict[str, list[Gap]] = field(factory=dict, init=False)
    """By segment, where it does not have what it had."""
    _explained: list[tuple[Fault, Sequence[Gap]]] = field(factory=list, init=False)
    """What comes of gaps alone, and is over when they are restored."""
    _behind_gap: dict[str, str] = field(factory=dict, init=False)
    """Each writer whose last line is followed by a gap, to that segment."""
    _restored: set[Pointer] = field(factory=set, init=False)
    """What lines of the kind `repair` stand for."""

    def run(self) -> Report:
        """Look at everything."""
        comparison = Comparison(self._projection, self._registered.elsewhere.keys(), self._note)
        copies = Copies(self._projection.connection, self._note)
        self._copies = copies if self._projection.keeps_lines else None
        for each in self._registered.wrong:
            self._note(each.kind, f"writers:{each.name}", each.text)
        try:
            for path in self._in_order():
                if path in self._sizes:
                    self._compare_segment(path, comparison)
                else:
                    self._note_loss(path)
            comparison.find_strays()
            if self._copies is not None:
                self._copies.find_strays(self._ends(), self._registered, self._links)
            for where, text in self._damage(self._projection.connection):
                self._note("damaged", where, text)
        except self._projection.connection.DatabaseError as error:
            self._note("damaged", "database", f"it cannot be read to its end: {error}")
        restored = self._judge_gaps()
        return Report(
            segments=len(self._sizes),
            records=self._records,
            faults=tuple(self._faults),
            restored=tuple(restored),
        )

    @property
    def _log(self) -> Log:
        return self._projection.log

    def _ends(self) -> dict[str, int]:
        """Tell how far each segment goes, or went; one that nobody can tell of, for ever."""
        ends = dict.fromkeys(self._sealed - self._sizes.keys(), sys.maxsize)
        ends |= {path: mark.end_bytes for path, mark in self._marks.items()}
        return ends | {path: max(n, ends.get(path, 0)) for path, n in self._sizes.items()}

    def _note(self, kind: Kind, where: str, text: str) -> None:
        self._faults.append(Fault(kind=kind, where=where, text=text))

    def _note_gap(self, fault: Fault, segment: str, start: int, end: int) -> None:
        gaps = self._gaps.setdefault(segment, [])
        if gaps and gaps[-1].end == start:
            gaps[-1].end = end
        else:
            gaps.append(Gap(segment, start, end))
        self._explained.append((fault, gaps[-1:]))

    def _note_loss(self, path: str) -> None:
        """Note that a segment is not there."""
        mark = self._marks.get(path)
        if mark is None:
            self._note("lost", path, "the segment is sealed, and not there")
            return
        if other := self._really(mark):
            self._note("extra", f"segments:{path}", f"it is about {other}")
            return
        fault = Fault(kind="lost", where=path, text="the segment is not there")
        self._note_gap(fault, path, 0, mark.end_bytes)
        self._behind_gap[mark.writer] = path
        self._left[mark.writer] = path, manifest.sealed_sha256(self._log.events, path)

    def _really(self, mark: Mark) -> str | None:
        """Find the segment that a mark is about, if its name is damaged."""
        for path in self._sizes:
            last = self._log.last(path, mark.end_bytes)
            if last is not None and last.head == mark.head:
                return path
        return None

    def _judge_gaps(self) -> list[Fault]:
        """Tell what is restored; the rest are faults."""
        restored = []
        for fault, gaps in self._explained:
            if gaps and all(gap.is_tiled_by(self._restored) for gap in gaps):
                restored.append(fault)
            else:
                self._faults.append(fault)
        return restored

    def _in_order(self) -> list[str]:
        """List the segments that there should be, each writer's in the order of its chain."""

        def key(path: str) -> tuple[str, int, str]:
            line = self._log.first(path) if path in self._sizes else None
            mark = self._marks.get(path)
            if line is not None:
                return line.writer, line.seq, path
            return (mark.writer, mark.first_seq, path) if mark else ("", 0, path)

        return sorted(self._sizes.keys() | self._marks.keys() | self._sealed, key=key)

    def _compare_segment(self, path: str, comparison: Comparison) -> None:
        mark, begun, before = self._marks.get(path), None, self._records
        agrees, writer = mark is None, mark.writer if mark else None
        entries, tally = self._log.entries(path, 0, self._sizes[path]), Tally(path)
        while chunk := list(islice(entries, PIECE_LINES)):
            piece, turns = Piece(), list[str]()
            for entry in chunk:
                line = entry.line
                if line is None:
                    self._note_damage(entry, writer)
                    continue
                self._check_link(entry, line)
                writer, begun = line.writer, begun or moved(None, entry, line)
                if mark is not None and entry.end == mark.end_bytes:
                    agrees = moved(begun, entry, line) == mark
                body = piece.add(entry.pointer, line)
                if isinstance(body, Interaction):
                    turns.append(body.id)
                elif isinstance(body, Repair) and body.restored:
                    self._restored.add(structure(body.lost, Pointer))
            tally.add(chunk, turns)
            comparison.compare(piece)
            if self._copies is not None:
                self._copies.compare(chunk)
            self._records += len(piece.lines)
            self._tell(chunk[-1].end - chunk[0].pointer.offset)
        if mark is not None:
            self._check_end(mark, self._records - before, agrees=agrees)
        self._check_seal(path, tally, writer or "")

    def _check_end(self, mark: Mark, lines: int, *, agrees: bool) -> None:
        size, last = self._sizes[mark.path], self._links.get(mark.writer)
        is_whole = last is not None and last.head == mark.head and lines == _lines_of(mark)
        if size < mark.end_bytes and not is_whole:
            text = f"the segment ends here, not at byte {mark.end_bytes}"
            fault = Fault(kind="lost", where=f"{mark.path}:{size}", text=text)
            self._note_gap(fault, mark.path, size, mark.end_bytes)
            self._behind_gap[mark.writer] = mark.path
        elif not agrees and mark.path not in self._gaps:
            text = f"no part of the log gives {asdict(mark)}"
            self._note("altered", f"segments:{mark.path}", text)

    def _check_seal(self, path: str, tally: Tally, writer: str) -> None:
        now = tally.manifest(*self._left.get(writer, (None, None)))
        self._left[writer] = path, now.sha256
        if path not in self._sealed:
            return
        where = manifest.place(Path(), path).as_posix()
        try:
            then = manifest.read(self._log.events, path)
        except (OSError, ValueError) as error:
            self._note("damaged", where, f"the manifest cannot be read: {error}")
            return
        self._left[writer] = path, then.sha256
        if None in (then.previous_sha256, now.previous_sha256):
            then, now = evolve(then, previous_sha256=None), evolve(now, previous_sha256=None)
        if then != now:
            text = f"the log does not come to it, but to {asdict(now)}"
            fault = Fault(kind="altered", where=where, text=text)
            self._explained.append((fault, self._gaps.get(path, [])))

    def _note_damage(self, entry: Entry, writer: str | None) -> None:
        kind: Kind = "damaged" if entry.raw.endswith(b"\n") else "torn"
        at = entry.pointer
        fault = Fault(kind=kind, where=f"{at.segment}:{at.offset}", text=entry.fault)
        self._note_gap(fault, at.segment, at.offset, at.offset + at.length)
        if writer is not None:
            self._behind_gap[writer] = at.segment

    def _check_link(self, entry: Entry, line: Line) -> None:
        before = self._links.get(line.writer)
        self._links[line.writer] = line
        seq, head = (before.seq, before.head) if before else (0, GENESIS)
        gap = self._behind_gap.pop(line.writer, None) if self._behind_gap else None
        if (line.seq, line.prev) == (seq + 1, head):
            return
        where = f"{entry.pointer.segment}:{entry.pointer.offset}"
        text = f"line {line.seq} of {line.writer} does not follow its line {seq}"
        fault = Fault(kind="broken_chain", where=where, text=text)
        if gap is None or line.seq <= seq + 1:
            self._faults.append(fault)
        elif gap != entry.pointer.segment:
            self._explained.append((fault, self._gaps[gap]))


def _lines_of(mark: Mark) -> int:
    """Tell how many lines a segment has up to its mark."""
    return mark.last_seq - mark.first_seq + 1
