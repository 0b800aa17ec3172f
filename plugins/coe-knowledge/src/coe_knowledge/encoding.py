"""Text from bytes in the encodings that Korean and English files come in."""

from __future__ import annotations

import codecs
import re
import unicodedata

from coe_knowledge.block import Unreadable

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""The longer before the shorter that begins alike."""

FORMATS = ((b"%PDF-", "PDF"), (b"PK\x03\x04", "ZIP"), (b"\xd0\xcf\x11\xe0", "old Office"))

CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
MOST_CONTROLS = 0.01
"""A text that has a larger share of control characters is none."""

LEAST_HANGUL = 0.5
"""The share of Hangul, of what is not ASCII, in bytes that are Korean in CP949. Anything else that
happens to be valid there comes out as Chinese characters and halves of signs.
"""


def decode(content: bytes, name: str, declared: str | None = None) -> str:
    """Decode a text: by its byte order mark, as it says itself, as UTF-8, as CP949 (which EUC-KR is
    a part of), in NFC and with plain line ends. Raises `Unreadable` for what is none.
    """
    text = _decoded(content, name, declared)
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    if len(CONTROL.findall(text)) > MOST_CONTROLS * len(text):
        raise Unreadable(f"{name} is no text: it holds control characters")
    return CONTROL.sub(" ", text)


def _decoded(content: bytes, name: str, declared: str | None) -> str:
    for mark, encoding in MARKS:
        if content.startswith(mark):
            return _strictly(content, encoding, name)
    for magic, kind in FORMATS:
        if content.startswith(magic):
            raise Unreadable(f"{name} is no text: it is a {kind} file; give it that file's name")
    if b"\x00" in content:
        raise Unreadable(f"{name} is no text: it holds binary data")
    for encoding in (*_known(declared), "utf-8"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    try:
        text = content.decode("cp949")
    except UnicodeDecodeError:
        text = ""
    foreign = [letter for letter in text if letter > "\x7f"]
    hangul = sum("\uac00" <= letter <= "\ud7a3" for letter in foreign)
    if not foreign or hangul < LEAST_HANGUL * len(foreign):
        return _strictly(content, "utf-8", name)
    return text


def _strictly(content: bytes, encoding: str, name: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        also = " nor CP949" if encoding == "utf-8" else ""
        raise Unreadable(
            f"{name} is not valid {encoding.upper()}{also}: see byte {error.start + 1} of "
            f"{len(content)}; save it as UTF-8"
        ) from error


def _known(declared: str | None) -> list[str]:
    """Return the codec of a name, [] for one that is unknown or no codec of texts."""
    try:
        found = codecs.lookup(declared or "")
    except (LookupError, ValueError):
        return []
    # What says EUC-KR is written in its superset more often than not.
    name = "cp949" if found.name in ("euc_kr", "ks_c_5601-1987") else found.name
    return [name] if found._is_text_encoding else []  # noqa: SLF001 codecs has no public name for it
