"""`coe routes`: what routes there are, where a request would go and why, how good they are."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import frozen

from coe_core.access import DEFAULT_GROUP, GroupName, Principal
from coe_core.application import Application
from coe_core.cli import Frame, echo_json, pass_frame
from coe_core.cli import table as table_of
from coe_core.error import NotFound, Unavailable

if TYPE_CHECKING:
    from coe_routing.evaluation import Report, Score
    from coe_routing.explanation import Explanation
    from coe_routing.semantic import SemanticRouter
    from coe_routing.settings import RouteTable

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
group_option = click.option(
    "--group", default=DEFAULT_GROUP, show_default=True, help="Whose requests they are."
)
SHOWN_CONFUSIONS = 10


@frozen(kw_only=True)
class Row:
    """A line of `coe routes list`."""

    route: str
    targets: tuple[str, ...]
    missing: tuple[str, ...]
    """Those that are no model and no agent."""
    groups: tuple[str, ...] | None
    examples: int
    description: str

    def cells(self) -> tuple[str, ...]:
        """Return what is printed."""
        marked = (f"{t} (missing)" if t in self.missing else t for t in self.targets)
        groups = "all" if self.groups is None else ", ".join(self.groups)
        return (self.route, ", ".join(marked), groups, str(self.examples), self.description)


@click.group("routes", help="List routes; see where a request would go and why; score a file.")
def command() -> None:
    """Show and test where requests go."""


@command.command("list")
@as_json
@pass_frame
def list_(frame: Frame, *, as_json: bool) -> None:
    """List the routes and whether their targets are there."""
    application = frame.application
    router = _semantic(application)
    there = {*application.models, *application.agents}
    rows = [
        Row(
            route=name,
            targets=targets,
            missing=tuple(target for target in targets if target not in there),
            groups=table.groups,
            examples=len(table.examples),
            description=table.description,
        )
        for name, table in router.tables.items()
        for targets in [_targets(table)]
    ]
    if as_json:
        echo_json(rows)
    elif rows:
        headings = ("ROUTE", "TARGET", "GROUPS", "EXAMPLES", "DESCRIPTION")
        click.echo(table_of(headings, [row.cells() for row in rows]))
    else:
        click.echo("There are no routes: write [plugins.routing.routes.NAME] tables.", err=True)


def _targets(table: RouteTable) -> tuple[str, ...]:
    return tuple(filter(None, (table.agent, table.model, *table.models)))


@command.command("explain")
@click.argument("text")
@group_option
@as_json
@pass_frame
def explain_(frame: Frame, *, text: str, group: str, as_json: bool) -> None:
    """Say where a request with this TEXT would go, and why. No model answers."""
    from coe_routing.explanation import Question, explain

    async def run() -> Explanation:
        async with frame.host() as host:
            principal = Principal(group=GroupName(group), user=frame.actor)
            return await explain(host.application, Question(text=text), principal)

    explanation = asyncio.run(run())
    if as_json:
        echo_json(explanation)
    else:
        _print_explanation(explanation)


@command.command("test")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@group_option
@as_json
@pass_frame
def test(frame: Frame, *, file: Path, group: str, as_json: bool) -> None:
    """Score the semantic router on a labelled FILE: JSON lines of text, route (null: none), and,
    if you like, language.
    """
    scored = asyncio.run(_test(frame, file, group))
    if as_json:
        echo_json(scored)
    else:
        _print_report(scored)


async def _test(frame: Frame, file: Path, group: str) -> Report:
    from coe_routing.evaluation import judge, read_labelled, report
    from coe_routing.explanation import Question, asking

    async with frame.host() as host:
        router = _semantic(host.application)
        labelled = read_labelled(file, router.routes)
        principal = Principal(group=GroupName(group), user=frame.actor)
        question = Question(text=f"coe routes test {file.name}")
        async with asking(host.application, question, principal) as turn:
            readings = await router.read_all([each.text for each in labelled], turn)
            threshold = router.threshold(turn)
    if not readings:
        raise Unavailable(
            "the requests could not be read: no route has examples, none is for the group, or "
            "nothing embeds them; see `coe routes list` and `coe doctor`"
        )
    pairs = zip(labelled, readings, strict=True)
    return report([judge(each, reading, threshold) for each, reading in pairs])


def _semantic(application: Application) -> SemanticRouter:
    from coe_routing.semantic import SemanticRouter

    for router in application.routers:
        if isinstance(router, SemanticRouter):
            return router
    raise NotFound(
        "the semantic router is switched off: "
        "`coe plugins enable routing --component routers.semantic`"
    )


def _print_explanation(explanation: Explanation) -> None:
    named = f" by the route {explanation.route!r}" if explanation.route else ""
    click.echo(f"It goes to {explanation.target!r}{named}: {explanation.router} decides.")
    click.echo(f"  {explanation.reason} (confidence {explanation.confidence:.2f})")
    if explanation.tools is not None:
        click.echo(f"  tools: {', '.join(explanation.tools) or 'none'}")
    if explanation.layers is not None:
        click.echo(f"  knowledge: {', '.join(explanation.layers) or 'none'}")
    click.echo()
    rows = [
        (step.router, "decides" if step.decides else "abstains", step.target, step.reason)
        for step in explanation.steps
    ]
    click.echo(table_of(("ROUTER", "", "TARGET", "REASON"), rows))
    candidates = [
        (step.router, candidate.target, f"{candidate.score:.2f}", candidate.reason)
        for step in explanation.steps
        for candidate in step.candidates
    ]
    if candidates:
        click.echo()
        click.echo(table_of(("ROUTER", "CANDIDATE", "SCORE", "REASON"), candidates))


def _print_report(scored: Report) -> None:
    rows = [("in scope", *_cells(scored.in_scope))]
    rows += [(f"language {name}", *_cells(score)) for name, score in scored.by_language.items()]
    rows += [(name, *_cells(score)) for name, score in scored.by_route.items()]
    click.echo(table_of(("", "REQUESTS", "ACCURACY", "DECIDED", "OF THESE RIGHT"), rows))
    if scored.false_accepts is not None:
        click.echo(f"\nOut of scope: {scored.out_of_scope}, accepted {scored.false_accepts:.1%}")
    click.echo(f"Calibration error: {scored.calibration_error:.3f}")
    bins = [
        (f"{b.low:.1f}-{b.high:.1f}", str(b.requests), f"{b.confidence:.2f}", f"{b.accuracy:.2f}")
        for b in scored.calibration
    ]
    click.echo(table_of(("CONFIDENCE", "REQUESTS", "MEAN", "ACCURACY"), bins))
    if scored.confusion:
        click.echo()
        wrong = [
            (c.expected or "out of scope", c.got, str(c.requests))
            for c in scored.confusion[:SHOWN_CONFUSIONS]
        ]
        click.echo(table_of(("EXPECTED", "DECIDED", "REQUESTS"), wrong))


def _cells(score: Score) -> tuple[str, str, str, str]:
    right = "" if score.accuracy_decided is None else f"{score.accuracy_decided:.3f}"
    return (str(score.requests), f"{score.accuracy:.3f}", f"{score.decided:.3f}", right)
