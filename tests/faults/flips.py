"""Change one bit of log or database, over and over, and see that it is found and mended.

`python -m tests.faults.flips FOLDER --seed N --flips N [--server ADDRESS]` prints what it saw as
JSON. With the address of a Postgres the tables are there, and the bit is one of a value in them.
"""

import argparse
import asyncio
import json
import random
import shutil
import sqlite3
import struct
import sys
from collections import Counter
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import loguru
import psycopg
import sqlalchemy as sa
from attrs import define, field
from coe_records import table
from coe_records.audit import audit
from coe_records.comparison import KEYS
from coe_records.folder import DataFolder
from coe_records.log import Log
from coe_records.reader import Reader
from coe_records.rebuild import rebuild
from coe_records.repair import repair
from coe_records.writer import Draft, Writer

from coe_core.clock import SystemClock
from coe_core.error import Conflict, RecordDamaged, Unavailable
from coe_core.identity import AttemptId
from coe_core.ledger import Intent
from coe_core.record import Feedback, StateChange
from coe_core.testing.clock import EPOCH, ManualClock
from coe_core.testing.postgres import new_schema

from .scenario import make_turn
from .sweep import fresh
from .tables import Kept, kept_by, put_back

DRAWN = (*table.PROJECTIONS, table.lines, table.writers)

DAMAGED = (sqlite3.DatabaseError, UnicodeDecodeError, psycopg.DatabaseError)

Content = dict[str, Any]


def write(folder: DataFolder, seed: int) -> None:
    """Have two processes write every kind of record, over two days, in seven segments or so."""
    chance, clock = random.Random(seed), ManualClock()
    writers = [Writer.open(folder, clock, segment_bytes=3000) for _ in range(2)]
    for number in range(8):
        turn = make_turn(clock, chance)
        said = Feedback(
            id=f"f{number}", turn_id=turn.id, group="research", rating=1, actor="me", at=EPOCH
        )
        change = StateChange(key=f"toggles/{number}", value=True, actor="me", at=EPOCH)
        writers[number % 2].commit([Draft.of(each) for each in (turn, said, change)])
        clock._now += timedelta(hours=7)
    writers[1].intents.add(
        Intent(
            attempt_id=AttemptId("a1"),
            owner_id="job",
            group="research",
            model="small",
            purpose="summary",
            reserved_usd=Decimal("0.25"),
            at=EPOCH,
        )
    )
    for writer in writers:
        writer.close()
    Writer.open(folder, clock, segment_bytes=3000).close()  # It settles what was in flight.
    if folder.server is None:
        with closing(sqlite3.connect(folder.database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def content(folder: DataFolder) -> Content:
    """Read all that a reader can get, but for the places where it is, and what Postgres has beside
    that, but for what tells of repairs.
    """
    with closing(folder.tables.connect(writable=False)) as connection:
        rows = {
            name: [row[:-4] for row in connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2")]
            for name in KEYS
        }
        copies = connection.execute("SELECT * FROM lines ORDER BY 1, 2").fetchall()
        writers = connection.execute("SELECT * FROM writers ORDER BY 1").fetchall()
    log = Log(folder.events)
    lines = [e.line for path in log.segments() for e in log.entries(path) if e.line]
    changes = sorted(line.body for line in lines if line.kind == "state_change")
    return {
        "rows": rows,
        "copies": [copy for copy in copies if not copy[-1].startswith(b'{"kind":"repair"')],
        "writers": writers,
        "changes": changes,
        "turns": asyncio.run(_read(folder, rows)),
    }


async def _read(folder: DataFolder, rows: Content) -> list[Any]:
    reader = Reader(folder)
    await reader.open()
    try:
        found = [await reader.interaction("research", row[0]) for row in rows["interactions"]]
        heads = [await reader.head("research", f"s{n}") for n in range(3)]
        return [[turn and (turn.messages, turn.attempts, turn.outcome) for turn in found], heads]
    finally:
        await reader.close()


def flip_value(address: str, chance: random.Random) -> str:
    """Change a bit of a value in the tables, as their owner; returns which."""
    with psycopg.connect(address, autocommit=True) as owner:
        while True:
            drawn = chance.choice(DRAWN)
            column = chance.choice(list(drawn.columns))
            query = f"SELECT ctid::text, {column.name} FROM {drawn.name} ORDER BY ctid"
            try:
                row, value = chance.choice(owner.execute(query).fetchall())
                value = flipped_value(value, column.type, chance)
                update = f"UPDATE {drawn.name} SET {column.name} = %s WHERE ctid = %s::tid"
                owner.execute(update, [value, row])
            except (IndexError, ValueError, psycopg.DataError, psycopg.IntegrityError):
                continue  # There is no row, or no such value, or another row has that key.
            return f"{drawn.name}.{column.name} of {row}, now {value!r},"


def flipped_value(value: Any, kind: sa.types.TypeEngine[Any], chance: random.Random) -> Any:
    """Change a bit of a value as Postgres has it. Raises `ValueError` where none comes of it."""
    match value:
        case bool():
            return not value
        case str():
            return flipped(value.encode(), chance)[0].decode()
        case bytes():
            return flipped(value, chance)[0]
        case int() | float():
            number = "!d" if isinstance(value, float) else "!q"
            if isinstance(value, int) and not isinstance(kind, sa.BigInteger):
                number = "!i"
            (value,) = struct.unpack(number, flipped(struct.pack(number, value), chance)[0])
            return value
    raise ValueError(f"{value!r} has no bits")


def flipped(raw: bytes, chance: random.Random) -> tuple[bytes, int]:
    """Change a bit; returns which, too. Raises `ValueError` where there is none."""
    changed, bit = bytearray(raw), chance.randrange(8 * len(raw))
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed), bit


@define
class Flips:
    """Changes bits of copies of one folder."""

    source: DataFolder
    folder: DataFolder
    chance: random.Random
    seen: Counter[str] = field(factory=Counter)
    violations: list[str] = field(factory=list)
    _before: Content = field(factory=dict)
    _files: list[Path] = field(factory=list)
    _kept: Kept = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        """Know what is right."""
        self._before = content(self.source)
        log = sorted(self.source.events.glob("*/interactions*.json*"))
        self._files = [path.relative_to(self.source.path) for path in log]
        self._kept = kept_by(self.source.server)

    def flip(self) -> None:
        """Change a bit, and see to it."""
        server = self.folder.server
        fresh(self.folder.path)
        shutil.copytree(self.source.path, self.folder.path, dirs_exist_ok=True)
        if server is not None:
            put_back(server, self._kept)
        if self.chance.random() < 0.5:
            where, name = "log", self._flip_file(self.chance.choice(self._files))
        elif server is not None:
            where, name = "database", flip_value(server, self.chance)
        else:
            where, name = "database", self._flip_file(Path("coe.db"))
        self.seen[f"{where}_flips"] += 1
        self._judge(where, name)

    def _flip_file(self, file: Path) -> str:
        raw, bit = flipped((self.source.path / file).read_bytes(), self.chance)
        (self.folder.path / file).write_bytes(raw)
        return f"bit {bit} of {file}"

    def _judge(self, where: str, name: str) -> None:
        is_found = self._is_found()
        if not is_found:
            if self._differs():
                self.violations.append(f"{name} changes what is read, and is not found")
            self.seen[f"{where}_harmless"] += 1
            return
        self.seen[f"{where}_found"] += 1
        if self._mend() and not self._differs():
            self.seen[f"{where}_mended"] += 1
        else:
            self.violations.append(f"{name} is found and not mended")

    def _is_found(self) -> bool:
        try:
            return bool(audit(self.folder).faults)
        except DAMAGED:
            return True

    def _differs(self) -> bool:
        try:
            return content(self.folder) != self._before
        except (*DAMAGED, RecordDamaged, Unavailable):
            return True

    def _mend(self) -> bool:
        """Do what the playbook says: `repair`, and where that has no database, `rebuild`."""
        try:
            return repair(self.folder, SystemClock(), dry_run=False, segment_bytes=3000).left == ()
        except DAMAGED:
            self.seen["rebuilt"] += 1
        try:
            rebuild(self.folder)
        except (*DAMAGED, Conflict):
            return False
        return audit(self.folder).faults == ()


def main() -> None:
    """Flip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--flips", type=int, required=True)
    parser.add_argument("--server", help="a Postgres to have the tables in")
    options = parser.parse_args()
    loguru.logger.remove()
    server = options.server and new_schema(options.server)
    source = DataFolder(fresh(options.folder / "source"), server)
    write(source, options.seed)
    folder = DataFolder(options.folder / "flipped", server)
    flips = Flips(source, folder, random.Random(options.seed))
    for _ in range(options.flips):
        flips.flip()
    json.dump({**flips.seen, "violations": flips.violations}, sys.stdout)


if __name__ == "__main__":
    main()
