"""Masking: what a person could be known by does not enter a case.

Numbers and addresses are replaced by ones of the same shape, so that a request still reads, and is
routed, as it was. It masks too much rather than too little: any seven digits are a number. That is
a net and no proof: `coe regress review` is for a person to look. A plugin that detects personal
data masks before the record is written, and this sees what it has left.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

import msgspec
from attrs import evolve

from coe_core.codec import decode, encode, structure, unstructure
from coe_core.message import Json, Message

Mask: TypeAlias = Callable[[str], str]

SHORTEST_NUMBER = 10**6
"""In JSON; as in texts, what has seven digits may be somebody's number."""
HANGUL_DIGITS = "공영일이삼사오육륙칠팔구"
SURNAMES = (
    "김이박최정강조윤장임한오서신권황안송전홍유고문양손배백허남심노하곽성차주우구민류나진지엄채원"
)
LONG_SURNAMES = "남궁|황보|제갈|선우|사공|서문|독고"
ROLES = "님|씨|과장|부장|대리|차장|팀장|사원"
TITLES = "고객님|회원님|대표|교수|이사|실장|본부장|원장|변호사|선생님|환자"
"""Before these, and where somebody is named, only three syllables are taken for a name: shorter
words there are mostly none.
"""
NO_NAMES = (
    "고객|선생|사장|손님|주인|강사|여러분|우리|소중|한국|신입|구매|이용자|이메일|지정|임직원|주문자"
)
NAME = rf"(?!{NO_NAMES})(?:(?:{LONG_SURNAMES})[가-힣]{{1,2}}|[{SURNAMES}][가-힣]{{2}})"
PERSONS = "담당자|작성자|신청자|예약자|계약자|환자|보낸 ?사람|받는 ?사람"
PASSWORDS = r"password|passwd|pwd|passcode|api[ _-]?key|secret|token|비밀번호|패스워드|암호"
NUMBER = re.compile(r"\+?\d(?:[ ().\-\u2013]{0,2}\d){6,}")
SPELT_NUMBER = re.compile(rf"[{HANGUL_DIGITS}](?:[ \-]?[{HANGUL_DIGITS}]){{6,}}")

Instead: TypeAlias = str | Callable[[re.Match[str]], str]
PATTERNS: tuple[tuple[re.Pattern[str], Instead], ...] = (
    (re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+@"), ""),
    (re.compile(r"[\w.+%-]+@[\w-]+(\.[\w-]+)+"), "user@example.com"),
    (
        re.compile(
            r"\b(?:sk|pk|rk|gh[opsu]_|github_pat|glpat|hf_|coe_|xox[a-z]|AKIA|AIza|eyJ)"
            r"[\w./+-]{12,}"
        ),
        "SECRET",
    ),
    (
        re.compile(
            rf"((?i:{PASSWORDS})(?:\s?[:=]\s?|[은는이가]\s|\s(?i:is)\s))(?=[!-~]*\d)[!-~]{{4,}}"
        ),
        r"\1SECRET",
    ),
    (re.compile(r"(?<=Bearer )[\w./+=-]{8,}"), "SECRET"),
    (NUMBER, lambda found: re.sub(r"\d", "0", found[0])),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b"), "192.0.2.1"),
    (SPELT_NUMBER, lambda found: re.sub(rf"[{HANGUL_DIGITS}]", "공", found[0])),
    (
        re.compile(
            r"((?:이름|성함|성명|예금주|수신인|받는 ?분)(?:은|이|:)?\s*)[가-힣]{2,4}?"
            r"(?=이고|이에요|예요|입니다|이며|님|씨|[,.\s]|$)"
        ),
        r"\1홍길동",
    ),
    (
        re.compile(
            rf"\b(?!{NO_NAMES})(?:{LONG_SURNAMES}|[{SURNAMES}])[가-힣]{{1,2}}(?=\s?(?:{ROLES}))"
        ),
        "홍길동",
    ),
    (re.compile(rf"\b{NAME}(?=\s?(?:{TITLES}))"), "홍길동"),
    (re.compile(rf"\b{NAME}(?=\s?[(<]\s?(?:\+?00|user@example\.com))"), "홍길동"),
    (
        re.compile(
            rf"((?:저는|나는|제가|전|난|안녕하세요[,.!~]?)\s+){NAME}"
            r"(?=입니다|이?라고|이?라는|이고|이며|이에요|예요|이야|야)"
        ),
        r"\1홍길동",
    ),
    (
        re.compile(rf"((?:{PERSONS})(?:\s?:)?\s+){NAME}(?=에게|한테|의|께|[,.\n]|\s*$)"),
        r"\1홍길동",
    ),
    (
        re.compile(r"((?i:my name is|name:|i am|i'm|this is)\s+)[A-Z][a-z]+(?:\s+[A-Z][a-z]+)+"),
        r"\1Alex Doe",
    ),
    (
        re.compile(
            r"(?:[가-힣]+(?:특별시|광역시|시|도)\s+)?[가-힣]+[시군구]\s+[가-힣\d]+(?:로|길)\s?"
            r"\d+(?:-\d+)?(?:번지|번길)?(?:\s?\d+[층호동])*"
        ),
        "중구 세종대로 1",
    ),
)


def mask(text: str) -> str:
    """Mask a text; masked twice it is the same."""
    for pattern, instead in PATTERNS:
        text = pattern.sub(instead, text)
    return text


def masked_json(value: Json, mask: Mask) -> Json:
    """Mask every text and every long number of a JSON value."""
    match value:
        case str():
            return mask(value)
        case int() if abs(value) >= SHORTEST_NUMBER:
            return 10 ** (len(str(abs(value))) - 1)
        case dict():
            return {name: masked_json(each, mask) for name, each in value.items()}
        case list() | tuple():
            return [masked_json(each, mask) for each in value]
        case _:
            return value


def masked_message(message: Message, mask: Mask) -> Message:
    """Mask a message. The arguments of calls were JSON, mostly, and then are so after it."""
    calls = [
        evolve(c, function=evolve(c.function, arguments=_arguments(c.function.arguments, mask)))
        for c in message.tool_calls
    ]
    told = masked_json(unstructure(evolve(message, tool_calls=())), mask)
    return evolve(structure(told, Message), tool_calls=tuple(calls))


def _arguments(text: str, mask: Mask) -> str:
    try:
        value = decode(text)
    except (msgspec.DecodeError, RecursionError):
        return mask(text)
    return encode(masked_json(value, mask)).decode()
