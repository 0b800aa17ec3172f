"""Asking back: a short question when two routes are as likely, and what the user says to it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from attrs import frozen

from coe_core.model import Chunk
from coe_core.turn import Turn
from coe_routing.language import Language, language
from coe_routing.settings import RouteTable

AGENT = "clarify"
MOST = 3
"""How many routes a question offers."""
QUESTIONS: Mapping[Language, str] = {
    "ko": "어떤 일을 도와드릴까요? 번호로 답해 주세요.",
    "en": "Which of these do you mean? Answer with the number.",
}
CHOICE = re.compile(r"^(\d)\. (.+)$", re.MULTILINE)


def titles(routes: Mapping[str, RouteTable]) -> dict[str, str]:
    """Return what a user is shown of each route: its description, on one line, or its name."""
    return {name: " ".join((r.description or name).split()) for name, r in routes.items()}


class Likely(Protocol):
    """What knows the likeliest routes of a turn."""

    async def likeliest(self, turn: Turn) -> list[str]:
        """Name them, the likeliest first."""
        ...


@frozen
class ClarifyAgent:
    """The target of a request that may mean several routes: asks which."""

    router: Likely
    titles: Mapping[str, str]
    name: str = AGENT
    description: str = "Asks the user what is meant."

    async def work(self, turn: Turn) -> AsyncIterator[Chunk]:
        question = QUESTIONS["ko" if language(turn.request.text) == "ko" else "en"]
        names = await self.router.likeliest(turn)
        lines = [f"{n}. {self.titles[name]}" for n, name in enumerate(names[:MOST], start=1)]
        yield Chunk(content="\n".join([question, *lines]))
        yield Chunk(finish_reason="stop")


def asked_before(turn: Turn) -> tuple[str, str] | None:
    """Return the question that the newest message answers, and the request it was asked about."""
    said = [m for m in (*turn.session.history, *turn.session.new_messages) if m.role != "system"]
    if len(said) < 3:  # noqa: PLR2004 a request, a question, an answer
        return None
    request, question, answer = said[-3:]
    roles = (request.role, question.role, answer.role)
    is_ours = question.text.startswith(tuple(QUESTIONS.values()))
    if roles != ("user", "assistant", "user") or not is_ours:
        return None
    return question.text, request.text


def chosen(turn: Turn, titles: Mapping[str, str]) -> str | None:
    """Return the route that the user has chosen by its number, None when that did not happen."""
    before = asked_before(turn)
    number = re.match(r"\W*(\d)(?!\d)", turn.request.text)
    if before is None or number is None:
        return None
    title = dict(CHOICE.findall(before[0])).get(number[1])
    return next((name for name, own in titles.items() if own == title), None)
