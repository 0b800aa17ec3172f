"""What comes of files: their blocks, and one clear refusal for each that is no document."""

import io
import zipfile
from typing import Any

import docx
import pytest
from coe_knowledge.block import Script, Unreadable
from coe_knowledge.reading import media_type_of, read
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

MARKDOWN = """# 휴가 안내

연차는 15일입니다.

## Sick leave

Tell your manager by ten.

```sh
# no heading

echo 1
```

Appendix
--------

- one
- two
"""

HTML = """<html><head><title> 안내 </title><script>alert(1)</script></head><body>
<nav>Home</nav><h1>휴가</h1><p>연차는 <b>15</b>일.</p>
<h2>Sick &amp; well</h2><ul><li>one<li>two</ul><table><tr><td>a<td>b</table></body></html>"""


async def read_as(name: str, content: bytes) -> Script:
    return await read(content, name, media_type_of(name), timeout_s=60)


def lines(script: Script) -> list[tuple[Any, ...]]:
    return [
        (b.text, b.place.headings, b.place.first_line, b.place.last_line) for b in script.blocks
    ]


def pdf(*pages: str, password: str | None = None) -> bytes:
    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(595, 842)
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode())
        page[NameObject("/Contents")] = writer._add_object(stream)
        fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    if password is not None:
        writer.encrypt(password, algorithm="RC4-128")
    writer.write(into := io.BytesIO())
    return into.getvalue()


def word() -> bytes:
    document = docx.Document()
    document.add_heading("Leave", level=1)
    document.add_paragraph("연차는 15일입니다.")
    document.add_heading("Sick", level=2)
    table = document.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "day", "three"
    document.save(into := io.BytesIO())
    return into.getvalue()


async def test_markdown_has_headings_and_lines() -> None:
    script = await read_as("leave.md", MARKDOWN.encode())
    assert script.title == "휴가 안내"
    assert lines(script) == [
        ("# 휴가 안내\n연차는 15일입니다.", ("휴가 안내",), 1, 3),
        ("## Sick leave\nTell your manager by ten.", ("휴가 안내", "Sick leave"), 5, 7),
        ("```sh\n# no heading\n\necho 1\n```", ("휴가 안내", "Sick leave"), 9, 13),
        ("Appendix\n--------\n- one\n- two", ("휴가 안내", "Appendix"), 15, 19),
    ]


async def test_html_is_its_visible_text() -> None:
    script = await read_as("leave.html", HTML.encode())
    assert script.title == "안내"
    assert [(b.text, b.place.headings) for b in script.blocks] == [
        ("연차는 15일.", ("휴가",)),
        ("one", ("휴가", "Sick & well")),
        ("two", ("휴가", "Sick & well")),
        ("a b", ("휴가", "Sick & well")),
    ]


async def test_pdf_has_pages() -> None:
    script = await read_as("leave.pdf", pdf("Annual leave is 15 days.", "Sick leave."))
    assert [(b.text, b.place.page) for b in script.blocks] == [
        ("Annual leave is 15 days.", 1),
        ("Sick leave.", 2),
    ]


async def test_docx_has_headings_and_tables() -> None:
    script = await read_as("leave.docx", word())
    assert [(b.text, b.place.headings) for b in script.blocks] == [
        ("연차는 15일입니다.", ("Leave",)),
        ("day | three", ("Leave", "Sick")),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp949", "euc-kr"])
@pytest.mark.parametrize("name", ["note.txt", "note.md", "note.html"])
async def test_korean_is_read_in_every_encoding_it_comes_in(name: str, encoding: str) -> None:
    script = await read_as(name, "환불은 영업일 기준 사흘, refund 3일.".encode(encoding))
    assert script.blocks[0].text == "환불은 영업일 기준 사흘, refund 3일."


async def test_html_says_its_encoding() -> None:
    page = "<meta charset='windows-1252'><p>café".encode("cp1252")
    assert (await read_as("a.html", page)).blocks[0].text == "café"


ZIP_BOMB = io.BytesIO()
with zipfile.ZipFile(ZIP_BOMB, "w", zipfile.ZIP_DEFLATED) as packed:
    for part in range(5):
        packed.writestr(f"word/{part}.xml", bytes(120 * 1024 * 1024))

REFUSED = {
    "empty": ("a.md", b" \n\t\n", "a.md is empty"),
    "encrypted PDF": ("a.pdf", pdf("secret", password="hidden"), "a.pdf is encrypted"),
    "broken PDF": ("a.pdf", b"%PDF-1.7\nrubbish", "a.pdf is a broken PDF"),
    "half a PDF": ("a.pdf", pdf("one", "two")[:300], "a.pdf"),
    "PDF of pictures": ("a.pdf", pdf(""), "no text: it may be scanned"),
    "PDF named .md": ("a.md", pdf("text"), "a.md is no text: it is a PDF file"),
    "binary named .md": ("a.md", bytes(range(256)), "a.md is no text: it holds binary data"),
    "binary without zeros": ("a.md", bytes(range(1, 32)) * 9, "no text: it holds control"),
    "no encoding at all": ("a.txt", "환불".encode() + b"\xff\xfe\xfa", "not valid UTF-8 nor CP949"),
    "Latin letters of old": ("a.txt", "déjà vu".encode("latin-1"), "not valid UTF-8 nor CP949"),
    "UTF-16 cut in two": ("a.txt", "환불".encode("utf-16")[:-1], "not valid UTF-16"),
    "text named .docx": ("a.docx", b"Hello", "a.docx is a broken DOCX"),
    "ZIP named .docx": ("a.docx", b"PK\x05\x06" + bytes(18), "broken DOCX"),
    "old Word": ("a.docx", b"\xd0\xcf\x11\xe0" + bytes(512), "encrypted, or of an old Word"),
    "DOCX that swells": ("a.docx", ZIP_BOMB.getvalue(), "more than half a gigabyte"),
    "page that nests too deep": (
        "a.html",
        b"<p>seen</p>" + b"<div>" * 100_000 + b"lost",
        "a.html nests its elements too deep to be read whole: save its text as Markdown",
    ),
    "page without text": ("a.html", b"<p><script>1</script>", "a.html has no text in it"),
    "picture": ("a.png", b"\x89PNG", "a.png: a file is one of .md, "),
}


@pytest.mark.parametrize("bad", REFUSED)
async def test_what_cannot_be_read_is_refused_in_a_sentence(bad: str) -> None:
    name, content, message = REFUSED[bad]
    with pytest.raises(Unreadable) as refused:
        await read_as(name, content)
    assert message in refused.value.message
    assert "\n" not in refused.value.message


async def test_reading_has_its_time() -> None:
    with pytest.raises(Unreadable, match="leave.pdf cannot be read within 0.001 s"):
        await read(pdf("late"), "leave.pdf", "application/pdf", timeout_s=0.001)
