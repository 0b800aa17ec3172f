"""The console's panel: where a request would go, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from coe_core.access import Principal
from coe_core.error import CoeError
from coe_core.panel import Choice, Field, Link, Note, PanelItem, Stat, Table, Text
from coe_core.service import Deployment
from coe_core.settings import Settings
from coe_routing.explanation import Explanation, Question, asked_for, explain

TITLE = {"en": "Routes explained", "ko": "경로 설명"}
ASK = {"en": "A request, as a user would write it", "ko": "사용자가 쓸 법한 요청"}
OPERATORS = {
    "en": "Operators may ask where a request would go.",
    "ko": "요청이 어디로 갈지는 운영자만 물어볼 수 있습니다.",
}
GROUP = {"en": "As a request of", "ko": "요청하는 그룹"}
TARGET = {"en": "It goes to", "ko": "보내는 곳"}
ROUTE = {"en": "Route", "ko": "경로"}
DECIDED_BY = {"en": "Decided by", "ko": "결정한 라우터"}
CONFIDENCE = {"en": "Confidence", "ko": "확신도"}
TOOLS = {"en": "Tools", "ko": "도구"}
LAYERS = {"en": "Knowledge", "ko": "지식"}
ROUTER = {"en": "Router", "ko": "라우터"}
SAYS = {"en": "Says", "ko": "판단"}
REASON = {"en": "Reason", "ko": "이유"}
CANDIDATE = {"en": "Candidate", "ko": "후보"}
SCORE = {"en": "Score", "ko": "점수"}
DECIDES, ABSTAINS = {"en": "decides", "ko": "결정"}, {"en": "abstains", "ko": "보류"}
ASKED = {"en": "Every router, in the order they are asked", "ko": "묻는 순서대로 본 모든 라우터"}
WEIGHED = {"en": "What was weighed", "ko": "견주어 본 것"}


@frozen
class RoutesPanel:
    """A `Panel`: `text` of the query is the request. It is asked about as the visitor's own, or
    for an admin as one of `group`.
    """

    deployment: Deployment
    name: str = "routes"
    title: Mapping[str, str] = TITLE

    async def show(self, principal: Principal, query: Mapping[str, str]) -> Sequence[PanelItem]:
        if not principal.may("operator"):
            return [Note(text=OPERATORS)]
        text = query.get("text", "").strip()
        field = Field(label=ASK, name="text", value=text)
        if not text:
            return [field]
        question = Question(text=text, group=query.get("group"))
        try:
            asked = asked_for(question, principal)
            async with self.deployment.lease() as application:
                explained = await explain(application, question, asked)
        except CoeError as error:
            return [field, Note(text=error.message)]
        groups = _groups(application.settings, principal, asked)
        choices = [_choice(groups, text, asked.group)] if len(groups) > 1 else []
        return [field, *choices, *_items(explained)]


def _groups(settings: Settings, principal: Principal, asked: Principal) -> list[str]:
    """Name the groups whose requests the visitor may ask about, as far as settings name them."""
    others = {*settings.groups, asked.group} if principal.may("admin") else set()
    return sorted({principal.group, *others})


def _choice(groups: list[str], text: str, chosen: str) -> Choice:
    links = tuple(Link(text=group, query={"text": text, "group": group}) for group in groups)
    return Choice(label=GROUP, options=links, chosen=groups.index(chosen))


def _items(explained: Explanation) -> list[PanelItem]:
    items: list[PanelItem] = [
        Stat(label=TARGET, value=explained.target),
        Stat(label=DECIDED_BY, value=explained.router),
        Stat(label=CONFIDENCE, value=f"{explained.confidence:.2f}"),
    ]
    if explained.route:
        items.insert(1, Stat(label=ROUTE, value=explained.route))
    for label, names in (TOOLS, explained.tools), (LAYERS, explained.layers):
        if names is not None:
            items.append(Stat(label=label, value=", ".join(names) or "-"))
    items += [Note(text=explained.reason), _steps(explained)]
    return [*items, weighed] if (weighed := _candidates(explained)).rows else items


def _steps(explained: Explanation) -> Table:
    rows: tuple[tuple[Text, ...], ...] = tuple(
        (step.router, DECIDES if step.decides else ABSTAINS, step.target or "-", step.reason)
        for step in explained.steps
    )
    return Table(columns=(ROUTER, SAYS, TARGET, REASON), rows=rows, caption=ASKED)


def _candidates(explained: Explanation) -> Table:
    rows = tuple(
        (step.router, candidate.target, f"{candidate.score:.2f}", candidate.reason or "-")
        for step in explained.steps
        for candidate in step.candidates
    )
    return Table(columns=(ROUTER, CANDIDATE, SCORE, REASON), rows=rows, caption=WEIGHED)
