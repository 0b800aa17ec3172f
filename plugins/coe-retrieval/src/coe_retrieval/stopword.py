"""What stands in any text, in English and in Korean, and says nothing of what is meant."""

from __future__ import annotations

import re


def _words(text: str) -> list[str]:
    return re.findall(r"\S+", text)


ENDINGS = sorted(
    _words("""
    은 는 이 가 을 를 의 에 와 과 로 도 만 께 랑 나 으로 에서 에게 한테 께서 까지 부터 마다 처럼
    보다 이나 이랑 하고 에는 에도 로는 라도 조차 마저 밖에 으로는 에서는 에서도 에게는 으로도
    이라도 까지는 부터는 만큼 대로 이라는 라는 이란 란 인가 인가요 인지 입니다 이다 이며 이고 예요
    이에요 하다 하는 하면 하려면 하여 해서 해야 했을 합니다 합니까 하나요 할 한 됩니다 되나요 되는
    되면 된 될 습니다 습니까 나요 할까요 해요 돼요 될까요 인데 인데요 이라면 라면 이든 든지
    """),
    key=len,
    reverse=True,
)
"""Korean particles and endings of verbs, the longest first."""

STOP_WORDS = frozenset(
    _words("""
    a about am an and any are as at be been being but by can could d did do does doing done for
    from had has have having he her hers him his how i if in into is it its just ll m may me might
    mine my no not of on or our out re s shall she should so some t than that the their them then
    there these they this those to up us ve was we were what when where which who whom whose why
    will with would you your
    것 수 등 및 그 이 저 때 중 더 좀 제 내 네 무엇 무슨 뭐 뭔가 어떤 어떻게 어느 언제 어디 어디서
    누가 누구 왜 몇 얼마 얼마나 있 있나 있는 있습니까 있습니다 있어 있을 없 없는 없나 우리 저희
    알려줘 알려주세요 궁금 궁금합니다
    """)
)
