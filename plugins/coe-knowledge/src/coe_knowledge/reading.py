"""Reading files: which reader takes what, and a process of its own for what is dangerous."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import TypeAlias

from attrs import frozen

from coe_core.codec import decode, encode, structure, unstructure
from coe_core.settings import nearest
from coe_knowledge.block import Script, Unreadable

Reader: TypeAlias = Callable[[bytes, str], Script]

MARKDOWN, TEXT, HTML, PDF = "text/markdown", "text/plain", "text/html", "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

MEDIA_TYPES: Mapping[str, str] = {
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".txt": TEXT,
    ".html": HTML,
    ".htm": HTML,
    ".pdf": PDF,
    ".docx": DOCX,
}
"""By the end of a name."""

APART = frozenset({PDF, DOCX})
"""Read in a process of their own: they take long and much memory, a broken one without end."""

MEMORY_LIMIT_BYTES = 2 * 1024**3


def media_type_of(source: str) -> str:
    """Tell what a file is by its name. Raises `Unreadable`."""
    suffix = PurePosixPath(source).suffix.lower()
    if suffix not in MEDIA_TYPES:
        known = ", ".join(MEDIA_TYPES)
        raise Unreadable(f"{source}: a file is one of {known}{nearest(suffix, MEDIA_TYPES)}")
    return MEDIA_TYPES[suffix]


def reader_of(media_type: str) -> Reader:
    """Return what reads a media type. Raises `Unreadable`."""
    match media_type:
        case "text/markdown":
            from coe_knowledge.markdown import read_markdown as reader
        case "text/plain":
            from coe_knowledge.markdown import read_text as reader
        case "text/html":
            from coe_knowledge.html import read_html as reader
        case "application/pdf":
            from coe_knowledge.pdf import read_pdf as reader
        case _ if media_type == DOCX:
            from coe_knowledge.docx import read_docx as reader
        case _:
            known = sorted({*MEDIA_TYPES.values()})
            raise Unreadable(f"{media_type!r:.100} is none of {', '.join(known)}")
    return reader


async def read(content: bytes, source: str, media_type: str, *, timeout_s: float) -> Script:
    """Read a file. Raises `Unreadable`."""
    reader = reader_of(media_type)
    if not content.strip():
        raise Unreadable(f"{source} is empty")
    if media_type in APART:
        script = await _apart(content, source, media_type, timeout_s)
    else:
        script = await asyncio.to_thread(reader, content, source)
    if not script.blocks:
        raise Unreadable(f"{source} has no text in it")
    return script


async def _apart(content: bytes, source: str, media_type: str, timeout_s: float) -> Script:
    told = encode({"source": source, "media_type": media_type}) + b"\n" + content
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "coe_knowledge.reading"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(timeout_s):
            answer, _ = await child.communicate(told)
    except TimeoutError:
        raise Unreadable(f"{source} cannot be read within {timeout_s:g} s") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        raise Unreadable(f"{source} cannot be read: what reads it ran out of memory, or crashed")
    read: Outcome = structure(decode(answer), Outcome)
    if read.script is None:
        raise Unreadable(read.error)
    return read.script


@frozen(kw_only=True)
class Outcome:
    """What the process answers with: a script, or why there is none."""

    script: Script | None = None
    error: str = ""


def main() -> None:
    """Read one file from standard input, where a line of JSON says what it is."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    told = decode(sys.stdin.buffer.readline())
    try:
        script = reader_of(told["media_type"])(sys.stdin.buffer.read(), told["source"])
        outcome = Outcome(script=script)
    except Unreadable as error:
        outcome = Outcome(error=error.message)
    sys.stdout.buffer.write(encode(unstructure(outcome)))


if __name__ == "__main__":
    main()
