"""HTML, by lxml: headings and blocks of the visible text."""

from __future__ import annotations

import re
from typing import Any

from attrs import define, field

from coe_core.turn import Place
from coe_knowledge.block import Block, Script, Unreadable
from coe_knowledge.encoding import decode

CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
HEAD_BYTES = 4096
"""Where the declaration must stand; the standard says 1024."""

UNSEEN = {"script", "style", "template", "noscript", "head", "nav", "svg", "iframe", "object"}
BLOCKS = {
    *("address", "article", "aside", "blockquote", "body", "dd", "div", "dl", "dt", "fieldset"),
    *("figcaption", "figure", "footer", "form", "header", "hr", "html", "li", "main", "ol", "p"),
    *("pre", "section", "table", "tbody", "tfoot", "thead", "tr", "ul"),
}
CELLS = {"td", "th"}
LEVELS = {f"h{level}": level for level in range(1, 7)}


def read_html(content: bytes, name: str) -> Script:
    """Read a page. Scripts, styles and navigation are no part of what it says."""
    from lxml import etree, html  # type: ignore[import-untyped]

    declared = CHARSET.search(content[:HEAD_BYTES])
    text = decode(content, name, declared[1].decode("ascii") if declared else None)
    parser = html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    try:
        root = html.document_fromstring(text.encode(), parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError) as error:
        raise Unreadable(f"{name} is no HTML: {error}") from error
    if any(entry.type_name == "ERR_RESOURCE_LIMIT" for entry in parser.error_log):
        raise Unreadable(
            f"{name} nests its elements too deep to be read whole: save its text as Markdown"
        )
    titles = root.xpath("//head/title")
    page = _Page()
    page.walk(root)
    page.end()
    title = _flat(titles[0].text_content()) if titles else ""
    return Script(blocks=tuple(page.blocks), title=title)


@define
class _Page:
    blocks: list[Block] = field(factory=list)
    _headings: dict[int, str] = field(factory=dict)
    _texts: list[str] = field(factory=list)

    def walk(self, element: Any) -> None:
        """Take in an element; libxml2 lets none nest so deep that this fails."""
        tag = element.tag if isinstance(element.tag, str) else ""
        if tag in LEVELS:
            self.end()
            self._head(LEVELS[tag], _flat(element.text_content()))
        elif tag not in UNSEEN:
            self._inside(element, tag)
        self._texts.append(element.tail or "")

    def _inside(self, element: Any, tag: str) -> None:
        if tag in BLOCKS:
            self.end()
        self._texts.append(element.text or "")
        for inner in element:
            self.walk(inner)
        if tag in BLOCKS:
            self.end()
        elif tag in CELLS or tag == "br":
            self._texts.append(" ")

    def _head(self, level: int, text: str) -> None:
        self._headings = {k: v for k, v in self._headings.items() if k < level}
        if text:
            self._headings[level] = text

    def end(self) -> None:
        """End a block."""
        text = _flat("".join(self._texts))
        self._texts = []
        if text:
            headings = tuple(self._headings[level] for level in sorted(self._headings))
            self.blocks.append(Block(text=text, place=Place(headings=headings)))


def _flat(text: str) -> str:
    return " ".join(text.split())
