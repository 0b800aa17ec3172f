"""Intents: which attempts are in flight, so that a killed process leaves no unknown cost."""

from __future__ import annotations

import os
from contextlib import suppress
from errno import ENOSPC
from pathlib import Path

from attrs import define, field

from coe_core.codec import decode, encode, structure
from coe_core.identity import AttemptId
from coe_core.ledger import Intent

COMPACT_BYTES = 1 << 20


@define
class IntentFile:
    """A writer's `intents.jsonl`. A line is in the kernel's hands when `add` returns, which a kill
    of the process does not undo; nothing waits for the disk.
    """

    _path: Path
    _fd: int = field(init=False)
    _in_flight: dict[AttemptId, bytes] = field(factory=dict, init=False)
    _size_bytes: int = field(default=0, init=False)
    _is_torn: bool = field(default=False, init=False)

    @_fd.default
    def _(self) -> int:
        return _open(self._path)

    def clear(self) -> None:
        """Forget what an earlier process left, once it is settled."""
        os.ftruncate(self._fd, 0)

    def add(self, intent: Intent) -> None:
        """Note an attempt that is about to start. Raises `OSError` when it cannot be noted: what
        it costs would not be known after a kill, and its record would find no room either.
        """
        line = encode(intent) + b"\n"
        self._in_flight[intent.attempt_id] = line
        try:
            if self._size_bytes > COMPACT_BYTES and self._is_mostly_settled():
                self._compact()
            else:
                self._write(line)
        except OSError:
            self.remove(intent.attempt_id)
            raise

    def _write(self, line: bytes) -> None:
        """Write a line, behind the piece of one that a full disk may have left."""
        text = b"\n" + line if self._is_torn else line
        self._is_torn = True
        _write_whole(self._fd, text)
        self._is_torn = False
        self._size_bytes += len(text)

    def remove(self, attempt_id: AttemptId) -> None:
        """Forget an attempt whose end is recorded. It stays in the file until that is compacted:
        who reads the file looks for the attempt in the record.
        """
        self._in_flight.pop(attempt_id, None)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _is_mostly_settled(self) -> bool:
        return 2 * sum(map(len, self._in_flight.values())) < self._size_bytes

    def _compact(self) -> None:
        """Write what is in flight to a new file, which then takes the place of the old one."""
        new = self._path.with_suffix(".new")
        fd = _open(new)
        try:
            os.ftruncate(fd, 0)
            _write_whole(fd, b"".join(self._in_flight.values()))
            new.replace(self._path)
        except OSError:
            os.close(fd)
            raise
        os.close(self._fd)
        self._fd, self._is_torn = fd, False
        self._size_bytes = sum(map(len, self._in_flight.values()))


def _write_whole(fd: int, text: bytes) -> None:
    """Write in one piece. Raises `OSError` also where only a part found room."""
    if os.write(fd, text) < len(text):
        raise OSError(ENOSPC, os.strerror(ENOSPC))


def _open(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def read_intents(path: Path) -> list[Intent]:
    """Read what a writer that has ended left, but for lines that a full disk tore, or that are
    none any more.
    """
    found = []
    with suppress(FileNotFoundError):
        for line in path.read_bytes().splitlines():
            with suppress(ValueError, ExceptionGroup):
                found.append(structure(decode(line), Intent))
    return found
