"""Sessions that clients name: any printable text, one id however it is written."""

import os
import unicodedata
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coe_core.error import InvalidField
from coe_core.identity import LONGEST_SESSION_NAME, named_session, uuid7

LETTERS = st.characters(categories=["L", "N", "P", "S", "M"])


@given(st.text(LETTERS, min_size=1, max_size=80))
def test_all_ways_to_write_a_name_are_one_session(name: str) -> None:
    ids = {
        named_session(unicodedata.normalize(form, name)) for form in ("NFC", "NFD") if name.strip()
    }
    assert ids == {unicodedata.normalize("NFC", name)}
    (made,) = ids
    assert named_session(made) == made


@pytest.mark.parametrize(
    "name", ["👨\u200d👩\u200d👧", "می\u200cخواهم", "주문 #17", "x" * 256, "각" * 256]
)
def test_a_name_may_be_in_any_script(name: str) -> None:
    assert named_session(name) == name
    decomposed = unicodedata.normalize("NFD", name)
    assert named_session(decomposed) == name


@given(st.text())
def test_whatever_is_taken_can_be_printed_and_is_short(name: str) -> None:
    try:
        made = named_session(name)
    except InvalidField:
        return
    assert 0 < len(made) <= LONGEST_SESSION_NAME
    assert made.replace("\u200c", "").replace("\u200d", "").isprintable()


@pytest.mark.parametrize(
    "name", ["", " ", "a ", "x" * 257, "각" * 257, "a\tb", "\ud800", "\x7f", "\u2028"]
)
def test_what_cannot_be_shown_in_a_line_is_no_name(name: str) -> None:
    with pytest.raises(InvalidField, match="1 to 256 printable"):
        named_session(name)


@given(st.integers(0, (1 << 48) - 1))
def test_an_id_is_a_uuid_of_version_7_that_tells_its_time(at_ms: int) -> None:
    made = uuid.UUID(uuid7(at_ms))
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == at_ms
    assert str(made) == str(made).lower()


def test_no_two_ids_are_the_same_whichever_thread_or_process_makes_them() -> None:
    uuid7()  # There is something in the pool, which a child must not use again.
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writer, " ".join(uuid7(0) for _ in range(20)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: uuid7(0), range(20_000)))
    made += os.read(reader, 4096).decode().split()
    assert len(set(made)) == len(made) == 20_020
