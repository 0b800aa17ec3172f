"""Citations: what counts as one, and where it stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coe_core.citation import citations, passage_path, used
from coe_core.testing.strategies import passages, texts
from coe_core.turn import Passage

SHOWN = st.lists(passages(), max_size=4, unique_by=lambda passage: passage.id)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("Fifteen days [1].", [1]),
        ("연차는 15일입니다[2]. 반차는 반나절입니다【1】.", [2, 1]),
        ("Both [1, 2] and [2;1], and [ 1 ].", [1, 2, 2, 1, 1]),
        ("Nothing was shown as [0], [3] or [999].", []),
        ("A [1](https://example.com) is a link, `a[1]` is code.", []),
        ("```py\nrows[1]\n```\nbut this [2]", [2]),
        ("```\nnever ends [1]", []),
        ("[one], [-1], [1.5], [١]", []),
    ],
)
def test_what_is_a_citation(text: str, numbers: list[int]) -> None:
    shown = [Passage(id=str(n), text="", layer="global", source="s") for n in (1, 2)]
    assert [citation.number for citation in citations(text, shown)] == numbers


@given(
    shown=SHOWN,
    pieces=st.lists(st.one_of(texts(), st.integers(-1, 9).map("[{}]".format)), max_size=6),
)
def test_citations_stand_where_they_say(shown: list[Passage], pieces: list[str]) -> None:
    text = " ".join(pieces)
    found = citations(text, shown)
    for citation in found:
        assert citation.passage == shown[citation.number - 1]
        assert text[citation.start] in "[【"
        assert text[citation.end - 1] in "]】"
        assert str(citation.number) in text[citation.start : citation.end]
    assert [c.start for c in found] == sorted(c.start for c in found)
    assert set(used(shown, [text])) == {citation.passage.id for citation in found}


def test_what_is_not_of_the_store_cannot_be_opened() -> None:
    told = Passage(id="a/b", text="", layer="global", source="s")
    assert passage_path(told) is None
    stored = Passage(id="a/b", text="", layer="global", source="s", kind="document")
    assert passage_path(stored) == "/coe/v1/knowledge/passages/a%2Fb"
