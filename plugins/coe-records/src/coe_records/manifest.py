"""A manifest: what a segment came to when its writer went on in another, written beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import file_digest, sha256
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from attrs import define, field, frozen
from loguru import logger

from coe_core.codec import decode, encode, structure
from coe_records.disk import Disk, replace, sync
from coe_records.log import Entry, Log
from coe_records.projection import Mark


@frozen(kw_only=True)
class Manifest:
    """Says what a sealed segment holds, so that any change of it is seen, its loss as well."""

    segment: str
    writer: str
    records: int
    first_seq: int
    last_seq: int
    first_id: str | None
    """The least id of its turns; None if it has none, as is `last_id`, the greatest."""
    last_id: str | None
    size_bytes: int
    sha256: str
    """Of the whole segment."""
    previous: str | None
    """The writer's segment before."""
    previous_sha256: str | None
    """None for a writer's first segment, or if the one before could not be sealed."""


SUFFIX = ".manifest.json"
LINES_TOGETHER = 20
"""So many lines of a segment are in memory while it is sealed: what its thread once took, it keeps.
"""


class _Turn(msgspec.Struct):
    id: str


_turn_id = msgspec.json.Decoder(_Turn).decode


@define
class Tally:
    """Takes the entries of a segment in order, and tells what they come to."""

    _segment: str
    _digest: Any = field(factory=sha256, init=False)
    writer: str = field(default="", init=False)
    _seqs: list[int] = field(factory=list, init=False)
    _ids: list[str] = field(factory=list, init=False)
    _records: int = field(default=0, init=False)
    _size_bytes: int = field(default=0, init=False)

    def add(self, entries: Sequence[Entry], turns: Sequence[str]) -> None:
        """Take some more entries, and the ids of the turns in them."""
        raw = b"".join([entry.raw for entry in entries])
        self._digest.update(raw)
        self._size_bytes += len(raw)
        lines = [entry.line for entry in entries if entry.line is not None]
        self._records += len(lines)
        if lines:
            self.writer = lines[-1].writer
            self._seqs = _ends([*self._seqs, lines[0].seq, lines[-1].seq])
        self._ids = _ends([*self._ids, *turns])

    def manifest(self, previous: str | None, previous_sha256: str | None) -> Manifest:
        """Return the manifest of a segment with these entries, and no others."""
        return Manifest(
            segment=self._segment,
            writer=self.writer,
            records=self._records,
            first_seq=self._seqs[0] if self._seqs else 0,
            last_seq=self._seqs[-1] if self._seqs else 0,
            first_id=self._ids[0] if self._ids else None,
            last_id=self._ids[-1] if self._ids else None,
            size_bytes=self._size_bytes,
            sha256=self._digest.hexdigest(),
            previous=previous,
            previous_sha256=previous_sha256,
        )


def _ends(values: list[Any]) -> list[Any]:
    return [min(values), max(values)] if values else []


def place(events: Path, segment: str) -> Path:
    """Tell where the manifest of a segment is, if it is sealed."""
    return (events / segment).with_suffix(SUFFIX)


def is_sealed(events: Path, segment: str) -> bool:
    """Tell whether a segment has a manifest."""
    return place(events, segment).exists()


def sealed(events: Path) -> set[str]:
    """List the segments that are sealed, whether they are still there or not."""
    names = (path.relative_to(events).as_posix() for path in events.glob(f"*/*{SUFFIX}"))
    return {name.removesuffix(SUFFIX) + ".jsonl" for name in names}


def read(events: Path, segment: str) -> Manifest:
    """Read the manifest of a sealed segment. Raises `ValueError` unless it is as it was written."""
    raw = place(events, segment).read_bytes()
    try:
        manifest = structure(decode(raw), Manifest)
    except ExceptionGroup as error:
        raise ValueError("it is no manifest") from error
    if _text(manifest) != raw or manifest.segment != segment:
        raise ValueError("it is not as it was written")
    return manifest


def sealed_size(events: Path, segment: str) -> int | None:
    """Tell where a segment ended when it was sealed; None if it is not, or nobody can read it."""
    found = find(events, segment)
    return found.size_bytes if found else None


def sealed_sha256(events: Path, segment: str) -> str | None:
    """Tell what a segment came to when it was sealed, as `sealed_size` does."""
    found = find(events, segment)
    return found.sha256 if found else None


def find(events: Path, segment: str) -> Manifest | None:
    """Read the manifest of a segment; None if it is not sealed, or nobody can read it."""
    try:
        return read(events, segment)
    except (OSError, ValueError):
        return None


def is_copy(log: Log, segment: str) -> bool:
    """Whether a manifest, and the segment if there is one, are what those of another segment are,
    byte for byte: somebody has copied the files.
    """
    try:
        seal = structure(decode(place(log.events, segment).read_bytes()), Manifest)
    except (OSError, ValueError, ExceptionGroup):
        return False
    original = seal.segment
    if original == segment or find(log.events, original) != seal or not log.size(original):
        return False
    there = filter(log.size, [original, segment])
    return all(_digest(log, each) == seal.sha256 for each in there)


def _digest(log: Log, segment: str) -> str:
    with log.open(segment) as file:
        return file_digest(file, "sha256").hexdigest()


def seal(log: Log, marks: Iterable[Mark]) -> None:
    """Seal the segments of one writer that it has left, in the order of its chain, unless that is
    done. One that does not end where its mark says is left to recovery and to `repair`.

    Recovery takes a sealed segment for whole, so that its end must be durable before it is sealed:
    what was written behind it, and refused, may have been cut off without a sync.
    """
    before: Mark | None = None
    for mark in marks:
        try:
            if not is_sealed(log.events, mark.path) and log.size(mark.path) == mark.end_bytes:
                _seal(log, mark, before)
        except (OSError, ValueError) as error:
            bound = logger.bind(segment=mark.path, error=str(error))
            bound.warning("a segment is not sealed yet; the next start tries again")
        before = mark


def _seal(log: Log, mark: Mark, before: Mark | None) -> None:
    tally = Tally(mark.path)
    entries = log.entries(mark.path, 0, mark.end_bytes)
    while chunk := list(islice(entries, LINES_TOGETHER)):
        if damaged := next((entry for entry in chunk if entry.line is None), None):
            raise ValueError(f"byte {damaged.pointer.offset}: {damaged.fault}")
        lines = [entry.line for entry in chunk if entry.line]
        tally.add(chunk, [_turn_id(line.body).id for line in lines if line.kind == "interaction"])
    sync(Disk(), log.events / mark.path)
    write(log.events, tally.manifest(*_link(log.events, before)))


def _link(events: Path, before: Mark | None) -> tuple[str | None, str | None]:
    if before is None:
        return None, None
    if is_sealed(events, before.path):
        return before.path, read(events, before.path).sha256
    return before.path, None


def write(events: Path, manifest: Manifest) -> None:
    """Write a manifest, whole or not at all."""
    replace(Disk(), place(events, manifest.segment), _text(manifest))


def _text(manifest: Manifest) -> bytes:
    return encode(manifest) + b"\n"
