"""Alerts fire once, recover, wait for a sink that fails, and keep silent where they have to."""

import asyncio
import json
import smtplib
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
from attrs import evolve
from coe_kpi.alert_command import alerts_command
from coe_kpi.delivery import ChannelSink, LogChannel, Mail, Slack, Webhook
from coe_kpi.filed import BOARD, FiledRule, read_board
from coe_kpi.round import SILENCES, AlertRound
from coe_kpi.rule import Condition, Rule, load
from coe_kpi.settings import Settings
from coe_kpi.standing import Board, Silence, Standing
from hypothesis import given
from hypothesis import strategies as st

from coe_core.cli.program import run
from coe_core.codec import structure, unstructure
from coe_core.contract import Alert, Sample
from coe_core.error import SettingsError
from coe_core.settings import Secret
from coe_core.testing import (
    AlertRuleContract,
    AlertSinkContract,
    CliCommandContract,
    JobContract,
    ManualClock,
    MemoryStateStore,
    StandingDeployment,
    scripted_application,
)
from coe_core.testing.clock import EPOCH

RULE = Rule(
    name="queue-long",
    playbook="queue",
    text="too many wait",
    any=((Condition(metric="coe_queue", above=2.0),),),
    per="worker",
    for_s=60.0,
)
ALERT = Alert(
    key="queue-long/a", rule="queue-long", severity="warning", text="x", playbook="q.md", at=EPOCH
)


def here(**parts: Any) -> StandingDeployment:
    """Deploy one application with these parts."""
    return StandingDeployment(evolve(scripted_application(), **parts))


class Measuring:
    name = "measuring"

    def __init__(self, **values: float) -> None:
        self.values = values

    async def measure(self) -> list[Sample]:
        return [
            Sample(metric="coe_queue", value=value, at=EPOCH, labels={"worker": worker})
            for worker, value in self.values.items()
        ]


class Noting:
    """A sink that may be out of order."""

    def __init__(self, name: str = "noting") -> None:
        self.name = name
        self.got: list[tuple[str, bool]] = []
        self.is_broken = False

    async def deliver(self, alert: Alert) -> None:
        if self.is_broken:
            raise ConnectionError
        self.got.append((alert.key, alert.resolved))


class Others:
    """A plugin's rule."""

    name = "others"

    def __init__(self) -> None:
        self.alerts: list[Alert] | None = []

    async def evaluate(self, now: datetime) -> list[Alert]:
        if self.alerts is None:
            raise LookupError
        return self.alerts


class Scene:
    def __init__(self, *rules: Rule) -> None:
        self.monitor, self.sink, self.others = Measuring(), Noting(), Others()
        self.clock, self.store = ManualClock(), MemoryStateStore()
        filed = [FiledRule(rule.name, self.store) for rule in rules]
        parts = {
            "monitors": (self.monitor,),
            "alert_sinks": (self.sink,),
            "alert_rules": (self.others, *filed),
        }
        every = timedelta(seconds=15)
        self.round = AlertRound(here(**parts), self.clock, self.store, rules, every)

    async def after(self, seconds: float, **values: float) -> list[str]:
        await self.clock.advance(seconds)
        self.monitor.values = values
        report: Any = await self.round.run()
        return list(report["firing"])


class TestRound(JobContract):
    def make(self) -> AlertRound:
        return Scene(RULE).round


class TestFiledRule(AlertRuleContract):
    async def make(self) -> FiledRule:
        store = MemoryStateStore()
        standing = Standing(alert=ALERT, since=EPOCH, fires=True)
        await store.put(BOARD, unstructure(Board(standings={ALERT.key: standing})))
        return FiledRule("queue-long", store)


class TestSink(AlertSinkContract):
    def make(self) -> ChannelSink:
        return ChannelSink("log", LogChannel())


class TestCommand(CliCommandContract):
    def make(self) -> click.Command:
        return alerts_command(Settings())


async def test_an_alert_fires_when_it_has_held_long_enough_once_and_recovers() -> None:
    scene = Scene(RULE)
    assert await scene.after(0, a=3, b=1) == []
    assert await scene.after(59, a=9) == []
    assert await scene.after(1, a=5) == ["queue-long/a"]
    assert await scene.after(15, a=5) == ["queue-long/a"]
    assert scene.sink.got == [("queue-long/a", False)]
    assert await scene.after(15, a=2) == []
    assert await scene.after(15) == []
    assert scene.sink.got == [("queue-long/a", False), ("queue-long/a", True)]
    assert (await scene.store.get(BOARD)).value == unstructure(Board())


async def test_what_holds_again_begins_anew() -> None:
    scene = Scene(RULE)
    await scene.after(0, a=3)
    await scene.after(59, a=1)
    assert await scene.after(59, a=3) == []
    assert await scene.after(60, a=3) == ["queue-long/a"]
    await scene.after(1)
    await scene.after(1, a=3)
    assert await scene.after(60, a=3) == ["queue-long/a"]
    assert [over for _, over in scene.sink.got] == [False, True, False]


async def test_a_sink_that_fails_is_asked_again_and_no_other_waits() -> None:
    scene = Scene(evolve(RULE, for_s=0.0))
    broken = Noting("broken")
    broken.is_broken = True
    here: Any = scene.round._deployment
    here.application = evolve(here.application, alert_sinks=(scene.sink, broken))
    await scene.after(0, a=3)
    await scene.after(15, a=3)
    assert (scene.sink.got, broken.got) == ([("queue-long/a", False)], [])
    broken.is_broken = False
    await scene.after(15, a=3)
    await scene.after(15, a=3)
    assert broken.got == [("queue-long/a", False)]
    broken.is_broken = True
    await scene.after(15)
    broken.is_broken = False
    await scene.after(15)
    await scene.after(15)
    assert scene.sink.got == broken.got == [("queue-long/a", False), ("queue-long/a", True)]


async def test_nobody_is_told_of_what_is_silenced_until_the_silence_ends() -> None:
    scene = Scene(evolve(RULE, for_s=0.0))
    quiet = Silence(pattern="queue-*", until=EPOCH + timedelta(seconds=60), actor="me")
    await scene.store.put(f"{SILENCES}queue-*", unstructure(quiet))
    assert await scene.after(0, a=3) == ["queue-long/a"]
    assert scene.sink.got == []
    await scene.after(30)
    assert scene.sink.got == [], "who was told nothing is not told that it is over"
    await scene.after(15, a=3)
    await scene.after(20, a=3)
    assert scene.sink.got == [("queue-long/a", False)]


async def test_plugins_rules_are_delivered_too_and_one_that_fails_ends_nothing() -> None:
    scene = Scene(RULE)
    theirs = evolve(ALERT, key="theirs", rule="others")
    scene.others.alerts = [theirs]
    assert await scene.after(0) == ["theirs"]
    scene.others.alerts = None
    assert await scene.after(15) == ["theirs"]
    scene.others.alerts = []
    assert await scene.after(15) == []
    assert scene.sink.got == [("theirs", False), ("theirs", True)]


async def test_another_process_goes_on_where_one_has_died() -> None:
    scene = Scene(evolve(RULE, for_s=0.0))
    await scene.after(0, a=3)
    after = Scene(evolve(RULE, for_s=0.0))
    after.round = evolve(after.round, store=scene.store)
    assert await after.after(15, a=3) == ["queue-long/a"]
    assert after.sink.got == []
    assert [a.key for a in (await read_board(scene.store)).firing] == ["queue-long/a"]


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 90)), max_size=20))
def test_the_board_survives_the_store_and_tells_by_turns(steps: list[tuple[bool, int]]) -> None:
    board, now, told = Board(), EPOCH, []
    for holds, seconds in steps:
        now += timedelta(seconds=seconds)
        held = {RULE.name: {"a": 3.0}} if holds else {}
        board = board.advance(now, [RULE], held, {})
        for sink, alert in board.due(["s"], [], now):
            told.append(alert.resolved)
            board = board.delivered(sink, alert)
        assert structure(unstructure(board), Board) == board
    assert told == [bool(n % 2) for n in range(len(told))]


def test_the_built_in_rules_can_be_read() -> None:
    names = [rule.name for rule in load(None)]
    assert "routing-burn" in names
    assert len(names) == len(set(names))
    assert all(rule.text_ko for rule in load(None))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[rule]\n", "cannot be read"),
        ('[[rule]]\nname = "x"\n', "rule[0]"),
        ('[[rule]]\nname = "a"\nplaybook = "a"\ntext = "a"\nany = [[]]\n', "always holds"),
        (
            '[[rule]]\nname = "a"\nplaybook = "a"\ntext = "a"\nany = [[{ metric = "a" }]]\n',
            "either `above` or `below`",
        ),
        (
            (
                '[[rule]]\nname = "a"\nplaybook = "a"\ntext = "a"\nseverty = "info"\n'
                'any = [[{ metric = "a", above = 1 }]]\n'
            ),
            "rule[0] there is no key 'severty'; did you mean 'severity'?",
        ),
        (
            '[[rule]]\nname = "a"\nplaybook = "a"\ntext = "a"\n'
            'any = [[{ metric = "a", above = 1 }]]\n' * 2,
            "two rules are called 'a'",
        ),
    ],
)
def test_a_file_that_means_nothing_is_refused(tmp_path: Any, text: str, says: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as refused:
        load(str(path))
    assert says in refused.value.message
    assert str(path) in refused.value.message


@contextmanager
def receiving(status: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """A webhook's far side."""
    got: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append(json.loads(body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", got
        server.shutdown()
        thread.join()


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Any:
    def keep(url: str) -> Secret:
        monkeypatch.setenv("COE_TEST_HOOK", url)
        return Secret("env:COE_TEST_HOOK")

    return keep


async def test_a_webhook_gets_the_alert_and_slack_a_line(address: Any) -> None:
    with receiving() as (url, got):
        await ChannelSink("webhook", Webhook(address(url))).deliver(ALERT)
        await ChannelSink("slack", Slack(address(url))).deliver(evolve(ALERT, resolved=True))
    assert got[0]["key"] == "queue-long/a"
    assert got[0]["playbook"] == "q.md"
    assert got[1]["text"].startswith("[CoE] over: queue-long/a\n")


async def test_a_webhook_that_refuses_is_a_failure(address: Any) -> None:
    with receiving(500) as (url, got):
        sink = ChannelSink("webhook", Webhook(address(url)))
        for _ in range(2):
            with pytest.raises(OSError, match="500"):
                await sink.deliver(ALERT)
        assert len(got) == 2, "it was not taken for delivered"
    with pytest.raises(ValueError, match="http"):
        await ChannelSink("webhook", Webhook(address("file:///etc/passwd"))).deliver(ALERT)


class SmtpHandler(socketserver.StreamRequestHandler):
    """As much of RFC 5321 as a message takes."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        is_data = False
        for line in self.rfile:
            self.server.lines.append(line.decode().strip())  # type: ignore[attr-defined]
            if is_data:
                is_data = line != b".\r\n"
                self.wfile.write(b"" if is_data else b"250 ok\r\n")
            elif line.upper().startswith(b"DATA"):
                is_data = True
                self.wfile.write(b"354 go on\r\n")
            elif line.upper().startswith(b"QUIT"):
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 ok\r\n")


async def test_mail_reaches_its_recipients() -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), SmtpHandler) as server:
        server.lines = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        mail = Mail(
            host="127.0.0.1",
            port=server.server_address[1],
            sender="coe@example.com",
            recipients=("a@example.com", "b@example.com"),
            starttls=False,
        )
        await ChannelSink("mail", mail).deliver(ALERT)
        server.shutdown()
        await asyncio.to_thread(thread.join)
        lines = server.lines  # type: ignore[attr-defined]
    assert "Subject: [CoE] warning: queue-long/a" in lines
    assert {line.lower() for line in lines if line.lower().startswith("rcpt to")} == {
        "rcpt to:<a@example.com>",
        "rcpt to:<b@example.com>",
    }
    assert smtplib.SMTP_PORT == 25


def test_a_silence_names_the_alerts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["alerts", "silence", " "]) == 2
    assert "name the alerts" in capsys.readouterr().err
