"""Compaction: sealed segments become Parquet files, of a fraction of their size, and back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, BinaryIO

from attrs import field, frozen

from coe_records import compacted, manifest
from coe_records.disk import Disk
from coe_records.folder import DataFolder
from coe_records.lock import locked
from coe_records.log import Log
from coe_records.manifest import Manifest

BLOCK_BYTES = 1 << 20
ANOTHER = "it is not what its manifest says; `coe records verify` tells more"


@frozen(kw_only=True)
class Compacted:
    """What a compaction, or its undoing, came to."""

    segments: int
    before_bytes: int
    after_bytes: int
    left: tuple[str, ...] = ()
    """The segments that were left as they are, each with the reason."""


@frozen
class Compaction:
    """Works on the sealed segments of a data folder, one after the other.

    A kill leaves each of them in the one form or the other, or in both, which are equal then. The
    server may be running.
    """

    folder: DataFolder
    _disk: Disk = field(factory=Disk)

    def sealed(self) -> list[str]:
        """List the segments that can be compacted, or are."""
        there = set(Log(self.folder.events).segments())
        return sorted(manifest.sealed(self.folder.events) & there)

    def compact(self, tell: Callable[[int], Any]) -> Compacted:
        """Compact what is not; `tell` is told the size of each segment."""
        return self._each(self._compact, ".jsonl", tell)

    def undo(self, tell: Callable[[int], Any]) -> Compacted:
        """Make the segments again."""
        return self._each(self._undo, compacted.SUFFIX, tell)

    def _each(
        self, work: Callable[[Path, Manifest], None], suffix: str, tell: Callable[[int], Any]
    ) -> Compacted:
        events, left, done = self.folder.events, [], 0
        before = after = 0
        for segment in self.sealed():
            path = events / segment
            if path.with_suffix(suffix).exists():
                try:
                    seal = manifest.read(events, segment)
                    size = path.with_suffix(suffix).stat().st_size
                    work(path, seal)
                except (OSError, ValueError) as error:
                    left.append(f"{segment}: {error}")
                else:
                    done, before = done + 1, before + size
                    after += _other(path, suffix).stat().st_size
            tell(1)
        return Compacted(segments=done, before_bytes=before, after_bytes=after, left=tuple(left))

    def _compact(self, path: Path, seal: Manifest) -> None:
        target = compacted.place(path)
        if not target.exists() or _digest_of(target) != seal.sha256:
            new = target.with_name(f"{target.name}.new")
            new.unlink(missing_ok=True)
            try:
                entries = Log(self.folder.events).entries(seal.segment, 0, seal.size_bytes)
                compacted.write(new, entries, seal.size_bytes)
                if _digest_of(new) != seal.sha256:
                    raise ValueError(ANOTHER)
            except (OSError, ValueError):
                new.unlink(missing_ok=True)
                raise
            self._keep(new, target)
        self._forget(path)

    def _undo(self, path: Path, seal: Manifest) -> None:
        new = path.with_name(f"{path.name}.new")
        digest = sha256()
        with compacted.CompactedSegment(compacted.place(path)) as file, new.open("wb") as to:
            for block in _blocks(file):
                digest.update(block)
                to.write(block)
        if digest.hexdigest() != seal.sha256:
            new.unlink()
            raise ValueError(ANOTHER)
        new.chmod(0o600)
        self._keep(new, path)
        self._forget(compacted.place(path))

    def _keep(self, new: Path, path: Path) -> None:
        """Let a file that is whole take its name, durably."""
        fd = os.open(new, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fchmod(fd, 0o600)
            os.fsync(fd)
        finally:
            os.close(fd)
        new.replace(path)
        self._disk.sync_folder(path.parent)

    def _forget(self, path: Path) -> None:
        """Remove the form that is not needed any more; not while a backup copies it, or somebody
        looks for a name that no segment has.
        """
        with locked(self.folder.copying), locked(self.folder.lock):
            path.unlink()
            self._disk.sync_folder(path.parent)


def _other(path: Path, suffix: str) -> Path:
    return path if suffix == compacted.SUFFIX else compacted.place(path)


def _digest_of(path: Path) -> str:
    with compacted.CompactedSegment(path) as file:
        return file_digest(file, "sha256").hexdigest()


def _blocks(file: BinaryIO | compacted.CompactedSegment) -> Iterator[bytes]:
    while block := file.read(BLOCK_BYTES):
        yield block
