"""What the semantic router decides, learns, forgets, and asks of the embedder."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from attrs import evolve
from coe_routing.clarification import ClarifyAgent, titles
from coe_routing.embedding import BATCH, Embedders, clipped
from coe_routing.explicit import ExplicitRouter
from coe_routing.learnt import PER_ROUTE
from coe_routing.semantic import SemanticRouter

from coe_core.access import GroupName, Principal
from coe_core.application import Application
from coe_core.identity import SessionId, TurnId, uuid7
from coe_core.message import assistant, user
from coe_core.parameter import Parameters
from coe_core.record import Feedback
from coe_core.request import ChatRequest
from coe_core.service import Clock, Embedder, Journal
from coe_core.settings import GroupTable
from coe_core.testing import make_interaction, make_turn
from coe_core.testing.turn import empty_application
from coe_core.turn import Session, Turn

from .conftest import ROUTES, WordProvider, semantic_router

MakeRouter = Callable[..., SemanticRouter]


@pytest.fixture
def asked(application: Application) -> Callable[..., Turn]:
    def ask(text: str, group: str = "default", **fields: object) -> Turn:
        principal = Principal(group=GroupName(group))
        return make_turn(text, application=application, principal=principal, **fields)

    return ask


Ask = Callable[..., Turn]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("I want my money back please", "refunds"),
        ("환불해 주세요 빨리", "refunds"),
        ("write a python function that sorts", "code"),
        ("SQL 좀 짜줘", "code"),
        ("book a flight to Jeju", "travel"),
    ],
)
async def test_a_request_goes_where_its_like_go(
    make_router: MakeRouter, asked: Ask, text: str, name: str
) -> None:
    route = await make_router(min_confidence=0.1).route(asked(text))
    assert route is not None
    assert route.name == name
    assert route.candidates[0].reason == f"route {name!r}"
    assert route.reason == f"it is like the examples of {name!r}"


async def test_one_decision_has_target_tools_and_layers(
    make_router: MakeRouter, asked: Ask
) -> None:
    router = make_router(min_confidence=0.1)
    code = await router.route(asked("why does this loop hang"))
    travel = await router.route(asked("find me a hotel"))
    assert code is not None
    assert travel is not None
    assert (code.model, code.tools, code.layers) == ("scripted", ("calculator",), None)
    assert (travel.agent, travel.tools, travel.layers) == ("clarify", None, ("global",))


async def test_it_abstains_when_it_is_not_sure(make_router: MakeRouter, asked: Ask) -> None:
    router = make_router(min_confidence=0.5)
    turn = asked("xylophone quartz")
    assert await router.route(turn) is None
    assert "0.5 is asked" in await router.abstention(turn)


async def test_a_turn_s_own_parameter_says_how_sure_it_must_be(
    make_router: MakeRouter, asked: Ask
) -> None:
    router = make_router(min_confidence=0.999)
    text = "I want my money back"
    assert await router.route(asked(text)) is None
    assert await router.route(asked(text, params=Parameters({"min_confidence": 0.1}))) is not None


async def test_a_group_is_offered_its_own_routes_alone(make_router: MakeRouter, asked: Ask) -> None:
    router = make_router(min_confidence=0.0)
    theirs = await router.route(asked("book a flight to Busan", "travellers"))
    others = await router.route(asked("book a flight to Busan", "accounting"))
    assert theirs is not None
    assert others is not None
    assert (theirs.name, others.name == "travel") == ("travel", False)


async def test_without_text_or_examples_or_embedder_it_abstains(
    make_router: MakeRouter, asked: Ask
) -> None:
    assert await make_router().route(asked(" \n")) is None
    assert await make_router({}).route(asked("hello")) is None
    assert await make_router().route(make_turn("hello", application=empty_application())) is None
    assert "no route has an example" in await make_router({}).abstention(asked("hello"))


async def test_a_group_that_may_not_name_the_embedders_is_understood_by_them(
    application: Application, make_router: MakeRouter
) -> None:
    """The deployment has chosen them, the second like the first."""
    groups = {"default": GroupTable(models=("scripted",))}
    turn = make_turn(
        "I want my money back",
        application=evolve(application, settings=evolve(application.settings, groups=groups)),
    )
    embedders = Embedders(application.need(Embedder), second="scripted-embed")
    route = await make_router(min_confidence=0.1, embedders=embedders).route(turn)
    assert route is not None
    assert route.name == "refunds"


async def test_examples_are_embedded_once_for_all_starts(
    make_router: MakeRouter, asked: Ask, provider: WordProvider
) -> None:
    examples = sum(len(t.examples) + bool(t.description) for t in ROUTES.values())
    router = make_router()
    await asyncio.gather(*(router.route(asked(f"question {n}")) for n in range(4)))
    assert provider.embedded == examples + 4
    await make_router().route(asked("another"))
    assert provider.embedded == examples + 5
    one_more = evolve(ROUTES["code"], examples=(*ROUTES["code"].examples, "compile it"))
    await router.shelf.vectors(["compile it"], router.embedders, asked("x"))
    await make_router(ROUTES | {"code": one_more}, shelf=router.shelf).route(asked("another"))
    assert provider.embedded == examples + 7


async def test_a_turn_that_may_not_wait_leaves_the_next_less_to_embed(
    application: Application, tmp_path: Path, asked: Ask, provider: WordProvider
) -> None:
    many = tuple(f"request number {n}" for n in range(3 * BATCH))
    router = semantic_router(
        application, tmp_path, {"code": evolve(ROUTES["code"], examples=many, description="")}
    )
    provider.stalls_after = 2
    hurried = asyncio.create_task(router.route(asked("number 7")))
    await provider.stalled.wait()
    hurried.cancel()
    await asyncio.wait([hurried])
    provider.stalls_after = None
    assert await router.read(asked("number 7")) is not None
    assert provider.embedded == 3 * BATCH + 1


async def test_a_damaged_file_on_the_shelf_is_made_anew(
    make_router: MakeRouter, asked: Ask, tmp_path: Path
) -> None:
    router = make_router(min_confidence=0.1)
    first = await router.route(asked("I want my money back"))
    (file,) = (tmp_path / "routing").iterdir()
    for damage in b"", b"no zip", file.read_bytes()[:500]:
        file.write_bytes(damage)
        assert await make_router(min_confidence=0.1).route(asked("I want my money back")) == first


async def test_the_order_of_the_settings_changes_no_decision(
    make_router: MakeRouter, asked: Ask
) -> None:
    turned = {
        name: evolve(table, examples=table.examples[::-1])
        for name, table in reversed(ROUTES.items())
    }
    for text in "money for the order", "코드 고쳐줘", "a hotel in Busan":
        one = await make_router(min_confidence=0.0).route(asked(text))
        other = await make_router(turned, min_confidence=0.0).route(asked(text))
        assert one is not None
        assert other is not None
        assert (one.name, one.confidence) == (other.name, pytest.approx(other.confidence, abs=1e-4))


async def said(
    application: Application, turn: Turn, route: str, *, age: timedelta = timedelta()
) -> Feedback:
    at = application.need(Clock).now() - age
    feedback = Feedback(
        id=uuid7(), turn_id=turn.id, group=turn.group, route=route, actor="kim", at=at
    )
    interaction = make_interaction(
        id=turn.id,
        group=turn.group,
        session=turn.session.id,
        started_at=at,
        new_messages=turn.request.messages,
    )
    await application.need(Journal).append(interaction)
    await application.need(Journal).append(feedback)
    return feedback


async def test_it_learns_what_the_group_said_and_no_other_group(
    make_router: MakeRouter, asked: Ask, application: Application
) -> None:
    router = make_router(min_confidence=0.45)
    text = "zanzibar quokka marmalade"
    assert await router.route(asked(text)) is None
    feedback = await said(application, asked(text), "code")
    assert router.learnt is not None
    await router.learnt.receive(feedback)
    route = await router.route(asked(text))
    assert route is not None
    assert route.name == "code"
    assert await router.route(asked(text, "travellers")) is None


async def test_the_last_word_on_a_turn_counts(
    make_router: MakeRouter, asked: Ask, application: Application
) -> None:
    router, turn = make_router(min_confidence=0.1), asked("zanzibar quokka marmalade")
    await said(application, turn, "code", age=timedelta(hours=2))
    await said(application, turn, "refunds", age=timedelta(hours=1))
    route = await router.route(turn)
    assert route is not None
    assert route.name == "refunds"


async def test_a_target_means_its_route_when_it_has_only_one(make_router: MakeRouter) -> None:
    learnt = make_router().learnt
    assert learnt is not None
    assert learnt.meant("clarify") == "travel"
    assert learnt.meant("scripted") is None
    assert learnt.meant("nobody") is None


async def test_what_is_unclear_is_asked_back_and_the_answer_taken(
    make_router: MakeRouter, asked: Ask
) -> None:
    router = make_router(unsure="clarify", min_confidence=0.3)
    turn = asked("refund the order, write a python function")
    unclear = await make_router(unsure="clarify", min_confidence=0.9).read(turn)
    assert unclear is not None
    level = (unclear.verdict.confidence + unclear.verdict.scope) / 2
    router = make_router(unsure="clarify", min_confidence=level)
    route = await router.route(turn)
    assert route is not None
    assert route.agent == "clarify"
    agent = ClarifyAgent(router, titles(ROUTES))
    question = "".join([chunk.content async for chunk in agent.work(turn)])
    first = question.splitlines()[1].removeprefix("1. ")
    reply = (user(turn.request.text), assistant(question), user("1"))
    request = ChatRequest(model="auto", messages=reply)
    session = Session(id=SessionId(uuid7()), history=reply[:2], new_messages=reply[2:])
    answered = evolve(asked(""), request=request, session=session, id=TurnId(uuid7()))
    chosen = await ExplicitRouter(router.routes, titles(ROUTES)).route(answered)
    assert chosen is not None
    assert titles(ROUTES)[chosen.name] == first
    words = evolve(request, messages=(*reply[:2], user("the python one")))
    in_words = evolve(
        answered, request=words, session=evolve(session, new_messages=words.messages[2:])
    )
    assert await ExplicitRouter(router.routes, titles(ROUTES)).route(in_words) is None
    reading = await router.read(in_words)
    assert reading is not None
    assert reading.best == "code"


async def test_a_korean_is_asked_in_korean(make_router: MakeRouter, asked: Ask) -> None:
    agent = ClarifyAgent(make_router(), titles(ROUTES))
    chunks = [chunk async for chunk in agent.work(asked("이거 어떻게 해요?"))]
    assert chunks[0].content.startswith("어떤 일을 도와드릴까요?")
    assert chunks[-1].finish_reason == "stop"


def test_a_long_text_keeps_its_beginning_and_its_end() -> None:
    text = "a" * 3000 + "b" * 3000
    assert len(clipped(text)) < 2100
    assert clipped(text)[0] + clipped(text)[-1] == "ab"
    assert clipped("short") == "short"


def test_numpy_waits_for_the_first_decision_by_meaning() -> None:
    look = "import sys, coe_routing.plugin; print('numpy' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


async def test_the_newest_word_is_kept_when_there_are_too_many(
    make_router: MakeRouter, asked: Ask, application: Application
) -> None:
    learnt = make_router().learnt
    assert learnt is not None
    turns = [asked(f"question {n}") for n in range(PER_ROUTE + 1)]
    for age, turn in zip(range(len(turns), 0, -1), turns, strict=True):
        await said(application, turn, "code", age=timedelta(hours=age))
    await said(application, turns[0], "code")
    kept = {example.text for example in await learnt.examples("default")}
    assert kept == {f"question {n}" for n in range(PER_ROUTE + 1)} - {"question 1"}
