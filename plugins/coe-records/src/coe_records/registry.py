"""Whose writers are whose, where several machines share a database."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from attrs import field, frozen

from coe_core.error import StartRefused
from coe_records import table
from coe_records.database import Connection
from coe_records.disk import Disk, replace
from coe_records.folder import DataFolder, release
from coe_records.log import Log

ELSEWHERE = "SELECT value FROM json_each(?)"
"""The segments that are in other logs; the value is `json_list` of them."""

UNREGISTERED = "a machine that is not registered"

Rows: TypeAlias = Mapping[str, tuple[str, str]]
"""Writer to the id of its log and to the machine."""


@frozen
class Wrong:
    """A row about a writer of this log that is not what it should be."""

    kind: Literal["missing", "altered", "dangling"]
    name: str
    text: str


@frozen
class Registered:
    """Whose the segments in the database are."""

    ours: frozenset[str] = frozenset()
    """The writers of this log."""
    elsewhere: Mapping[str, str] = field(factory=dict)
    """The segments that are in the logs of other machines, and on which."""
    wrong: tuple[Wrong, ...] = ()


def register(folder: DataFolder, connection: Connection, writers: Sequence[str]) -> None:
    """Enter writers as this folder's, unless the database is a file in it, which no other log
    shares, and let the machine be called what it is called now. The caller holds the log's lock.

    Raises `StartRefused` if the database knows one of them as another's: two logs may have writers
    of one name, made while each had a database to itself, and cannot be told apart then.
    """
    if folder.server is None:
        return
    ours, host, known = _identity(folder), socket.gethostname(), _rows(connection)
    if strangers := [name for name in writers if name in known and known[name][0] != ours]:
        raise StartRefused(
            f"the database {folder.tables.place} has records of another log whose writers have the "
            f"names of ours ({', '.join(strangers)}); give this data folder a database, or a "
            "schema, of its own"
        )
    rows = [(writer, ours, host) for writer in writers if writer not in known]
    connection.insert(table.writers, rows, clash="ignore")
    if _host(folder) != host:
        replace(Disk(), _host_file(folder), f"{host}\n".encode())
    if any(id_ == ours and other != host for id_, other in known.values()):
        connection.execute("UPDATE writers SET host = ? WHERE log = ?", [host, ours])


def outlast_dead(folder: DataFolder, connection: Connection) -> None:
    """Wait until a server has done with what processes that were killed had it commit: whoever
    looks sooner does not see those rows, and writes them too. The caller holds the log's lock.
    """
    if folder.server is None:
        return
    claims = folder.dead_writers()
    try:
        for writer in claims:
            connection.outlast(writer)
    finally:
        for claim in claims.values():
            release(claim)


def registered(folder: DataFolder, connection: Connection) -> Registered:
    """Tell whose the segments in the database are, and which rows about our writers are wrong.

    The log has the last word: a writer with a segment in it is ours, whatever its row says; so is
    one that only the folder knows, if its row names a log of which there is nothing.
    """
    log = Log(folder.events)
    if folder.server is None or log.id is None:
        return Registered()
    rows = _rows(connection)
    ours = {name for name, (id_, _) in rows.items() if id_ == log.id}
    known, writing, claimed = {*folder.known_writers}, set[str](), set[str]()
    elsewhere = {}
    marks = connection.execute("SELECT path, writer, end_bytes, head FROM segments")
    for path, writer, end, head in marks.fetchall():
        writing.add(writer)
        last = log.last(path, end) if writer not in ours else None
        if last is not None and last.head == head:
            claimed |= {writer} & {last.writer}
        elif writer not in ours:
            elsewhere[path] = rows[writer][1] if writer in rows else UNREGISTERED
    others = {rows[name][0] for name in writing & rows.keys() - claimed}
    idle = known & rows.keys() - ours - writing
    claimed |= {name for name in idle if rows[name][0] not in others}
    wrong = _wrong(rows, ours & (known | writing), claimed, ours - known - writing, _host(folder))
    return Registered(frozenset(ours | claimed), elsewhere, tuple(wrong))


def set_right(folder: DataFolder, connection: Connection, wrong: Iterable[Wrong]) -> None:
    """Make rows about our writers what they should be. The caller holds the log's lock."""
    right = (_identity(folder), _host(folder) or socket.gethostname())
    for each in wrong:
        if each.kind == "dangling":
            connection.execute("DELETE FROM writers WHERE name = ?", [each.name])
        else:
            connection.insert(table.writers, [(each.name, *right)], clash="replace")


def _wrong(
    rows: Rows, ours: set[str], claimed: set[str], strange: set[str], host: str | None
) -> Iterator[Wrong]:
    """Yield what is wrong, with all that a row says, since nothing else keeps it."""
    for name in sorted(claimed - rows.keys()):
        yield Wrong("missing", name, "it has segments in this log")
    for name in sorted(claimed & rows.keys()):
        yield Wrong("altered", name, f"it is of this log, and registered for {_shown(rows[name])}")
    for name in sorted(strange):
        yield Wrong("dangling", name, f"no writer has the name; it is of {_shown(rows[name])}")
    for name in sorted(ours):
        if host not in (None, rows[name][1]):
            text = f"the machine is {host}, and it is registered for {_shown(rows[name])}"
            yield Wrong("altered", name, text)


def _shown(row: tuple[str, str]) -> str:
    id_, host = row
    return f"the log {id_} on {host}"


def _rows(connection: Connection) -> Rows:
    found = connection.execute("SELECT name, log, host FROM writers").fetchall()
    return {name: (log, host) for name, log, host in found}


def _identity(folder: DataFolder) -> str:
    log = Log(folder.events)
    if log.id is None:
        replace(Disk(), log.id_file, f"{secrets.token_hex(16)}\n".encode())
    return str(log.id)


def _host_file(folder: DataFolder) -> Path:
    return folder.events / "host"


def _host(folder: DataFolder) -> str | None:
    """Tell what the machine was called when the log was last written to, if that is known."""
    try:
        return _host_file(folder).read_text(errors="replace").strip()
    except FileNotFoundError:
        return None
