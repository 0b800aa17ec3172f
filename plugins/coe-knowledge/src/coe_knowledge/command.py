"""`coe knowledge`: what a deployment knows, on the command line."""

from __future__ import annotations

import asyncio
import glob
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
from attrs import frozen

from coe_core.access import DEFAULT_GROUP
from coe_core.application import Application
from coe_core.card import CARD_KINDS, Card, CardKind
from coe_core.cli import Frame, echo_json, table
from coe_core.error import CoeError, InvalidField
from coe_core.knowledge import Indexed, Item, SearchQuery
from coe_core.runner import DaftRunner
from coe_core.service import Clock, Journal, KnowledgeStore, RecordReader
from coe_core.turn import GLOBAL, Passage, Place, group_layer
from coe_knowledge.layer import group_of
from coe_knowledge.library import Added, AddedCard, Library, Upload, evidence_of, unknown
from coe_knowledge.reading import MEDIA_TYPES
from coe_knowledge.seeking import Found, index_of, search
from coe_knowledge.settings import Settings

AT_ONCE = 4
"""How many files are read at the same time."""
SHOWN_LETTERS = 160
COLUMNS = ("ID", "KIND", "STATE", "QUALITY", "TITLE", "SOURCE")
OUTCOMES = ("added", "changed", "unchanged")


@frozen
class Desk:
    """Where a library is used on the command line."""

    frame: Frame
    settings: Settings

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[Application, Library]]:
        """Open the deployment and its library."""
        async with self.frame.host() as host:
            need = host.application.need
            store, journal, clock = need(KnowledgeStore), need(Journal), need(Clock)
            yield host.application, Library(store, journal, clock, self.settings)


pass_desk = click.make_pass_decorator(Desk)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def layer_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command be told a layer: by its group, or by its name."""
    named = click.option("--layer", help="`global` or `group:NAME`, instead of --group.")
    of_group = click.option(
        "--group", default=DEFAULT_GROUP, show_default=True, help="The group whose layer it is."
    )
    return of_group(named(function))


def knowledge_command(settings: Settings) -> click.Group:
    """Make the command group."""

    @click.pass_context
    def desk(context: click.Context) -> None:
        context.obj = Desk(context.obj, settings)

    help_text = "Add documents and cards that answers use; list, show, find and remove them."
    commands = [add, list_, show, search_, remove, reindex]
    return click.Group("knowledge", callback=desk, help=help_text, commands=commands)


@click.command
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@layer_options
@click.option("--card", type=click.Choice(CARD_KINDS), help="Add a card instead of files.")
@click.option("--text", help="The card's text.")
@click.option("--evidence", multiple=True, metavar="TURN", help="A turn that the card is made of.")
@click.option("--title", help="What it is called; without it, a document is as it calls itself.")
@click.option("--again", is_flag=True, help="Read files anew that have not changed.")
@as_json
@pass_desk
def add(
    desk: Desk,
    *,
    paths: tuple[str, ...],
    group: str,
    layer: str | None,
    card: CardKind | None,
    text: str | None,
    evidence: tuple[str, ...],
    title: str | None,
    again: bool,
    as_json: bool,
) -> None:
    """Add files, or a card with --card and --text.

    A PATH is a file, a folder with all that is below it, or a pattern such as 'docs/**/*.md'. A
    file that was added before takes the place of what it was; one that has not changed is left as
    it is, so that the same command may be given again at any time.
    """
    into = layer or group_layer(group)
    if (card is None) == (not paths):
        raise click.UsageError("Give paths, or --card with --text.")
    if card is not None:
        written = asyncio.run(_add_card(desk, into, card, text or "", title or "", group, evidence))
        if as_json:
            echo_json(written.card)
        else:
            joined = "to" if written.outcome == "added" else "in"
            click.echo(f"{written.outcome} {written.card.id} {joined} {into}")
        return
    files = [file for path in paths for file in _files(path)]
    if title is not None and len(files) != 1:
        raise click.UsageError("--title is for one file.")
    results = asyncio.run(_add_files(desk, into, files, title, again=again))
    errors = [(file, r) for file, r in zip(files, results, strict=True) if isinstance(r, CoeError)]
    done = [result for result in results if isinstance(result, Added)]
    if as_json:
        failed = [{"source": str(file), "error": error.message} for file, error in errors]
        echo_json({"documents": done, "failed": failed})
    else:
        counts = {name: sum(a.outcome == name for a in done) for name in OUTCOMES}
        said = ", ".join(f"{count} {name}" for name, count in counts.items())
        click.echo(f"{said}, {len(errors)} failed; {sum(a.passages for a in done)} passages")
    for _, error in errors:
        click.echo(f"error: {error.message}", err=True)
    if errors:
        raise click.exceptions.Exit(1)


async def _add_card(
    desk: Desk,
    layer: str,
    kind: CardKind,
    text: str,
    title: str,
    group: str,
    turns: Sequence[str],
) -> AddedCard:
    async with desk.open() as (application, library):
        reader = application.need(RecordReader)
        evidence = await evidence_of(reader, group_of(layer) or group, turns)
        return await library.add_card(
            layer=layer,
            kind=kind,
            text=text,
            title=title,
            evidence=evidence,
            actor=desk.frame.actor,
        )


async def _add_files(
    desk: Desk, layer: str, files: Sequence[Path], title: str | None, *, again: bool
) -> Sequence[Added | CoeError]:
    """Add files, some at a time; what is wrong with one is no reason to leave the others out."""
    turns = asyncio.Semaphore(AT_ONCE)
    async with desk.open() as (_, library):
        with click.progressbar(length=len(files), file=sys.stderr) as bar:

            async def add_one(file: Path) -> Added | CoeError:
                async with turns:
                    try:
                        upload = await asyncio.to_thread(_upload, library, layer, file, title)
                        return await library.add(upload, desk.frame.actor, again=again)
                    except CoeError as error:
                        return error
                    finally:
                        bar.update(1)

            return await asyncio.gather(*map(add_one, files))


def _upload(library: Library, layer: str, file: Path, title: str | None) -> Upload:
    source = _source(file)
    try:
        library.check_size(file.stat().st_size, source)
        return Upload(layer=layer, source=source, content=file.read_bytes(), title=title)
    except OSError as error:
        raise InvalidField(f"{source} cannot be read: {error.strerror}") from error


def _source(file: Path) -> str:
    """Name a file as seen from here where it is below, so that a checkout is the same anywhere."""
    below = os.path.relpath(file)
    return Path(file.resolve() if below.startswith("..") else below).as_posix()


def _files(path: str) -> Iterator[Path]:
    """Find the files of a path. In folders only what can be read, and nothing hidden."""
    given = Path(path)
    if given.is_dir():
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if not name.startswith(".") and Path(name).suffix.lower() in MEDIA_TYPES:
                    yield Path(folder, name)
    elif given.exists():
        yield given
    elif found := sorted(map(Path, glob.glob(path, recursive=True))):  # noqa: PTH207 of any folder
        yield from (each for each in found if each.is_file())
    else:
        raise click.UsageError(f"There is no {path}.")


@click.command("list")
@layer_options
@as_json
@pass_desk
def list_(desk: Desk, *, group: str, layer: str | None, as_json: bool) -> None:
    """List the documents and cards of a layer."""
    items = asyncio.run(_all(desk, layer or group_layer(group)))
    if as_json:
        echo_json(items)
    elif items:
        click.echo(table(COLUMNS, [_row(item) for item in items]))
    else:
        click.echo("There is nothing; `coe knowledge add` adds something.", err=True)


async def _all(desk: Desk, layer: str) -> list[Item]:
    items: list[Item] = []
    async with desk.open() as (_, library):
        while page := await library.store.items([layer], after=items[-1].id if items else ""):
            items += page
    return items


def _row(item: Item) -> Sequence[str]:
    if isinstance(item, Card):
        title = item.title or _shortened(item.text, 40)
        return item.id, item.kind, item.state, _quality(item), title, ""
    return item.id, "document", item.state, "", item.title, item.source


def _quality(card: Card) -> str:
    return "-" if card.quality_score is None else f"{card.quality_score:.2f}"


@click.command
@click.argument("item_id", metavar="ID")
@layer_options
@as_json
@pass_desk
def show(desk: Desk, *, item_id: str, group: str, layer: str | None, as_json: bool) -> None:
    """Show a document or card with its passages."""

    async def run() -> tuple[Item, Sequence[Passage]]:
        layers = [layer or group_layer(group), *([] if layer else [GLOBAL])]
        async with desk.open() as (_, library):
            item = await library.store.item(layers, item_id)
            if item is None:
                raise unknown(item_id)
            return item, await library.store.neighbours(layers, item_id, 0, 2**31 - 1)

    item, passages = asyncio.run(run())
    if as_json:
        echo_json({"item": item, "passages": passages})
        return
    click.echo(table(COLUMNS, [_row(item)]))
    if isinstance(item, Card):
        said = f"rated {item.feedback_count}, helped {item.helped}, hurt {item.hurt}"
        click.echo(f"\nused {item.used} times, {said}; quality {_quality(item)}")
    for passage in passages:
        click.echo(f"\n{passage.id}  {_where(passage.place)}\n{passage.text}")


def _where(place: Place) -> str:
    """Write where a passage stands: `Leave > Annual leave, page 3, lines 10-24`."""
    parts = [" > ".join(place.headings)]
    if place.page is not None:
        parts.append(f"page {place.page}")
    if place.first_line is not None:
        parts.append(f"lines {place.first_line}-{place.last_line}")
    return ", ".join(filter(None, parts))


@click.command("search")
@click.argument("text")
@layer_options
@click.option("--topk", type=click.IntRange(1, 100), default=5, show_default=True, help="Of each.")
@click.option(
    "--turns",
    type=click.IntRange(0, 100),
    default=0,
    show_default=True,
    help="How many of the group's earlier turns.",
)
@as_json
@pass_desk
def search_(
    desk: Desk, *, text: str, group: str, layer: str | None, topk: int, turns: int, as_json: bool
) -> None:
    """Find passages, of a group those of the global layer too."""
    layers = (layer,) if layer else (group_layer(group), GLOBAL)
    query = SearchQuery(
        text=text, layers=layers, global_topk=topk, group_topk=topk, session_topk=turns
    )

    async def run() -> Found:
        async with desk.open() as (application, _):
            return await search(application, query, group)

    found = asyncio.run(run())
    if as_json:
        echo_json(found)
        return
    cards = {card.id: card for card in found.cards}
    for passage in found.passages:
        card = cards.get(passage.item)
        quality = f"  quality {_quality(card)}" if card is not None else ""
        click.echo(f"{passage.score:.3f}  {passage.layer}  {passage.source}  {passage.id}{quality}")
        click.echo(f"       {_shortened(passage.text, SHOWN_LETTERS)}")


@click.command
@click.argument("item_ids", nargs=-1, required=True, metavar="ID...")
@layer_options
@pass_desk
def remove(desk: Desk, *, item_ids: tuple[str, ...], group: str, layer: str | None) -> None:
    """Remove documents and cards from a layer."""

    async def run() -> None:
        async with desk.open() as (_, library):
            for item_id in item_ids:
                await library.remove(layer or group_layer(group), item_id, desk.frame.actor)
                click.echo(f"removed {item_id}")

    asyncio.run(run())


@click.command
@click.option(
    "--runner",
    "runner_name",
    type=click.Choice(["local", "daft"]),
    default="local",
    show_default=True,
    help="What embeds: this process, or Daft in several at once.",
)
@click.option("--ray", help="The Ray cluster that Daft is to run on: ray://HOST:10001.")
@pass_desk
def reindex(desk: Desk, *, runner_name: str, ray: str | None) -> None:
    """Make the index anew, and embed what has no vector of the embedder in force.

    The old one is searched until the new one is whole. A run that was killed goes on where it was:
    what has been embedded is kept. Exits with 1 where something could not be embedded.
    """
    if ray is not None and runner_name != "daft":
        raise click.UsageError("--ray is for --runner daft.")
    frame = desk.frame
    runner = None
    if runner_name == "daft":
        runner = DaftRunner(config=frame.config, data_dir=frame.data_dir, ray=ray)

    async def run() -> Indexed:
        told = Indexed(done=0, total=0)
        async with desk.open() as (application, _):
            with click.progressbar(length=1, file=sys.stderr) as bar:
                async for told in index_of(application).rebuild(runner):
                    bar.length = max(told.total, 1)
                    bar.update(told.done - bar.pos)
        return told

    told = asyncio.run(run())
    click.echo(f"indexed {told.total} passages")
    for layer, code in told.failed.items():
        click.echo(f"error: not all of {layer} could be embedded: {code}", err=True)
    if told.failed:
        raise click.exceptions.Exit(1)


def _shortened(text: str, letters: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= letters else f"{flat[: letters - 1]}…"
