"""Intents: which attempts are in flight, so that a killed process leaves no unknown cost."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from attrs import define, field
from loguru import logger

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

    @_fd.default
    def _(self) -> int:
        return _open(self._path)

    def clear(self) -> None:
        """Forget what an earlier process left, once it is settled."""
        os.ftruncate(self._fd, 0)

    def add(self, intent: Intent) -> None:
        """Note an attempt that is about to start."""
        line = encode(intent) + b"\n"
        self._in_flight[intent.attempt_id] = line
        try:
            if self._size_bytes > COMPACT_BYTES and self._is_mostly_settled():
                self._compact()
            else:
                self._size_bytes += os.write(self._fd, line)
        except OSError as error:
            # If the disk is no better at the end of the turn, the record cannot be written either,
            # and the client is told.
            logger.bind(path=str(self._path), error=str(error)).warning("an intent is not noted")

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
            self._size_bytes = os.write(fd, b"".join(self._in_flight.values()))
            new.replace(self._path)
        except OSError:
            os.close(fd)
            raise
        os.close(self._fd)
        self._fd = fd


def _open(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def read_intents(path: Path) -> list[Intent]:
    """Read what a writer that has ended left, but for lines that a full disk tore off."""
    found = []
    with suppress(FileNotFoundError):
        for line in path.read_bytes().splitlines():
            with suppress(ValueError):
                found.append(structure(decode(line), Intent))
    return found
