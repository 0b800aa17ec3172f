"""What a data folder holds after whatever happened to it, and whether that may be so."""

from collections import Counter
from collections.abc import Collection, Iterable

from attrs import frozen
from coe_records.audit import audit
from coe_records.folder import DataFolder
from coe_records.log import Log
from coe_records.writer import Writer

from coe_core.clock import SystemClock
from coe_core.codec import decode

SEGMENT_BYTES = 1 << 20


@frozen
class Heard:
    """What a process said before it ended."""

    turns: frozenset[str]
    """Acknowledged."""
    refused: frozenset[str] = frozenset()

    @classmethod
    def of(cls, lines: Iterable[str]) -> "Heard":
        """Read `turn ID` and `refused ID`."""
        told = [line.split() for line in lines]
        names = {what: frozenset(n for w, n in told if w == what) for what in ("turn", "refused")}
        return cls(names["turn"], names["refused"])


def recover(folder: DataFolder) -> None:
    """Start, as the server does, and end."""
    Writer.open(folder, SystemClock(), segment_bytes=SEGMENT_BYTES).close()


def violations(folder: DataFolder, heard: Heard, *, more: bool = False) -> list[str]:
    """See that log and database agree, and hold what was acknowledged, once. A turn that was
    refused may be there, once. `more` says whether turns may be there that nobody spoke of.
    """
    found = [f"{fault.kind} {fault.where}: {fault.text}" for fault in audit(folder).faults]
    in_log, rows = turns_in_log(folder), turns_in_database(folder)
    found += _blame("lost from the log", heard.turns - in_log.keys())
    found += _blame("lost from the database", heard.turns - rows)
    found += _blame("in the log alone", in_log.keys() - rows)
    found += _blame("in the database alone", rows - in_log.keys())
    found += _blame("more than once", {turn for turn, count in in_log.items() if count > 1})
    if not more:
        found += _blame("from nowhere", in_log.keys() - heard.turns - heard.refused)
    return found


def turns_in_log(folder: DataFolder) -> Counter[str]:
    """Count the lines of each turn."""
    log = Log(folder.events)
    return Counter(
        decode(entry.line.body)["id"]
        for path in log.segments()
        for entry in log.entries(path)
        if entry.line and entry.line.kind == "interaction"
    )


def turns_in_database(folder: DataFolder) -> set[str]:
    """Return the turns that have a row."""
    connection = folder.tables.connect(writable=False)
    try:
        return {row[0] for row in connection.execute("SELECT id FROM interactions")}
    finally:
        connection.close()


def _blame(what: str, names: Collection[str]) -> list[str]:
    return [f"{what}: {name}" for name in sorted(names)]
