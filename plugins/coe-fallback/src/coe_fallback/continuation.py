"""How a model is asked to go on with an answer that another one has begun."""

from __future__ import annotations

import re
from collections.abc import Iterable

from coe_core.message import Message, assistant, user
from coe_core.request import ChatRequest

GO_ON = {
    "en": (
        "Your answer was cut off by a technical fault, exactly where it ends above. Write only "
        "what is missing, beginning with the next word, in the same language, tone and format. "
        "Repeat nothing, and do not mention the interruption."
    ),
    "ko": (
        "위의 답변은 기술적인 문제로 바로 그 자리에서 끊겼습니다. 바로 다음 단어부터 시작해서 "
        "남은 부분만 같은 언어와 말투, 형식으로 이어서 쓰세요. 이미 쓴 내용을 되풀이하지 말고, "
        "끊겼다는 언급도 하지 마세요."
    ),
}
HANGUL = re.compile(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]")
LATIN = re.compile(r"[A-Za-z]")
LATIN_PER_HANGUL = 3
"""A Hangul syllable says about as much as so many Latin letters."""
BYTES_PER_TOKEN = 5
"""More than a token mostly has, so that the rest is rather too long than cut short."""


def language(texts: Iterable[str]) -> str:
    """Tell whether texts are Korean or, as whatever else, English."""
    text = "".join(texts)
    korean = len(HANGUL.findall(text)) * LATIN_PER_HANGUL
    return "ko" if korean > len(LATIN.findall(text)) else "en"


def continued(messages: tuple[Message, ...], said: str) -> tuple[Message, ...]:
    """Write the prompt of a continuation."""
    if not said.strip():
        return messages
    asked = [message.text for message in messages if message.role == "user"]
    # Some models take no blanks at the end of what they are to have said.
    return (*messages, assistant(said.rstrip()), user(GO_ON[language([*asked[-1:], said])]))


def left_tokens(request: ChatRequest, said: str) -> int | None:
    """Return how long the rest may be, None where the client set no limit."""
    limit = request.output_limit_tokens
    return None if limit is None else max(1, limit - len(said.encode()) // BYTES_PER_TOKEN)


def is_continuable(request: ChatRequest) -> bool:
    """Whether another model can go on with an answer: it is one text. What is JSON, has several
    choices, sound or logarithms of probabilities can only be made anew.
    """
    form = (request.response_format or {}).get("type", "text")
    asked = request.extra.get("modalities") or ["text"]
    return (
        (request.n or 1) == 1
        and form == "text"
        and asked == ["text"]
        and not request.extra.get("logprobs")
    )
