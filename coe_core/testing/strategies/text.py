"""Text as people write it, in every script that breaks careless code."""

from __future__ import annotations

import unicodedata
from functools import cache

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

EMOJI = ("😀", "👩‍👩‍👧‍👦", "🇰🇷", "👍🏽", "❤️", "🏴‍☠️", "1️⃣")
RIGHT_TO_LEFT = ("שלום עולם", "مَرْحَبًا", "سعر ١٢٣", "\u202eabc\u202c", "\u2067עב\u2069 mixed")
MARKUP = ("{name}", "{{ turn }}", "%s %d", "<b>bold</b>", "${HOME}", "`code`", "a\\nb", '"quoted"')
UNSEEN = ("", " ", "\t\r\n", "\u200b", "\ufeff", "\x00", "\u2028", "\x1b[31m")
SENTENCES = (
    "Route this to the invoices team, please.",
    "오늘 서울 날씨 어때?",
    "환불은 얼마나 걸리나요? refund 3일?",
    "What is 12 * (3 + 4)?",
)

STATEMENTS = (
    "Refunds are paid within three working days.",
    "환불은 영업일 기준 사흘 안에 처리됩니다.",
    "The canteen opens at half past eleven.",
    "구내식당은 열한 시 삼십 분에 문을 엽니다.",
    "Laptops are replaced every fourth year.",
    "출장비는 영수증을 붙여 다음 달 오 일까지 청구합니다.",
    "Visitors sign the book at the north gate.",
    "서버실 열쇠는 보안팀이 보관합니다.",
)
"""Of different things, so that what finds one of them has no reason to find another."""

NAMES = ("a", "default", "research-team", "gpt-4o-mini", "v2_beta")


@cache
def korean() -> SearchStrategy[str]:
    """Hangul syllables, composed."""
    syllables = st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3)
    return st.text(st.one_of(syllables, st.just(" ")), min_size=1, max_size=6)


@cache
def decomposed() -> SearchStrategy[str]:
    """Hangul as single letters, as macOS writes it: equal to the eye, other code points."""
    return korean().map(lambda text: unicodedata.normalize("NFD", text))


@cache
def emoji() -> SearchStrategy[str]:
    """Emoji that are several code points each."""
    return st.lists(st.sampled_from(EMOJI), min_size=1, max_size=3).map("".join)


@cache
def texts() -> SearchStrategy[str]:
    """Any text that JSON can carry: Korean, decomposed Hangul, emoji, right-to-left, markup,
    controls, nothing at all.
    """
    pieces = st.one_of(
        st.sampled_from(SENTENCES),
        korean(),
        decomposed(),
        emoji(),
        st.sampled_from(RIGHT_TO_LEFT + MARKUP + UNSEEN),
        st.text(max_size=8),
    )
    return st.one_of(pieces, st.builds("{} {}".format, pieces, pieces))


@cache
def sentences() -> SearchStrategy[str]:
    """Things that somebody may know, in Korean and English."""
    return st.sampled_from(STATEMENTS)


@cache
def names() -> SearchStrategy[str]:
    """Names of groups, models and tools."""
    return st.sampled_from(NAMES) | st.integers(0, 9999).map("name_{}".format)
