"""What a process changed below a folder, in order: the records that `disk.c` writes."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, cast

from attrs import frozen

HEAD = struct.Struct("6Q")

Kind = Literal["C", "M", "R", "U", "W", "T", "S", "A"]


@frozen
class Event:
    """One change, or a mark."""

    kind: Kind
    """`C`reate a file, `M`ake a folder, `R`ename, `U`nlink, `W`rite, `T`runcate, `S`ync, or a mark,
    whose text is the path.
    """
    inode: int
    offset: int
    path: str
    path2: str
    text: bytes


def read(tape: Path) -> Iterator[Event]:
    """Read the records."""
    with tape.open("rb") as file:
        while head := file.read(HEAD.size):
            kind, inode, offset, *sizes = HEAD.unpack(head)
            path, path2, text = (file.read(size) for size in sizes)
            yield Event(cast("Kind", chr(kind)), inode, offset, path.decode(), path2.decode(), text)
