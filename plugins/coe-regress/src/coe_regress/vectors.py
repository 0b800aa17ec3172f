"""The vectors that embedders gave, by a digest of what they were asked: no text is kept."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field, frozen

from coe_core.codec import canonical, decode, encode, structure
from coe_core.model import Model, Vectors
from coe_core.request import EmbeddingRequest


@frozen(kw_only=True)
class Entry:
    """A line of `vectors.jsonl`."""

    model: str
    """The provider and its own name for the model."""
    sha256: str
    """Of the model, the purpose, the dimensions asked for and the text, as canonical JSON."""
    vector: str
    """Base64 of float32, little-endian."""


@define
class VectorShelf:
    """What is in the file, and what was added."""

    entries: dict[str, Entry] = field(factory=dict)
    used: set[str] = field(factory=set)
    """The digests that were asked for."""

    @classmethod
    def read(cls, path: Path) -> VectorShelf:
        """Read the file, if there is one."""
        lines = path.read_bytes().splitlines() if path.exists() else []
        entries = [structure(decode(line), Entry) for line in lines if line.strip()]
        return cls({entry.sha256: entry for entry in entries})

    def write(self, path: Path) -> None:
        """Write the file, in the order of the digests, so that two branches merge."""
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [encode(self.entries[digest]) + b"\n" for digest in sorted(self.entries)]
        draft = path.with_name(f"{path.name}.draft")
        draft.write_bytes(b"".join(lines))
        draft.replace(path)

    def find(self, model: Model, request: EmbeddingRequest) -> Vectors | None:
        """Return what was recorded for every text of a request, None if one is missing."""
        digests = [_digest(model, request, text) for text in request.input]
        if request.tokens or not all(digest in self.entries for digest in digests):
            return None
        self.used.update(digests)
        rows = [base64.b64decode(self.entries[digest].vector) for digest in digests]
        return Vectors(data=b"".join(rows), dimensions=len(rows[0]) // 4 if rows else 0)

    def add(self, model: Model, request: EmbeddingRequest, given: Vectors) -> None:
        """Keep what an embedder gave."""
        for row, text in enumerate(request.input):
            digest = _digest(model, request, text)
            vector = base64.b64encode(given.row_bytes(row)).decode()
            self.entries[digest] = Entry(model=_name(model), sha256=digest, vector=vector)
            self.used.add(digest)

    @contextmanager
    def only_what_lasts(self) -> Iterator[None]:
        """Of what is added within, keep in the end what was used last: see `used`."""
        before = set(self.entries)
        yield
        for digest in self.entries.keys() - before - self.used:
            del self.entries[digest]

    def forget_unused(self) -> int:
        """Drop what nobody has asked for, and say how many that were."""
        unused = self.entries.keys() - self.used
        for digest in unused:
            del self.entries[digest]
        return len(unused)


def _name(model: Model) -> str:
    return f"{model.provider}:{model.name}"


def _digest(model: Model, request: EmbeddingRequest, text: str) -> str:
    asked = [_name(model), request.purpose, request.dimensions, text]
    return hashlib.sha256(canonical(asked)).hexdigest()
