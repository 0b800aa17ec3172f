"""Plain text and Markdown, line by line: a passage of either names its lines."""

from __future__ import annotations

import re

from attrs import define, field

from coe_core.turn import Place
from coe_knowledge.block import Block, Script
from coe_knowledge.encoding import decode

HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.+?)(?:[ \t]+#+)?[ \t]*$")
UNDERLINE = re.compile(r"^ {0,3}(=+|-+)[ \t]*$")
NO_HEADING = re.compile(r"([-*+>|]|\d+[.)])\s|\|")
"""What an underline does not make a heading of: a list, a quotation, a table."""
FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
MARKS = re.compile(r"[*_`]+|!?\[([^\]]*)\]\([^)]*\)")


def read_text(content: bytes, name: str) -> Script:
    """Read plain text: paragraphs between blank lines."""
    paragraphs = _Paragraphs()
    for number, line in enumerate(decode(content, name).split("\n"), start=1):
        if line.strip():
            paragraphs.say(number, line)
        else:
            paragraphs.end()
    paragraphs.end()
    return Script(blocks=tuple(paragraphs.blocks))


def read_markdown(content: bytes, name: str) -> Script:
    """Read Markdown (CommonMark 0.31): its headings, and the paragraphs below each. A fenced block
    is one, and has no headings in it.
    """
    paragraphs = _Paragraphs()
    fence = ""
    for number, line in enumerate(decode(content, name).split("\n"), start=1):
        mark = FENCE.match(line)
        if fence:
            closes = mark is not None and mark[1].startswith(fence)
            fence = "" if closes else fence
            paragraphs.say(number, line)
        elif mark is not None:
            fence = mark[1]
            paragraphs.say(number, line)
        elif match := HEADING.match(line):
            paragraphs.begin()
            paragraphs.head(number, line, len(match[1]), match[2])
        elif (match := UNDERLINE.match(line)) and (above := paragraphs.only_line()):
            paragraphs.head(number, line, 1 if match[1].startswith("=") else 2, above)
        elif line.strip():
            paragraphs.say(number, line)
        else:
            paragraphs.end()
    paragraphs.end()
    return Script(blocks=tuple(paragraphs.blocks), title=paragraphs.title)


@define
class _Paragraphs:
    """Paragraphs, as far as they have come. A heading is part of the first one below it."""

    blocks: list[Block] = field(factory=list)
    title: str = ""
    _headings: dict[int, str] = field(factory=dict)
    _lines: list[tuple[int, str]] = field(factory=list)
    _is_heading: bool = False
    """Whether the lines so far are a heading alone."""

    def begin(self) -> None:
        """Begin anew; a heading with nothing below it is in the headings of what follows."""
        self.end()
        self._lines = []

    def head(self, number: int, line: str, level: int, text: str) -> None:
        """Add a line that makes `text` a heading."""
        plain = MARKS.sub(lambda match: match[1] or "", text).strip()
        above = {k: heading for k, heading in self._headings.items() if k < level}
        self._headings = above | {level: plain}
        self.title = self.title or (plain if level == 1 else "")
        self._is_heading = True
        self._lines.append((number, line.rstrip()))

    def only_line(self) -> str:
        """Return the paragraph if it is one line that may be a heading, else ""."""
        text = self._lines[0][1].strip() if len(self._lines) == 1 and not self._is_heading else ""
        return "" if NO_HEADING.match(text) else text

    def say(self, number: int, line: str) -> None:
        """Add a line that is no heading."""
        self._is_heading = False
        self._lines.append((number, line.rstrip()))

    def end(self) -> None:
        """End the paragraph, unless it is a heading that one may follow."""
        if self._is_heading or not self._lines:
            return
        self.blocks.append(
            Block(
                text="\n".join(line for _, line in self._lines),
                place=Place(
                    headings=tuple(self._headings[level] for level in sorted(self._headings)),
                    first_line=self._lines[0][0],
                    last_line=self._lines[-1][0],
                ),
            )
        )
        self._lines = []
