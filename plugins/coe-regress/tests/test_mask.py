"""What must not be left, and what must be."""

import pytest
from coe_regress.mask import mask, masked_message
from hypothesis import given
from hypothesis import strategies as st

from coe_core.codec import decode
from coe_core.message import FunctionCall, Message, ToolCall


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("전화번호는 010-1234-5678입니다", "전화번호는 000-0000-0000입니다"),
        ("주민번호 900101-1234567 로", "주민번호 000000-0000000 로"),
        ("외국인등록번호 9001015234567", "외국인등록번호 0000000000000"),
        ("공일공 일이삼사 오육칠팔로 전화 주세요", "공공공 공공공공 공공공공로 전화 주세요"),
        ("카드 4111 1111 1111 1111 취소", "카드 0000 0000 0000 0000 취소"),
        ("+82 10-9876-5432", "+00 00-0000-0000"),
        ("call (415) 555-0132", "call (000) 000-0000"),
        ("mail jane.doe@example.co.kr now", "mail user@example.com now"),
        ("제 이름은 김민수이고 회원입니다", "제 이름은 홍길동이고 회원입니다"),
        ("김민수 님께 보내 주세요", "홍길동 님께 보내 주세요"),
        ("My name is Jane Roe, hello", "My name is Alex Doe, hello"),
        ("server 10.20.30.40 is down", "server 192.0.2.1 is down"),
        ("key sk-abcdefghijklmnop1234", "key SECRET"),
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer SECRET"),
        ("https://me:secret@example.org/x", "https://example.org/x"),
        ("서울시 강남구 테헤란로 123 4층으로", "중구 세종대로 1으로"),
    ],
)
def test_masks(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "환불은 얼마나 걸리나요",
        "고객님께 답장을 써 주세요",
        "write 3 functions in 45 lines, version 2.7.1",
        "내일 오후 3시 회의실 B-12",
        "이천이십육년 보고서",
        "What is the capital of France?",
        "I am happy and this is fine",
    ],
)
def test_leaves_what_says_nothing_of_anybody(text: str) -> None:
    assert mask(text) == text


@given(st.text(max_size=60))
def test_masked_twice_is_the_same(text: str) -> None:
    once = mask(text)
    assert mask(once) == once


@given(st.from_regex(r"01[016789]-?[0-9]{3,4}-?[0-9]{4}", fullmatch=True), st.text(max_size=20))
def test_no_mobile_number_is_left(number: str, around: str) -> None:
    assert number not in mask(f"{around} {number} {around}") or not number.strip("0-")


def test_arguments_of_calls_stay_json() -> None:
    arguments = '{"phone": "010-1234-5678", "order": 20240118, "few": 3}'
    call = ToolCall(id="c", function=FunctionCall(name="find", arguments=arguments))
    masked = masked_message(Message(role="assistant", tool_calls=(call,)), mask)
    told = decode(masked.tool_calls[0].function.arguments)
    assert told == {"phone": "000-0000-0000", "order": 10000000, "few": 3}
