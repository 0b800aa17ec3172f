"""Server-sent events: bytes in, the data of whole events out.

https://html.spec.whatwg.org/multipage/server-sent-events.html, 9.2.6, as of 2026-11. Only `data`
is kept, since nothing in the chat protocol depends on the other fields.
"""

from __future__ import annotations

from attrs import define, field

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LIMIT_BYTES = 32 * 1024 * 1024


class EventTooLong(ValueError):
    """An event exceeds the limit, so that an upstream cannot fill the memory."""


@define
class EventParser:
    """Takes a stream in pieces, cut anywhere, even within a letter or a line's end.

    Lines are split as bytes: no byte of a UTF-8 sequence is a line's end.
    """

    limit_bytes: int = LIMIT_BYTES
    _line: list[bytes] = field(factory=list, init=False)
    _data: list[bytes] = field(factory=list, init=False)
    _size_bytes: int = field(default=0, init=False)
    _after_return: bool = field(default=False, init=False)
    """The last piece ended with CR: a LF at the start of the next belongs to it."""
    _at_start: bool = field(default=True, init=False)

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the data of the events that end in this piece. Raises `EventTooLong`."""
        if self._after_return and piece:
            piece = piece.removeprefix(b"\n")
            self._after_return = False
        if b"\n" not in piece and b"\r" not in piece:
            self._keep(piece)
            return []
        self._after_return = piece.endswith(b"\r")
        *lines, rest = _split(b"".join([*self._line, piece]))
        self._line.clear()
        events = [event for line in lines if (event := self._take(line)) is not None]
        self._size_bytes = sum(map(len, self._data))
        self._keep(rest)
        return events

    def end(self) -> list[bytes]:
        """Return what the stream left unfinished: some upstreams forget the last empty line."""
        rest = b"".join(self._line)
        self._line.clear()
        return [event for line in (rest, b"") if (event := self._take(line)) is not None]

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._line.append(piece)
        self._size_bytes += len(piece)
        if self._size_bytes > self.limit_bytes:
            raise EventTooLong(f"an event is longer than {self.limit_bytes} bytes")

    def _take(self, line: bytes) -> bytes | None:
        if self._at_start:
            line = line.removeprefix(BYTE_ORDER_MARK)
            self._at_start = False
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        elif line == b"data":
            self._data.append(b"")
        elif not line and self._data:
            event = b"\n".join(self._data)
            self._data.clear()
            return event
        return None


def _split(text: bytes) -> list[bytes]:
    """Split at CR, LF and CRLF; what follows the last of them comes last."""
    lines = text.splitlines()
    return [*lines, b""] if text.endswith((b"\n", b"\r")) else lines
