"""A copy of log and tables of one moment, and of owned state, made while the server runs."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from attrs import frozen

from coe_core.error import Conflict
from coe_core.state import STATE_FILE
from coe_records import sqlite
from coe_records.audit import Fault, audit
from coe_records.folder import DataFolder
from coe_records.lock import locked
from coe_records.log import Log, Show, unshown
from coe_records.plugin_database import FILE
from coe_records.projection import Projection
from coe_records.rebuild import rebuild

OWNED = (STATE_FILE, FILE)
"""Of what no log tells: the engine's own state store (keys, toggles, parameters, budgets), and the
plugins' tables.
"""


@frozen(kw_only=True)
class Copied:
    """What a backup, or a restored one, came to."""

    path: str
    files: int
    size_bytes: int
    records: int
    faults: tuple[Fault, ...]
    """What `verify` finds in the copy."""


def back_up(folder: DataFolder, target: Path, show: Show = unshown) -> Copied:
    """Copy a data folder's records and state. Raises `Conflict` unless the target is empty, and
    not within the log, of which the next backup would copy it.

    Tables on a server are not copied: those of the copy are made of the log, in a file.
    """
    if target.resolve().is_relative_to(folder.events.resolve()):
        raise Conflict(f"{target} is within the log that is to be copied; name another folder")
    _make_empty(target)
    with locked(folder.copying):
        return _back_up(folder, target, show)


def _back_up(folder: DataFolder, target: Path, show: Show) -> Copied:
    if folder.server is None:
        with closing(sqlite.connect(folder.database, writable=False)) as source:
            with locked(folder.lock):  # Nobody is between log and database.
                source.begin_reading()
                Projection(source, Log(folder.events)).marks()
                sizes = _sizes(folder.events)
            size_bytes = folder.database.stat().st_size
            with show("copying the tables", size_bytes) as tell:
                _copy_database(source, target / folder.database.name)
                tell(size_bytes)
    else:
        with locked(folder.lock):
            sizes = _sizes(folder.events)
    for name in OWNED:
        if (folder.path / name).exists():
            with closing(sqlite.connect(folder.path / name, writable=False)) as source:
                _copy_database(source, target / name)
    _copy_all(sizes, folder.events, target / folder.events.name, show)
    with _blamed_on_the_copy():
        _make_writers(folder, DataFolder(target))
        return _copied(DataFolder(target), show, rebuilds=folder.server is not None)


def restore(source: Path, folder: DataFolder, show: Show = unshown) -> Copied:
    """Copy a backup to where a data folder shall be. Raises `Conflict` unless it is empty.

    Tables on a server are made of the log.
    """
    if not (source / folder.events.name).is_dir():
        raise Conflict(f"{source} is no backup: it has no folder {folder.events.name}")
    _make_empty(folder.path)
    _copy_all(_sizes(source), source, folder.path, show)
    _make_writers(DataFolder(source), folder)
    return _copied(folder, show, rebuilds=folder.server is not None)


def _make_empty(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(path.iterdir()):
        raise Conflict(f"{path} is not empty, and nothing in it was touched; name another folder")


def _sizes(path: Path) -> Mapping[str, int]:
    """List the files below, each with its size; locks are nobody's but their holder's, and what is
    being made may have another name at any moment.
    """
    named = (file for file in sorted(path.rglob("*")) if file.name != "lock")
    files = [file for file in named if file.suffix != ".new" and file.is_file()]
    return {file.relative_to(path).as_posix(): file.stat().st_size for file in files}


def _copy_database(source: sqlite3.Connection, to: Path) -> None:
    """Copy what the source's transaction sees, whatever is written meanwhile."""
    with _blamed_on_the_copy(), closing(sqlite.connect(to)) as copy:
        source.backup(copy)
    _sync(to)


@contextmanager
def _blamed_on_the_copy() -> Iterator[None]:
    """Raise `OSError`, as files do, when a database cannot be written."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(str(error)) from error


def _copy_all(sizes: Mapping[str, int], source: Path, to: Path, show: Show) -> None:
    with show("copying files", sum(sizes.values())) as tell:
        for name, size_bytes in sizes.items():
            _copy(source / name, to / name, size_bytes)
            tell(size_bytes)


def _make_writers(source: DataFolder, to: DataFolder) -> None:
    """Make the folder of each writer, by which it is known, though most have no file in theirs."""
    for path in source.writers.glob("*"):
        (to.writers / path.name).mkdir(parents=True, exist_ok=True)


def _copy(source: Path, to: Path, size_bytes: int) -> None:
    """Copy a file's beginning: what is appended meanwhile is left out."""
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, to)
    os.truncate(to, size_bytes)
    to.chmod(0o600)
    _sync(to)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _copied(folder: DataFolder, show: Show, *, rebuilds: bool) -> Copied:
    if rebuilds:
        with show("rebuilding", folder.log_bytes) as tell:
            rebuild(folder, tell)
    with show("verifying", folder.log_bytes) as tell:
        report = audit(folder, tell)
    sizes = _sizes(folder.path)
    return Copied(
        path=str(folder.path),
        files=len(sizes),
        size_bytes=sum(sizes.values()),
        records=report.records,
        faults=report.faults,
    )
