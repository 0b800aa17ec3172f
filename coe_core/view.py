"""What a client is shown of an answer while it comes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from attrs import define, evolve, field

from coe_core.answer import is_empty, without_end
from coe_core.contract import Held, Seam
from coe_core.model import Chunk, ToolCallDelta

LONGEST_WORD = 32
"""Of what has no blank for longer only the end is held."""
UNFINISHED = re.compile(r"[^\s\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]+\Z")
"""The last word, which may go on. In scripts without blanks every letter ends a word."""


@define
class ClientView:
    """Shows chunks: never the calls of our own tools, nor what `holds` says is not certain yet."""

    ours: Collection[str]
    holds: Held = "nothing"
    started: bool = False
    called: bool = False
    """Whether the client has seen a piece of a tool call."""
    _texts: list[str] = field(factory=list)
    _seam: Seam | None = field(default=None, init=False)
    _words: dict[int, str] = field(factory=dict, init=False)
    _held: list[Chunk] = field(factory=list, init=False)
    _places: dict[tuple[int, int], int | None] = field(factory=dict, init=False)
    """Choice and index of a call to the index that the client sees; None for ours."""
    _counts: dict[int, int] = field(factory=dict, init=False)

    @property
    def text(self) -> str:
        """What the client has seen of the first choice."""
        return "".join(self._texts)

    def begin(self, seam: Seam | None = None) -> None:
        """Forget what was held: another attempt begins, or goes on after the seam."""
        self._seam = seam
        for kept in (self._words, self._held, self._places, self._counts):
            kept.clear()

    def join(self, chunk: Chunk) -> Chunk:
        """Pass the text of a continuation through the seam."""
        if self._seam is None or not chunk.content or chunk.index:
            return chunk
        return evolve(chunk, content=self._seam.add(chunk.content))

    def rest(self) -> Iterable[Chunk]:
        """Return what the seam has kept."""
        return () if self._seam is None else (Chunk(content=self._seam.rest()),)

    def show(self, chunk: Chunk) -> Iterable[Chunk]:
        """Return what the client sees now."""
        if self.ours and chunk.tool_calls:
            chunk = evolve(chunk, tool_calls=self._client_calls(chunk))
        if self.holds == "everything":
            self._held.append(chunk)
            return ()
        return self._out([self._certain(chunk) if self.holds == "unfinished" else chunk])

    def release(self) -> Iterable[Chunk]:
        """Return what was held: the answer is whole."""
        words = [Chunk(content=text, index=index) for index, text in self._words.items()]
        held = [*words, *self._held]
        self.begin()
        return self._out(held)

    def _certain(self, chunk: Chunk) -> Chunk:
        if chunk.tool_calls:
            self._held.append(Chunk(tool_calls=chunk.tool_calls, index=chunk.index))
            chunk = evolve(chunk, tool_calls=())
        if not chunk.content:
            return chunk
        text = self._words.pop(chunk.index, "") + chunk.content
        if (word := UNFINISHED.search(text, max(0, len(text) - LONGEST_WORD))) is not None:
            self._words[chunk.index] = word[0]
            text = text[: word.start()]
        return chunk if text == chunk.content else evolve(chunk, content=text)

    def _out(self, chunks: Iterable[Chunk]) -> list[Chunk]:
        shown = [c for c in map(without_end, chunks) if not is_empty(c)]
        for chunk in shown:
            self.started = True
            self.called |= bool(chunk.tool_calls)
            if chunk.index == 0:
                self._texts.append(chunk.content)
        return shown

    def _client_calls(self, chunk: Chunk) -> tuple[ToolCallDelta, ...]:
        shown = []
        for piece in chunk.tool_calls:
            key = (chunk.index, piece.index)
            if key not in self._places:
                is_ours = piece.name in self.ours
                count = self._counts.get(chunk.index, 0)
                self._places[key] = None if is_ours else count
                self._counts[chunk.index] = count + (not is_ours)
            if (index := self._places[key]) is not None:
                shown.append(evolve(piece, index=index))
        return tuple(shown)
