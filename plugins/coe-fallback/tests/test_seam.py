"""What is repeated at a seam is said once; nothing else is ever taken out."""

import pytest
from coe_fallback.seam import ENOUGH, WINDOW, Overlap
from hypothesis import given
from hypothesis import strategies as st

SAID = "First we look at the map. Then we walk north along the old river "
REST = "until we see the mill. There we rest."
SAID_KO = "먼저 지도를 봅니다. 그다음 오래된 강을 따라 북쪽으로 "
REST_KO = "방앗간이 보일 때까지 걷습니다."


def join(said: str, continuation: str, size: int = 1) -> str:
    seam = Overlap(said)
    pieces = [continuation[at : at + size] for at in range(0, len(continuation), size)]
    return said + "".join(map(seam.add, pieces)) + seam.rest()


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize("lead", ["", " ", "\n\n"])
@pytest.mark.parametrize(
    ("said", "rest", "again"),
    [
        (SAID, REST, "Then we walk north along the old river "),
        (SAID, REST, SAID),
        (SAID, REST, "north along the old river "),
        (SAID_KO, REST_KO, "그다음 오래된 강을 따라 북쪽으로 "),
        (SAID_KO, REST_KO, SAID_KO),
        ("The answer is ", "42.", "The answer is "),
        ("1. Wash.\n2. Cut the ", "onions.", "2. Cut the "),
        ("1. Wash.\n2. ", "Cut the onions.", "2. "),
        ("The ", "answer is 42.", "The "),
        ("먼저 ", "지도를 봅니다.", "먼저 "),
    ],
)
def test_what_is_repeated_is_said_once(
    said: str, rest: str, again: str, lead: str, size: int
) -> None:
    assert join(said, lead + again + rest, size) == said + rest


@pytest.mark.parametrize(
    ("said", "rest"),
    [
        (SAID, REST),
        ("It is very ", "very good."),
        ("ha ha ha ", "ha ha ha!"),
        ("Row, row, ", "row your boat"),
        ("0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ", "0, 0, 0, 0, 0, 0, 0, 0, 0, 0]"),
        ("    return x\n", "    return x\n"),
        ("정말 정말 ", "정말 좋다."),
        ("It goes 반짝 ", "반짝 작은 별"),
        ("| a | b |\n| --- | --- |\n", "| --- | --- |"),
        ("def f():\n", "    return 1"),
        ("We all live here.\nWe all live here.\n", "We all live here.\n"),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_a_text_may_repeat_itself(said: str, rest: str, size: int) -> None:
    assert join(said, rest, size) == said + rest


def test_blanks_between_two_words_are_said_once() -> None:
    assert join("one ", " two") == "one two"
    assert join("one.\n", "\n\ntwo") == join("one.\n\n", "\n\ntwo") == "one.\n\ntwo"
    assert join("one\n", "  indented") == "one\n  indented"
    assert join("日本", "語") == "日本語"


WORDS = st.lists(st.text(alphabet="abcdefgh가나다라", min_size=1, max_size=8), min_size=1)


@given(WORDS, WORDS, st.integers(1, 9))
def test_nothing_is_lost_but_a_repetition(said: list[str], rest: list[str], size: int) -> None:
    before, after = " ".join(said) + " ", " ".join(rest)
    joined = join(before, after, size).removeprefix(before)
    assert after.endswith(joined)
    assert before.endswith(after[: len(after) - len(joined)])


@given(WORDS, WORDS, st.data())
def test_long_repetitions_go_wherever_they_begin(
    said: list[str], rest: list[str], data: st.DataObject
) -> None:
    words = (f"{number}:{word}" for number, word in enumerate(said * ENOUGH))
    numbered = f"{' '.join(words)} "[-WINDOW + 1 :]
    start = data.draw(st.integers(0, len(numbered) - 3 * ENOUGH))
    after = f"x{' '.join(rest)}"
    assert join(numbered, numbered[start:] + after, 7) == numbered + after


def test_a_continuation_that_only_repeats_is_not_lost() -> None:
    assert join("One two three ", "two") == "One two three two"


def test_a_long_answer_costs_little_at_the_seam() -> None:
    said = "a" * 200_000
    assert join(said, "a" * 3000 + "b", 50).endswith("ab")
