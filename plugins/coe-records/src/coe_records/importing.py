"""Takes a file of another system's lines into the log, some hundred at a time."""

from __future__ import annotations

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Sequence
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from attrs import define, evolve, field, frozen
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from coe_core.codec import encode
from coe_core.error import InvalidField, Unavailable
from coe_records.conversation import recorded
from coe_records.dialogue import Dialogue, Unreadable
from coe_records.folder import DataFolder
from coe_records.formats import read
from coe_records.intake import Intake, session_id
from coe_records.writer import Draft, Writer

BATCH_LINES = 200


@frozen(kw_only=True)
class Imported:
    """What an import came to."""

    lines: int = 0
    turns: int = 0
    """Recorded now."""
    known: int = 0
    """Turns that had been recorded already."""
    rejected: int = 0
    """Lines that were set aside."""
    rejects: str | None = None
    """The file where they are."""


@frozen
class Parcel:
    """A line, and the turns that it came to."""

    number: int
    raw: bytes
    drafts: tuple[Draft, ...]


@define
class Import:
    """One import of one file. What was imported before an interruption is known the next time."""

    _folder: DataFolder
    _writer: Writer
    _intake: Intake
    _form: str
    _path: Path
    _tell: Callable[[int], None]
    """Told of every line how many bytes it has."""
    _result: Imported = field(factory=Imported, init=False)
    _rejects: BinaryIO | None = field(default=None, init=False)
    _engine: Engine = field(init=False)

    @_engine.default
    def _(self) -> Engine:
        return self._folder.tables.engine()

    def run(self) -> Imported:
        """Read the file to its end."""
        self._rejects_path.unlink(missing_ok=True)
        batch: list[Parcel] = []
        try:
            with self._path.open("rb") as file:
                _begin(file)
                for number, raw in enumerate(file, start=1):
                    batch += self._read(number, raw)
                    self._tell(len(raw))
                    if len(batch) >= BATCH_LINES:
                        self._commit(batch)
                        batch = []
            self._commit(batch)
        finally:
            self._engine.dispose()
            if self._rejects is not None:
                self._rejects.close()
        return self._result

    @property
    def _rejects_path(self) -> Path:
        return self._path.with_name(f"{self._path.name}.rejected.jsonl")

    def _read(self, number: int, raw: bytes) -> list[Parcel]:
        if not raw.strip():
            return []
        self._count(lines=1)
        try:
            dialogue = read(raw, self._form)
            if known := self._recorded(dialogue):
                self._count(known=known)
                return []
            turns = self._intake.turns(dialogue, raw)
            return [Parcel(number, raw, tuple(map(Draft.of, turns)))]
        except (Unreadable, ValueError) as error:
            self._reject(number, raw, str(error))
            return []

    def _recorded(self, dialogue: Dialogue) -> int:
        """Count the turns of our own export that the group has, as they were: the id alone, which
        anybody may have written, says nothing.
        """
        if not dialogue.turn:
            return 0
        group, session = self._intake.group, session_id(dialogue.session or "")
        try:
            with self._engine.connect() as connection:
                self._folder.tables.begin_reading(connection, group)
                return recorded(connection, group, dialogue.turn, session, dialogue.messages)
        except DBAPIError as error:  # The database's own is what is told of everywhere else.
            raise error.orig or error from error

    def _commit(self, batch: Sequence[Parcel]) -> None:
        drafts = [draft for parcel in batch for draft in parcel.drafts]
        ids = {draft.id for draft in drafts if draft.id is not None}
        known = self._writer.known(ids)
        try:
            if drafts:
                self._writer.commit(drafts)
        except Unavailable:
            raise
        except Exception as error:  # One line that cannot be recorded spoils no other.
            if len(batch) == 1:
                self._reject(batch[0].number, batch[0].raw, f"it cannot be recorded: {error}")
                return
            for parcel in batch:
                self._commit([parcel])
            return
        self._count(turns=len(ids - known), known=len(drafts) - len(ids - known))

    def _reject(self, number: int, raw: bytes, reason: str) -> None:
        if self._rejects is None:
            self._rejects = self._rejects_path.open("wb")
            self._result = evolve(self._result, rejects=str(self._rejects_path))
        text = raw.decode(errors="backslashreplace").rstrip("\r\n")
        self._rejects.write(encode({"line": number, "reason": reason, "text": text}) + b"\n")
        self._count(rejected=1)

    def _count(self, **more: int) -> None:
        sums = {name: getattr(self._result, name) + number for name, number in more.items()}
        self._result = evolve(self._result, **sums)


def _begin(file: BufferedReader) -> None:
    """Go to the first line. Raises `InvalidField` where there are no lines of UTF-8."""
    start = file.peek()
    if start.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise InvalidField("the file is UTF-16; `iconv -f UTF-16 -t UTF-8` makes UTF-8 of it")
    if start.removeprefix(BOM_UTF8).lstrip().startswith(b"["):
        raise InvalidField(
            "the file is one JSON array; `jq -c '.[]'` makes lines of it, which can be imported"
        )
    if start.startswith(BOM_UTF8):
        file.read(len(BOM_UTF8))
