"""A disk as a power cut may leave it: of what was not synced, any part may be there, or not.

What is taken for promised, and no more:

- `fsync` and `fdatasync` of a file make its content and size durable, not its name;
- `fsync` of a folder makes the names in it durable; a rename is there whole or not at all;
- what is not synced is there sector by sector, in any combination; a file may have grown to its
  size with zeros where no sector is; a truncation may be there or not;
- files, and names, do not wait for each other.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import TypeAlias

from attrs import define, field, frozen

from .tape import Event

FOLDER = -1
Names: TypeAlias = dict[str, int | None]
"""Path to inode, or to `FOLDER`; None for one that is taken away."""


@frozen
class Write:
    offset: int
    text: bytes


@frozen
class Cut:
    size_bytes: int


@define
class File:
    durable: bytes = b""
    pending: list[Write | Cut] = field(factory=list)

    def sync(self) -> None:
        self.durable = after(self.durable, self.pending)
        self.pending = []


def after(content: bytes, changes: Iterable[Write | Cut]) -> bytes:
    """Apply changes."""
    made = bytearray(content)
    for change in changes:
        match change:
            case Cut(size_bytes=size):
                made[size:] = bytes(max(0, size - len(made)))
            case Write(offset=offset, text=text):
                made += bytes(max(0, offset - len(made)))
                made[offset : offset + len(text)] = text
    return bytes(made)


Image: TypeAlias = Mapping[str, bytes | None]
"""Path to content, None for a folder."""


@define
class Power:
    """The disk at one moment: what is durable, and what is not yet."""

    files: dict[int, File] = field(factory=dict)
    folders: dict[int, str] = field(factory=dict)
    names: dict[str, int] = field(factory=dict)
    now: dict[str, int] = field(factory=dict)
    """The names as the process sees them."""
    pending: list[Names] = field(factory=list)

    @classmethod
    def of(cls, folder: Path) -> "Power":
        """Take all that is in a folder for durable."""
        power = cls()
        for path in sorted(folder.rglob("*")):
            name, inode = path.relative_to(folder).as_posix(), path.stat().st_ino
            if path.is_dir():
                power.folders[inode] = name
                power.names[name] = FOLDER
            elif not name.endswith("-shm"):
                power.files[inode] = File(path.read_bytes())
                power.names[name] = inode
        power.now = dict(power.names)
        return power

    def take(self, event: Event) -> None:
        """Let something happen."""
        match event.kind:
            case "C":
                self.files[event.inode] = File()
                self._name({event.path: event.inode})
            case "M":
                self.folders[event.inode] = event.path
                self._name({event.path: FOLDER})
            case "R":
                self._name({event.path2: self.now[event.path], event.path: None})
            case "U":
                self._name({event.path: None})
            case "W":
                self.files[event.inode].pending.append(Write(event.offset, event.text))
            case "T":
                self.files[event.inode].pending.append(Cut(event.offset))
            case "S" if event.inode in self.files:
                self.files[event.inode].sync()
            case "S":
                self._sync_folder(self.folders.get(event.inode, "."))

    def _name(self, names: Names) -> None:
        self.pending.append(names)
        self.now = _named(self.now, [names])

    def _sync_folder(self, folder: str) -> None:
        here = [n for n in self.pending if str(Path(next(iter(n))).parent) == folder]
        self.pending = [names for names in self.pending if names not in here]
        self.names = _named(self.names, here)

    @property
    def units(self) -> int:
        """How many things may be there or not, if whole writes are."""
        return len(self.pending) + sum(len(file.pending) for file in self.files.values())

    def image(self, chance: random.Random, likelihood: float, sector_bytes: int) -> Image:
        """Draw an image, in which each thing that is not durable is there with that likelihood."""

        def survives(_: object) -> bool:
            return chance.random() < likelihood

        def content(inode: int) -> bytes:
            file = self.files[inode]
            if not file.pending:
                return file.durable
            parts = [p for change in file.pending for p in sectors(change, sector_bytes)]
            made = after(file.durable, filter(survives, parts))
            grown = len(after(file.durable, file.pending))
            return made.ljust(grown, b"\0") if survives(None) else made

        return self._image(filter(survives, self.pending), content)

    def images(self) -> Iterator[Image]:
        """Make every image in which whole writes are there or not."""
        files = {inode: file for inode, file in self.files.items() if file.pending}
        for kept in product([False, True], repeat=self.units):
            left = iter(kept)
            names = [names for names in self.pending if next(left)]
            contents = {
                inode: after(file.durable, [change for change in file.pending if next(left)])
                for inode, file in files.items()
            }
            yield self._image(names, lambda i, c=contents: c.get(i, self.files[i].durable))

    def _image(self, names: Iterable[Names], content: Callable[[int], bytes]) -> Image:
        image: dict[str, bytes | None] = {}
        for path, inode in sorted(_named(self.names, names).items()):
            parent = str(Path(path).parent)
            if parent == "." or (parent in image and image[parent] is None):
                image[path] = None if inode == FOLDER else content(inode)
        return image


def _named(names: Mapping[str, int], changes: Iterable[Names]) -> dict[str, int]:
    for change in changes:
        names = {**names, **change}
    return {path: inode for path, inode in names.items() if inode is not None}


def sectors(change: Write | Cut, size_bytes: int) -> Iterator[Write | Cut]:
    """Cut a change into what the disk writes, or not."""
    if isinstance(change, Cut):
        yield change
        return
    at, end = change.offset, change.offset + len(change.text)
    while at < end:
        stop = min(at - at % size_bytes + size_bytes, end)
        yield Write(at, change.text[at - change.offset : stop - change.offset])
        at = stop


def digest(image: Image) -> bytes:
    """Tell images apart."""
    found = sha256()
    for path, content in image.items():
        found.update(f"{path}\0{content is None}\0{len(content or b'')}\0".encode())
        found.update(content or b"")
    return found.digest()


def lay_out(image: Image, folder: Path) -> None:
    """Make a folder of an image."""
    for path, content in image.items():
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)
