"""`coe regress`: make cases of failures, look after them, run them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import evolve

from coe_core.access import DEFAULT_GROUP
from coe_core.cli import Frame, echo_json, pass_frame
from coe_core.cli import table as table_of
from coe_core.error import Conflict, InvalidField
from coe_core.identity import TurnId
from coe_regress.settings import Settings

if TYPE_CHECKING:
    from coe_core.application import Application
    from coe_core.model import Model, Vectors
    from coe_core.request import EmbeddingRequest
    from coe_regress.capture import Captured, Capturer
    from coe_regress.case import Case, State
    from coe_regress.folder import Folder
    from coe_regress.live import Difference, Rates
    from coe_regress.result import Result
    from coe_regress.stage import Stage

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
ids = click.argument("ids", nargs=-1, metavar="[CASE]...")
some_ids = click.argument("ids", nargs=-1, required=True, metavar="CASE...")
SPAN = re.compile(r"(\d+)([mhd])")
UNITS = {"m": "minutes", "h": "hours", "d": "days"}
STATES = ("candidate", "reviewed", "active", "retired")
MARKS = {"passed": "ok", "known": "ok", "retired": "-"}


def regress_command(settings: Settings) -> click.Group:
    """Make the command for the plugin's settings."""

    @click.group("regress", help="Make tests of failures, look after them, run them.")
    @click.option(
        "--cases",
        type=click.Path(file_okay=False, path_type=Path),
        help="The folder of the cases, instead of the one in the settings.",
    )
    @click.pass_context
    def group(context: click.Context, *, cases: Path | None) -> None:
        from coe_regress.folder import Folder

        context.meta[FOLDER] = Folder(cases or Path(settings.cases))
        context.meta[SETTINGS] = settings

    for each in (capture, list_, show, review, activate, retire, run, record, init_ci):
        group.add_command(each)
    return group


FOLDER, SETTINGS = "coe_regress.folder", "coe_regress.settings"


def _folder() -> Folder:
    folder: Folder = click.get_current_context().meta[FOLDER]
    return folder


@click.command("capture")
@click.argument("turn", required=False)
@click.option("--since", metavar="TIME", help="All failures since 24h, 7d, or a time with zone.")
@click.option("--group", help="Whose turns; with TURN `default`, with --since all, if left out.")
@as_json
@pass_frame
def capture(
    frame: Frame, *, turn: str | None, since: str | None, group: str | None, as_json: bool
) -> None:
    """Make cases of a TURN that failed, or of all that failed since a time."""
    if (turn is None) == (since is None):
        raise InvalidField("name a TURN, or say --since")
    captured = asyncio.run(_capture(frame, turn, since, group))
    if as_json:
        echo_json([{"turn": c.turn_id, "case": c.case.id, "merged": c.merged} for c in captured])
        return
    for each in captured:
        how = "is one more of" if each.merged else "makes"
        lost = "" if each.case.reproduces else ", which does not fail on replay"
        click.echo(f"{each.turn_id} {how} {each.case.id}{lost}")
    made = {each.case.id for each in captured}
    found = f"{_counted(len(captured), 'failure')}, {_counted(len(made), 'case')}"
    click.echo(f"{found} in {_folder().path}", err=True)


def _counted(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


async def _capture(
    frame: Frame, turn: str | None, since: str | None, group: str | None
) -> list[Captured]:
    folder = _folder()
    async with _capturing(frame, folder) as capturer:
        if turn is not None:
            id_ = TurnId(turn.removeprefix("chatcmpl-").removeprefix("resp_"))
            captured = [await capturer.turn(group or DEFAULT_GROUP, id_)]
        else:
            found = capturer.since(group, _time(str(since)))
            captured = [each async for each in found]
        capturer.stage.vectors.write(folder.vectors)
    return captured


@asynccontextmanager
async def _capturing(frame: Frame, folder: Folder) -> AsyncIterator[Capturer]:
    from coe_regress.capture import Capturer

    async with frame.host() as host, _recording_stage(frame, folder, host.application) as stage:
        settings: Settings = click.get_current_context().meta[SETTINGS]
        yield Capturer(host.application, stage, folder, settings, frame.actor)


@asynccontextmanager
async def _recording_stage(
    frame: Frame, folder: Folder, application: Application
) -> AsyncIterator[Stage]:
    """Make a stage that asks the real embedder for what it does not know; the group `default`
    pays.
    """
    from coe_core.caller import ModelCaller
    from coe_core.job import working
    from coe_regress.stage import Stage
    from coe_regress.vectors import VectorShelf

    async with working(application, "regress", DEFAULT_GROUP) as work:

        async def embed(model: Model, request: EmbeddingRequest) -> Vectors:
            real = application.models[model.alias]
            caller = application.need(ModelCaller)
            return await caller.embed_with(real, request, purpose="embedding", parent=work)

        vectors = VectorShelf.read(folder.vectors)
        with Stage.of(frame.config, vectors=vectors, embed=embed) as stage:
            yield stage


def _time(text: str) -> datetime:
    if (span := SPAN.fullmatch(text)) is not None:
        return datetime.now(UTC) - timedelta(**{UNITS[span[2]]: int(span[1])})
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidField(f"--since {text!r}: say 90m, 24h, 7d, or 2026-11-01T09:00+09:00")
    return at


@click.command("list")
@ids
@click.option("--state", type=click.Choice(STATES), help="Those in this state alone.")
@as_json
def list_(*, ids: tuple[str, ...], state: str | None, as_json: bool) -> None:
    """List the cases."""
    cases = [c for c in _folder().chosen(ids) if state in (None, c.state)]
    if as_json:
        echo_json(cases)
    elif cases:
        headings = ("CASE", "STATE", "TURNS", "REPRODUCES", "EXPECTED", "REQUEST")
        click.echo(table_of(headings, [_row(case) for case in cases]))
    else:
        click.echo(f"There are no such cases in {_folder().path}.", err=True)


def _row(case: Case) -> tuple[str, ...]:
    text = " ".join(case.request.text.split())
    shown = text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."
    yes = "yes" if case.reproduces else "no"
    return (case.id, case.state, str(case.count), yes, _expected(case), shown)


LONGEST_TEXT = 40


def _expected(case: Case) -> str:
    expect = case.expect
    if expect.goes_to is not None:
        return f"goes to {expect.goes_to}"
    if expect.not_to is not None:
        return f"not to {expect.not_to}"
    return "an answer" if expect.ends == "answered" else "an answer of its target"


@click.command("show")
@click.argument("id_", metavar="CASE")
def show(*, id_: str) -> None:
    """Print a case."""
    from coe_regress.folder import written

    for case in _folder().chosen([id_]):
        click.echo(written(case), nl=False)


@click.command("review")
@some_ids
@click.option("--goes-to", metavar="NAME", help="The alias, agent or route that is right.")
@click.option("--not-to", metavar="NAME", help="The alias, agent or route that is wrong.")
@pass_frame
def review(frame: Frame, *, ids: tuple[str, ...], goes_to: str | None, not_to: str | None) -> None:
    """Say that somebody has looked at cases: their expectation is right, no personal data is left.
    They are known failures from now on, and a run breaks when they pass.
    """
    cases = _folder().chosen(ids)
    if goes_to or not_to:
        named = [evolve(c, expect=evolve(c.expect, goes_to=goes_to, not_to=not_to)) for c in cases]
        cases = named
    for case in cases:
        _refuse_what_does_not_reproduce(case)
    _move(frame, cases, "reviewed")


def _refuse_what_does_not_reproduce(case: Case) -> None:
    if not case.reproduces:
        raise Conflict(
            f"{case.id} does not fail on replay: mend its recording until `coe regress run` says "
            "that it does and set `reproduces: true`, or retire it"
        )


@click.command("activate")
@ids
@click.option("--mended", is_flag=True, help="All that are reviewed, and pass.")
@pass_frame
def activate(frame: Frame, *, ids: tuple[str, ...], mended: bool) -> None:
    """Say that cases are mended, and must stay so. Refused for one that does not pass."""
    if bool(ids) == mended:
        raise InvalidField("name cases, or say --mended")
    cases = [c for c in _folder().chosen(ids) if ids or c.state == "reviewed"]
    results = asyncio.run(_run(frame, cases))
    passing = [r.case for r in results if r.verdict in ("mended", "passed")]
    failing = [r for r in results if r.case not in passing]
    if ids and failing:
        raise Conflict(f"{failing[0].case.id} does not pass: {failing[0].text}")
    _move(frame, passing, "active")


@click.command("retire")
@some_ids
@pass_frame
def retire(frame: Frame, *, ids: tuple[str, ...]) -> None:
    """Say that cases say nothing any more: they are kept, and not run."""
    _move(frame, _folder().chosen(ids), "retired")


def _move(frame: Frame, cases: Sequence[Case], state: State) -> None:
    from coe_regress.case import Step

    folder = _folder()
    for case in cases:
        step = Step(state=state, at=datetime.now(UTC), by=frame.actor)
        folder.write(evolve(case, state=state, history=(*case.history, step)))
        click.echo(f"{case.id} is {state}.")


@click.command("run")
@ids
@click.option(
    "--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write JUnit's XML too."
)
@click.option("--live", is_flag=True, help="Ask the real models instead of the recordings.")
@click.option("--repeats", default=10, show_default=True, help="How often, live.")
@click.option(
    "--save", type=click.Path(dir_okay=False, path_type=Path), help="Keep the live rates in a file."
)
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Say which live rates differ from those in a file.",
)
@as_json
@click.pass_context
def run(
    context: click.Context,
    *,
    ids: tuple[str, ...],
    junit: Path | None,
    live: bool,
    repeats: int,
    save: Path | None,
    against: Path | None,
    as_json: bool,
) -> None:
    """Replay cases, offline; exits 1 when one breaks."""
    frame: Frame = context.obj
    cases = _folder().chosen(ids)
    if live:
        _run_live(frame, cases, repeats, save, against, as_json=as_json)
        return
    results = asyncio.run(_run(frame, cases))
    if junit is not None:
        from coe_regress.junit import write

        write(junit, results)
    if as_json:
        echo_json([{"case": r.case.id, "verdict": r.verdict, "text": r.text} for r in results])
    else:
        _print(results)
    if any(result.breaks for result in results):
        context.exit(1)


async def _run(frame: Frame, cases: Sequence[Case]) -> list[Result]:
    from coe_regress.result import run as run_all
    from coe_regress.stage import Stage
    from coe_regress.vectors import VectorShelf

    vectors = VectorShelf.read(_folder().vectors)
    with Stage.of(frame.config, vectors=vectors) as stage:
        return [result async for result in run_all(cases, stage)]


def _print(results: Sequence[Result]) -> None:
    rows = [
        ("BREAKS" if r.breaks else MARKS.get(r.verdict, "note"), r.case.id, r.verdict, r.text)
        for r in results
    ]
    if rows:
        click.echo(table_of(("", "CASE", "VERDICT", "WHY"), rows))
    breaking = sum(result.breaks for result in results)
    took_s = sum(result.took_s for result in results)
    breaks = f"{breaking} {'breaks' if breaking == 1 else 'break'}"
    click.echo(f"{_counted(len(results), 'case')}, {breaks}, {took_s:.1f} s", err=True)


def _run_live(
    frame: Frame,
    cases: Sequence[Case],
    repeats: int,
    save: Path | None,
    against: Path | None,
    *,
    as_json: bool,
) -> None:
    from coe_core.codec import decode, encode, structure
    from coe_regress.live import Rates, compare

    rates = asyncio.run(_rates(frame, [c for c in cases if c.state != "retired"], repeats))
    if save is not None:
        save.write_bytes(encode(rates))
    before = Rates() if against is None else structure(decode(against.read_bytes()), Rates)
    found = compare(rates, before)
    if as_json:
        echo_json(found)
    else:
        _print_differences(found)


async def _rates(frame: Frame, cases: Sequence[Case], repeats: int) -> Rates:
    from coe_regress.live import Rates, ask_repeatedly

    async with frame.host() as host:
        return Rates(cases={c.id: await ask_repeatedly(c, host, repeats) for c in cases})


def _print_differences(found: Sequence[Difference]) -> None:
    from coe_regress.significance import repeats_needed

    rows = [
        (
            each.case,
            f"{each.now.passed}/{each.now.repeats}",
            f"{each.before.passed}/{each.before.repeats}" if each.before else "",
            "" if each.p is None else f"{each.p:.3f}",
            "" if each.p is None else "real" if each.is_real else "may be chance",
        )
        for each in found
    ]
    click.echo(table_of(("CASE", "PASSED", "BEFORE", "P", "DIFFERENCE"), rows))
    if any(each.p is not None for each in found):
        least = repeats_needed()
        click.echo(
            "Fisher's exact test, two-sided, adjusted for the number of cases (Holm); below .05 is "
            f"real. With fewer than {least} repeats on each side nothing can be.",
            err=True,
        )


@click.command("record")
@pass_frame
def record(frame: Frame) -> None:
    """Ask the embedder for what the settings and the cases need and the recordings do not have, and
    drop what they need no more. After a change of routes or examples.
    """
    added, dropped = asyncio.run(_record(frame, list(_folder().cases())))
    click.echo(f"{_counted(added, 'vector')} added, {dropped} dropped.")


async def _record(frame: Frame, cases: Sequence[Case]) -> tuple[int, int]:
    from coe_regress.replay import replay

    folder = _folder()
    async with frame.host() as host, _recording_stage(frame, folder, host.application) as stage:
        before = len(stage.vectors.entries)
        for case in cases:
            await replay(case, stage)
        added = len(stage.vectors.entries) - before
        dropped = stage.vectors.forget_unused()
        stage.vectors.write(folder.vectors)
    return added, dropped


@click.command("init-ci")
@click.option(
    "--to",
    default=Path(".github/workflows/regress.yml"),
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write.",
)
@click.option("--packages", default="'coe-core[standard]'", show_default=True, help="To install.")
@pass_frame
def init_ci(frame: Frame, *, to: Path, packages: str) -> None:
    """Write the workflow that runs the cases at every change."""
    from coe_regress.workflow import WORKFLOW

    if to.exists():
        raise Conflict(f"{to} is there already; name another with --to")
    to.parent.mkdir(parents=True, exist_ok=True)
    text = WORKFLOW.format(packages=packages, config=frame.config or "coe.toml")
    to.write_text(text, encoding="utf-8")
    click.echo(f"Wrote {to}.")
