from itertools import pairwise

import pytest
from coe_models_openai.sse import EventParser, EventTooLong
from hypothesis import given
from hypothesis import strategies as st

LINE_ENDS = st.sampled_from(["\n", "\r", "\r\n"])
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"))
LINES = st.one_of(
    TEXTS,
    TEXTS.map("data:{}".format),
    TEXTS.map("data: {}".format),
    TEXTS.map(":{}".format),
    TEXTS.map("event: {}".format),
    st.sampled_from(["", "data", "data:", "id: 7", "retry: 3000", "datum: 1"]),
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(st.tuples(LINES, LINE_ENDS)))
    start = draw(st.sampled_from(["", "\ufeff"]))
    return (start + "".join(line + end for line, end in lines)).encode()


def parse(*pieces: bytes) -> list[bytes]:
    parser = EventParser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.end()


def cut(text: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(places), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


@given(streams(), st.data())
def test_the_places_where_a_stream_is_cut_change_nothing(text: bytes, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, len(text))))
    assert parse(*cut(text, places)) == parse(text)


@given(streams())
def test_a_stream_may_come_byte_by_byte(text: bytes) -> None:
    assert parse(*(text[place : place + 1] for place in range(len(text)))) == parse(text)


@given(st.lists(st.tuples(st.lists(TEXTS, min_size=1), LINE_ENDS)), st.data())
def test_what_is_written_is_read(events: list[tuple[list[str], str]], data: st.DataObject) -> None:
    text = "".join(
        "".join(f"data: {line}{end}" for line in lines) + end for lines, end in events
    ).encode()
    places = data.draw(st.lists(st.integers(0, len(text))))
    assert parse(*cut(text, places)) == ["\n".join(lines).encode() for lines, _ in events]


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert parse("\ufeffdata: a\n\n\ufeffdata: b\n\n".encode()) == [b"a"]


def test_what_is_no_data_is_passed_over() -> None:
    assert parse(b": keep-alive\n\nevent: x\nid: 1\ndata:a\nretry: 1\n\n\n\n") == [b"a"]


def test_only_one_space_belongs_to_the_colon() -> None:
    assert parse(b"data:  a\n\ndata:b\n\n") == [b" a", b"b"]


def test_events_come_as_soon_as_they_are_whole() -> None:
    parser = EventParser()
    assert parser.feed(b"data: a\n") == []
    assert parser.feed(b"\n") == [b"a"]
    assert parser.feed(b"data: b\r\n\r") == [b"b"]
    assert parser.feed(b"\ndata: c\n\n") == [b"c"]


def test_a_stream_may_forget_its_last_empty_line() -> None:
    assert parse(b"data: a\n\ndata: [DONE]") == [b"a", b"[DONE]"]
    assert parse(b"data: a\n\ndata: b\n") == [b"a", b"b"]


@pytest.mark.parametrize("pieces", [[b"data: ", *[b"x" * 10] * 11], [b"data: xxxxxxxxx\n"] * 12])
def test_an_event_without_end_is_refused(pieces: list[bytes]) -> None:
    parser = EventParser(limit_bytes=100)
    with pytest.raises(EventTooLong):
        list(map(parser.feed, pieces))


def test_the_limit_is_for_each_event_alone() -> None:
    parser = EventParser(limit_bytes=100)
    for _ in range(100):
        assert parser.feed(b"data: x\n\n") == [b"x"]
