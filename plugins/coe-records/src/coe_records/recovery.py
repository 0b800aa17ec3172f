"""What is done at a start about processes that ended in the middle of something."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from attrs import evolve
from loguru import logger

from coe_records import manifest
from coe_records.disk import Disk
from coe_records.log import Entry, Log
from coe_records.projection import Mark, Projection, Replay
from coe_records.segment import Segment

LAST = "~"
"""Later than any time."""


def recover(projection: Projection, disk: Disk) -> None:
    """Project the lines that the database lacks, and set aside what a crash tore off.

    The caller holds the log's lock. Segments of living writers are theirs to care for; sealed ones
    were whole, so that nothing in them is torn, and none is changed.
    """
    log, marks = projection.log, projection.marks()
    sizes = {path: log.size(path) for path in log.segments()}
    ends = {path: mark.end_bytes for path, mark in marks.items()}
    behind = [path for path, size in sizes.items() if size != ends.get(path)]
    stops = stop_seqs(log, marks) if behind else {}
    for path in behind:
        if sizes[path] < ends.get(path, 0):
            logger.bind(segment=path).error("a segment of the log has been shortened")
        elif (size := manifest.sealed_size(log.events, path)) is not None:
            with projection.transaction():
                _tell(projection.replay(path, end=size, is_sealed=True))
        elif not (log.events / path).exists():  # Compacted, so that nothing in it can be torn.
            logger.bind(segment=path).error("a compacted segment has no manifest of its own")
        elif (segment := Segment.reopen(disk, log.events, path)) is not None:
            _recover(projection, segment, stops.get(path))


def stop_seqs(log: Log, marks: Mapping[str, Mark]) -> dict[str, int]:
    """Tell for each segment but a writer's last with which sequence number the writer went on in
    the next. Lines from there on were taken back, even if the disk would not let them go.
    """
    in_order = sorted((*first, path) for path, first in _firsts(log, marks).items())
    return {
        path: next_seq
        for (writer, _, _, path), (next_writer, next_seq, _, _) in pairwise(in_order)
        if next_writer == writer
    }


def chain_end(projection: Projection, writer: str) -> Mark | None:
    """Tell where a writer's chain ends. The log is asked as well: from a damaged row, or one that
    is another's, the writer would go on in a chain that there is already.
    """
    log, marks = projection.log, projection.marks()
    seqs = {path: seq for path, (w, seq, _) in _firsts(log, marks).items() if w == writer}
    ours = [mark for mark in marks.values() if mark.writer == writer or mark.path in seqs]
    ends = [
        _as_logged(log, mark)
        for mark in {
            max(ours, key=lambda mark: mark.last_seq, default=None),
            max(ours, key=lambda mark: seqs.get(mark.path, 0), default=None),
        }
        if mark is not None
    ]
    own = (mark for mark in ends if mark.writer == writer)
    return max(own, key=lambda mark: mark.last_seq, default=None)


def _firsts(log: Log, marks: Mapping[str, Mark]) -> dict[str, tuple[str, int, str]]:
    """Tell for each segment whose it is, and with which sequence number it begins, and when. Of two
    that begin with the same, the earlier was taken back whole: it has neither mark nor seal.
    """
    firsts = {}
    for path in log.segments():
        if seal := manifest.find(log.events, path):
            firsts[path] = seal.writer, seal.first_seq, LAST
        elif line := log.first(path):
            firsts[path] = line.writer, line.seq, LAST if path in marks else line.at
        elif mark := marks.get(path):
            firsts[path] = mark.writer, mark.first_seq, LAST
    return firsts


def _as_logged(log: Log, mark: Mark) -> Mark:
    """Correct a mark by the line at its end. Where the heads differ in more than what one damaged
    character explains it is not the mark that is wrong, but the line, or which line it is.
    """
    last = log.last(mark.path, mark.end_bytes)
    if last is None or len(mark.head) != len(last.head):
        return mark
    if sum(a != b for a, b in zip(mark.head, last.head, strict=True)) > 1:
        return mark
    return evolve(mark, writer=last.writer, last_seq=last.seq, head=last.head)


def _recover(projection: Projection, segment: Segment, stop_seq: int | None) -> None:
    try:
        # The writer may have been killed before this, and the database must never be ahead.
        segment.sync()
        with projection.transaction():
            replay = projection.replay(segment.path, stop_seq=stop_seq)
        if replay.torn is not None:
            _set_aside(projection.log, segment, replay.torn)
        _tell(replay)
    finally:
        if segment.end or not segment.remove(projection.log.events):
            segment.close()


def _tell(replay: Replay) -> None:
    for entry in replay.damaged:
        where = logger.bind(segment=entry.pointer.segment, offset=entry.pointer.offset)
        where.error("a line of the log is damaged; `coe records verify` tells more")


def _set_aside(log: Log, segment: Segment, torn: Entry) -> None:
    """Move what follows the last acknowledged line out of the segment, to a file beside it."""
    offset = torn.pointer.offset
    source = log.events / segment.path
    with (
        source.open("rb") as file,
        source.with_name(f"{source.name}.{offset}.torn").open("ab") as to,
    ):
        file.seek(offset)
        to.write(file.read())
    segment.cut(offset)
    logger.bind(segment=segment.path, offset=offset).warning("a torn end of the log is set aside")
