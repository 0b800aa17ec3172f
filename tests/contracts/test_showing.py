"""Suites of what shows and tells: sinks, alert rules, commands, routes, panels, whole plugins."""

import itertools
from datetime import UTC, datetime
from typing import Any

import click
from attrs import evolve, frozen

from coe_core import Alert, Principal, Sample, hookimpl
from coe_core.cli import LazyCommand
from coe_core.http import HttpResponse, HttpRoute, json_response
from coe_core.panel import (
    Action,
    Choice,
    Field,
    Link,
    Note,
    Series,
    Stat,
    Story,
    Table,
    Toggle,
)
from coe_core.scaffold.kinds.alert_rule import ExampleAlertRule
from coe_core.scaffold.kinds.alert_sink import ExampleAlertSink
from coe_core.scaffold.kinds.cli_command import example
from coe_core.scaffold.kinds.event_sink import ExampleEventSink
from coe_core.scaffold.kinds.http_route import ROUTE
from coe_core.scaffold.kinds.metric_sink import ExampleMetricSink
from coe_core.scaffold.kinds.monitor import ExampleMonitor
from coe_core.scaffold.kinds.panel import ExamplePanel
from coe_core.scaffold.kinds.router import ExamplePlugin, ExampleRouter
from coe_core.testing import (
    AlertRuleContract,
    AlertSinkContract,
    CliCommandContract,
    EventSinkContract,
    HttpRouteContract,
    MetricSinkContract,
    MonitorContract,
    PanelContract,
    PluginContract,
)

from .seeding import clings, gives, proving

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def test_event_sink() -> None:
    async def knows_turns_only(_: Any, record: Any) -> None:
        assert hasattr(record, "answer"), "no turn"

    async def meddle(_: Any, record: Any) -> None:
        getattr(record, "params", {})["seen"] = True

    async def once(self: Any, record: Any) -> None:
        SEEN.setdefault(id(self), [])
        assert record not in SEEN[id(self)], "came twice"
        SEEN[id(self)].append(record)

    with proving(EventSinkContract, ExampleEventSink) as bug:
        bug("test_takes_every_kind_of_record", "no turn", receive=knows_turns_only)
        bug("test_takes_every_kind_of_record", "use attrs.evolve", receive=meddle)
        bug("test_takes_a_record_twice", "came twice", receive=once)
        bug("test_lets_itself_be_cancelled", "swallow it", receive=clings())


SEEN: dict[int, list[Any]] = {}


def test_monitor() -> None:
    sample = Sample(metric="coe_example_turns", value=1.0, at=NOW)
    falling = itertools.count(0, -1)

    async def falls(_: Any) -> list[Sample]:
        return [evolve(sample, metric="coe_example_turns_total", value=float(next(falling)))]

    def one(**fields: Any) -> Any:
        return gives([evolve(sample, **fields)])

    with proving(MonitorContract, ExampleMonitor) as bug:
        scraped = "test_measures_what_can_be_scraped"
        bug(scraped, "return coe_core.Sample", measure=gives([1.0]))
        bug(scraped, "lower-case words", measure=one(metric="Queue depth"))
        bug(scraped, "'Queue' is no lower-case name", measure=one(labels={"Queue": "a"}))
        bug(scraped, "is NaN", measure=one(value=float("nan")))
        bug(scraped, "without a zone", measure=one(at=NOW.replace(tzinfo=None)))
        once = "test_measures_each_series_once"
        bug(once, "comes twice", measure=gives([sample, evolve(sample, value=2.0)]))
        many = [evolve(sample, labels={"turn": str(number)}) for number in range(501)]
        bug(once, "closed sets", measure=gives(many))
        bug("test_counts_upwards", "a gauge has another name", measure=falls)
        bug("test_lets_itself_be_cancelled", "swallow it", measure=clings([]))


def test_metric_sink() -> None:
    async def meddle(_: Any, samples: Any) -> None:
        samples.clear()

    async def insists(_: Any, samples: Any) -> None:
        assert samples, "no samples"

    with proving(MetricSinkContract, ExampleMetricSink) as bug:
        bug("test_takes_any_samples", "use attrs.evolve", record=meddle)
        bug("test_takes_any_samples", "no samples", record=insists)
        bug("test_lets_itself_be_cancelled", "swallow it", record=clings())


class Mailing(ExampleAlertSink):
    """Sends every alert again."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []

    async def deliver(self, alert: Alert) -> None:
        self.sent.append(alert.key)


def test_alert_sink() -> None:
    def delivered(_: Any, sink: Any) -> Any:
        return getattr(sink, "sent", sink.states)

    with proving(AlertSinkContract, ExampleAlertSink, delivered=delivered) as bug:
        bug("test_delivers_once", "remember key and `resolved`", Mailing)
        bug("test_lets_itself_be_cancelled", "swallow it", deliver=clings())


def test_alert_rule() -> None:
    firing = Alert(
        key="disk", rule="example", severity="info", text="x", playbook="docs/x.md", at=NOW
    )
    numbers = itertools.count()

    async def renames(_: Any, now: datetime) -> list[Alert]:
        return [evolve(firing, key=str(next(numbers)))]

    everything = {*dir(AlertRuleContract)}
    with proving(AlertRuleContract, lambda: ExampleAlertRule(limit_mb=10**9), exempt=everything):
        pass
    with proving(AlertRuleContract, ExampleAlertRule) as bug:
        first = "test_fires_alerts_that_can_be_acted_on"
        bug(first, "return coe_core.Alert", evaluate=gives(["disk full"]))
        bug(first, "rule is 'other'", evaluate=gives([evolve(firing, rule="other")]))
        bug(first, "no text", evaluate=gives([evolve(firing, text="")]))
        bug(first, "what to do", evaluate=gives([evolve(firing, playbook="wiki")]))
        naive = evolve(firing, at=NOW.replace(tzinfo=None))
        bug(first, "without a zone", evaluate=gives([naive]))
        bug(first, "one key", evaluate=gives([firing, firing]))
        bug("test_keeps_its_keys", "keys were", evaluate=renames)
        bug("test_lets_itself_be_cancelled", "swallow it", evaluate=clings([]))


def test_cli_command() -> None:
    def command(name: str = "greet", text: str | None = "Greet.", **options: Any) -> click.Command:
        return click.Command(name, help=text, **options)

    class Unprintable(click.Command):
        def format_help(self, *_: Any) -> None:
            raise LookupError("no settings")

    unhelpful = [click.Option(["--name"])]
    lenient = {"ignore_unknown_options": True, "allow_extra_args": True}
    with proving(CliCommandContract, lambda: example) as bug:
        bug("test_is_a_command_with_a_name", "@click.command()", lambda: print)
        bug("test_is_a_command_with_a_name", "lower case", lambda: command("Greet_all"))
        group = click.Group("all", [command("x y")], help="All.")
        bug("test_is_a_command_with_a_name", "'coe all x y'", lambda: group)
        bug("test_explains_itself", "write a docstring", lambda: command(text=None))
        bug("test_explains_itself", "--name` has no help", lambda: command(params=unhelpful))
        bug("test_shows_its_help", "ended with 1", lambda: Unprintable("greet", help="x"))
        bug(
            "test_refuses_what_it_does_not_know",
            "ended with 0, not 2",
            lambda: command(context_settings=lenient, callback=lambda: None),
        )


def test_http_route() -> None:
    def route(**fields: Any) -> Any:
        return lambda: evolve(ROUTE, **fields)

    def handler(answer: Any) -> Any:
        return route(handler=lambda_(answer))

    def lambda_(answer: Any) -> Any:
        async def handle(request: Any) -> Any:
            return answer(request)

        return handle

    def valid(self: Any) -> Any:
        return self.asked(ROUTE)

    async def texts() -> Any:
        yield b"a"

    with proving(HttpRouteContract, lambda: ROUTE, valid=valid) as bug:
        mounted = "test_can_be_mounted"
        bug(mounted, "is no coe_core.HttpRoute", lambda: "GET /")
        bug(mounted, "there are", route(method="FETCH"))
        bug(mounted, "begins with /", route(path="models"))
        bug(mounted, "one whole segment", route(path="/models/a{name}"))
        bug(mounted, "one name twice", route(path="/{a}/{a}"))
        bug(mounted, "write `async def`", route(handler=lambda request: None))
        documented = "test_can_be_documented"
        bug(documented, "/openapi.json shows it", route(summary=""))
        bug(documented, "there are viewer", route(role="boss"))
        bug(documented, "no attrs class", route(response=dict))
        answers = "test_answers_anything"
        bug(answers, "read it with request.json", handler(lambda request: request.body[5]))
        bug(answers, "return json_response", handler(lambda _: {"ok": True}))
        bug(answers, "status is 99", handler(lambda _: HttpResponse(status=99)))
        bug(answers, "async iterator", handler(lambda _: HttpResponse(body="text")))
        kept = "test_keeps_its_response_type"
        bug(kept, "is no Models", handler(lambda _: json_response({"other": 1})))
        bug(kept, "got 404", handler(lambda _: json_response({}, status=404)))
        bug("test_lets_itself_be_cancelled", "swallow it", route(handler=clinging))
        streaming = handler(lambda _: HttpResponse(body=texts(), content_type="text/plain"))
        assert isinstance(streaming(), HttpRoute)


async def clinging(request: Any) -> HttpResponse:
    response: HttpResponse = await clings(HttpResponse())(request)
    return response


def test_panel() -> None:
    async def everything_to_all(_: Any, principal: Principal, query: Any) -> list[Any]:
        return [Action(label="Stop", path="/stop", role="admin")]

    async def meddle(_: Any, principal: Principal, query: Any) -> list[Any]:
        query["seen"] = "yes"
        return []

    late = datetime(2026, 11, 2, tzinfo=UTC)
    with proving(PanelContract, ExamplePanel) as bug:
        bug("test_has_a_title_in_every_language", "lacks ko", title={"en": "Models"})
        shows = "test_shows_well_formed_items"
        bug(shows, "plain text, not HTML", show=gives([Stat(label="<b>a</b>", value="1")]))
        bug(shows, "plain text, not HTML", show=gives([Story(steps=(("a", "<br>"),))]))
        bug(shows, "one cell for each", show=gives([Table(columns=("a",), rows=(("1", "2"),))]))
        unordered = Series(label="a", unit="s", points=((late, 1.0), (NOW, 2.0)))
        bug(shows, "order of time", show=gives([unordered]))
        naive = Series(label="a", unit="s", points=((NOW.replace(tzinfo=None), 1.0),))
        bug(shows, "without a zone", show=gives([naive]))
        bug(shows, "coe_core.panel has", show=gives(["<table>"]))
        english = Note(text={"en": "Nothing yet"})
        bug(shows, "lacks ko", show=gives([english]))
        nowhere = Table(columns=("a",), rows=((Link(text="b"),),))
        bug(shows, "leads to 0 places", show=gives([nowhere]))
        bug(shows, "has no option 1", show=gives([Choice(label="a", options=(), chosen=1)]))
        bug(shows, "no name for the query", show=gives([Field(label="a", name="")]))
        secret = Toggle(label="a", key="keys/1", on=True, role="operator")
        bug(shows, "see coe_core.toggle", show=gives([secret]))
        bug(shows, "begins with /", show=gives([Action(label="a", path="b", role="operator")]))
        bug(shows, "use attrs.evolve", show=meddle)
        bug("test_offers_only_what_one_may", "principal.may(role)", show=everything_to_all)


@frozen
class Misspelt:
    @hookimpl
    def coe_router(self, ctx: Any) -> list[Any]:
        return [ExampleRouter()]


@frozen
class Empty:
    @hookimpl
    def coe_routers(self, ctx: Any) -> list[Any]:
        return []


@frozen
class Undocumented:
    limit: int = 1


@frozen
class Hasty:
    settings: Undocumented

    @hookimpl
    def coe_routers(self, ctx: Any) -> list[Any]:
        return [ExampleRouter()]


@frozen
class Old(ExamplePlugin):
    api_version = 0


@frozen
class Heavy(ExamplePlugin):
    """Says that it lives in a module that is slow to import."""

    __module__ = "numpy"


@frozen
class Stale:
    """Lists what its command no longer is."""

    @hookimpl
    def coe_cli_commands(self, ctx: Any) -> list[click.Command]:
        return [LazyCommand("greet", "Greet one.", lambda: click.Command("greet", help="Greet."))]


def test_plugin() -> None:
    with proving(PluginContract, lambda: ExamplePlugin) as bug:
        composes = "test_composes_without_problems"
        bug(composes, "did you mean 'coe_routers'", lambda: Misspelt)
        bug(composes, "implement a hook", lambda: Empty)
        settings = '[plugins.tested]\nrulse = "a"\n'
        bug(composes, "rules", lambda: ExamplePlugin, settings=settings)
        bug("test_explains_its_settings", "limit has no docstring", lambda: Hasty)
        bug("test_explains_itself", "api_version is 0", lambda: Old)
        bug("test_is_light_to_import", "imports numpy", lambda: Heavy)
        listed = "test_lists_its_commands_as_they_are"
        bug(listed, "lists 'Greet one.' of what is 'Greet.'", lambda: Stale)
