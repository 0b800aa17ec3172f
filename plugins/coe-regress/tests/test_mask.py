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
        ("저는 김민수라고 합니다", "저는 홍길동라고 합니다"),
        ("안녕하세요, 최민호입니다. 환불 부탁드려요", "안녕하세요, 홍길동입니다. 환불 부탁드려요"),
        ("이영희 고객님 환불 처리해 주세요", "홍길동 고객님 환불 처리해 주세요"),
        ("박영희 대표님께 메일 써 줘", "홍길동 대표님께 메일 써 줘"),
        ("남궁민수 씨에게 전달", "홍길동 씨에게 전달"),
        ("담당자: 강하늘", "담당자: 홍길동"),
        ("담당자 김하늘에게 전달", "담당자 홍길동에게 전달"),
        ("김철수(010-1234-5678)", "홍길동(000-0000-0000)"),
        ("김민수 <kim@example.org>", "홍길동 <user@example.com>"),
        ("비밀번호는 qwer1234! 입니다", "비밀번호는 SECRET 입니다"),
        ("password: hunter2, please", "password: SECRET please"),
        ("my api_key=ab12cd34ef56", "my api_key=SECRET"),
        ("key coe_0123456789abcdef_secretsecret", "key SECRET"),
        ("key github_pat_11ABCDEFG0abcdef", "key SECRET"),
        ("key glpat-abcdefghij1234567890", "key SECRET"),
        ("key AIzaSyA-1234567890abcdefghij", "key SECRET"),
        ("key hf_abcdefghijklmnopqrstuvwx", "key SECRET"),
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
        "저는 고객입니다",
        "저는 한국인입니다",
        "우리 고객님이 많아요",
        "담당자 이메일 알려 줘",
        "담당자 지정해 주세요",
        "비밀번호는 어떻게 바꾸나요",
        "my password is wrong",
        "안녕하세요, 반갑습니다",
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
