"""The parts that tests are built from: clock, provider, turn, deployment, fixtures, laws."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

import coe_core.testing
from coe_core import Application, Router, Turn
from coe_core.error import BudgetExceeded, UpstreamCut
from coe_core.request import ChatRequest
from coe_core.scaffold.kinds.router import ExamplePlugin, ExampleRouter
from coe_core.testing import (
    Contract,
    Fault,
    ManualClock,
    ModelProviderContract,
    RouterContract,
    ScriptedProvider,
    deployment,
    law,
    scripted_application,
)

pytest_plugins = ["pytester"]


class TestManualClock:
    async def test_wakes_sleepers_in_order(self, clock: ManualClock) -> None:
        woken: list[int] = []

        async def sleep(seconds: int) -> None:
            await clock.sleep(seconds)
            woken.append(seconds)

        async with asyncio.TaskGroup() as group:
            for seconds in (30, 10, 20, 60):
                group.create_task(sleep(seconds))
            await clock.advance(5)
            assert woken == []
            await clock.advance(25)
            assert woken == [10, 20, 30]
            await clock.advance(30)

    async def test_wakes_who_sleeps_again(self, clock: ManualClock) -> None:
        rounds: list[float] = []

        async def beat() -> None:
            while True:
                await clock.sleep(10)
                rounds.append(clock.monotonic_s())

        task = asyncio.create_task(beat())
        before = clock.now()
        await clock.advance(35)
        task.cancel()
        assert rounds == [10, 20, 30]
        assert clock.now() - before == timedelta(seconds=35)


class TestScriptedProvider:
    async def test_follows_its_schedule(self, make_turn: Callable[..., Turn]) -> None:
        fault = Fault(error=UpstreamCut("cut"), after_chunks=2)
        provider = ScriptedProvider(["one two three"], [fault, None])
        (chat, _) = provider.models()
        request = ChatRequest(model="auto", messages=make_turn().request.messages, stream=True)
        said: list[str] = []

        async def listen() -> None:
            async for chunk in provider.complete(chat, request, group="default"):
                said.append(chunk.content)  # noqa: PERF401 it breaks off

        with pytest.raises(UpstreamCut):
            await listen()
        assert said == ["one", " two"]
        await listen()
        assert "".join(said) == "one two" + "one two three"
        assert provider.requests == [request, request]


class TestMakeTurn:
    async def test_pays_from_its_own_budget(self, make_turn: Callable[..., Turn]) -> None:
        turn = make_turn("안녕", limit_usd=Decimal("0.01"))
        assert turn.request.text == "안녕"
        await turn.budget.reserve(Decimal("0.01"))
        with pytest.raises(BudgetExceeded):
            await turn.budget.reserve(Decimal("0.01"))

    def test_runs_in_a_scripted_application(self) -> None:
        application = scripted_application(ScriptedProvider(name="other"))
        assert list(application.models) == ["other", "other-embed"]


Compose = Callable[..., AbstractAsyncContextManager[Application]]


class TestDeployment:
    async def test_composes_what_it_is_given_and_nothing_else(self, application: Compose) -> None:
        settings = '[plugins.keyword.rules]\nrefund = "large"\n'
        async with application(settings, keyword=ExamplePlugin) as app:
            assert [plugin.name for plugin in app.plugins] == ["keyword"]
            assert app.routers == (ExampleRouter({"refund": "large"}),)

    async def test_removes_its_folder(self) -> None:
        async with deployment() as host:
            folder = host.data_dir
            assert folder.is_dir()
        assert not folder.exists()


class TestLaw:
    def test_asks_for_make(self) -> None:
        class TestMine(RouterContract):
            pass

        with pytest.raises(NotImplementedError, match=r"write TestMine.make\(self\)"):
            TestMine().test_decides_or_declines()

    def test_opens_and_closes_around_each_example(self) -> None:
        seen: list[str] = []

        class Opening(ExampleRouter):
            async def open(self) -> None:
                seen.append("open")

            async def close(self) -> None:
                seen.append("close")

        class Mine(Contract[Router]):
            def make(self) -> Router:
                return Opening()

            @law()
            async def test_it(self, router: Router) -> None:
                seen.append(router.name)

        Mine().test_it()
        assert seen == ["open", "example", "close"]

    def test_cleans_up_after_a_failure(self) -> None:
        seen: list[str] = []

        class Mine(Contract[str]):
            async def make(self) -> Any:
                try:
                    yield "component"
                finally:
                    seen.append("cleaned")

            @law()
            async def test_it(self, component: str) -> None:
                """The law."""
                raise LookupError(component)

        with pytest.raises(LookupError, match="component") as failed:
            Mine().test_it()
        assert seen == ["cleaned"]
        assert failed.value.__notes__ == ["The law: The law."]

    def test_asks_for_an_async_open(self) -> None:
        class Mine(RouterContract):
            def make(self) -> Any:
                return type("Plain", (ExampleRouter,), {"open": lambda self: None})()

        with pytest.raises(AssertionError, match="async def open"):
            Mine().test_fulfils_the_contract()


def test_public_names_are_there() -> None:
    for name in coe_core.testing.__all__:
        assert getattr(coe_core.testing, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'RouterContrat'"):
        coe_core.testing.RouterContrat  # noqa: B018


def test_fixtures_bring_in_nothing_heavy() -> None:
    heavy = "{'aiohttp', 'hypothesis', 'jsonschema_rs', 'litellm', 'numpy', 'sqlalchemy'}"
    code = f"import sys, coe_core.testing.fixtures; print(*(set(sys.modules) & {heavy}))"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.split() == []


def test_suites_are_collected_and_explain_themselves(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import pytest
        from coe_core.scaffold.kinds.router import ExampleRouter
        from coe_core.testing import ModelProviderContract, RouterContract

        class TestMine(RouterContract):
            examples = 2

            @pytest.fixture(autouse=True)
            def rules(self):
                self.given = {"refund": "large"}

            def make(self):
                return ExampleRouter(self.given, name=" mine ")
    """)
    scope = "asyncio_default_fixture_loop_scope=function"
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-o", scope)
    result.assert_outcomes(passed=7, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*test_has_a_lasting_name*",
            "*name is ' mine '; take a word or two, no blanks around",
            "*The law: A component has a name, the same in every instance made alike*",
        ]
    )
    assert ModelProviderContract.__doc__
