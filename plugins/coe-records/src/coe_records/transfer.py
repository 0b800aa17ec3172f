"""`coe records import` and `coe records export`: history from and for other systems."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click
from attrs import frozen

from coe_core.cli import Frame, echo_json, pass_frame
from coe_core.clock import SystemClock
from coe_core.error import InvalidField
from coe_records.instant import Instant
from coe_records.progress import progress
from coe_records.settings import Settings, data_folder, pass_settings

if TYPE_CHECKING:
    from coe_core.service import Clock
    from coe_records.extent import Extent
    from coe_records.folder import DataFolder
    from coe_records.writer import Writer

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


OUTPUT = Path("-")


@frozen(kw_only=True)
class Exported:
    """What an export came to."""

    path: str
    lines: int
    size_bytes: int


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--group", required=True, help="The group whose history it becomes.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["auto", "openai", "litellm", "langfuse"]),
    default="auto",
    show_default=True,
    help="Whose lines they are; auto looks at each.",
)
@as_json
@pass_settings
@pass_frame
@click.pass_context
def import_(
    context: click.Context,
    frame: Frame,
    settings: Settings,
    *,
    file: Path,
    group: str,
    form: str,
    as_json: bool,
) -> None:
    """Take over conversations, one JSON object a line, that another system kept.

    Lines that cannot be read are set aside in FILE.rejected.jsonl, each with its number and the
    reason; exits with 1 if there are any. What was imported before is not imported again, nor what
    the group's own export gave and is here yet. The server may be running.
    """
    from coe_records.importing import Import
    from coe_records.intake import Intake

    if not group:
        raise InvalidField("--group names no group")
    clock = SystemClock()
    size_bytes = file.stat().st_size
    folder, intake = data_folder(frame), Intake(group, clock)
    with _writer(folder, clock, settings) as writer, progress("importing", size_bytes) as tell:
        imported = Import(folder, writer, intake, form, file, tell).run()
    if as_json:
        echo_json(imported)
    else:
        click.echo(
            f"{imported.turns} turns of {imported.lines} lines, {imported.known} known before, "
            f"{imported.rejected} lines rejected"
        )
        if imported.rejects:
            click.echo(f"what was rejected is in {imported.rejects}")
    context.exit(1 if imported.rejected else 0)


@click.command("export")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--group", help="Only of that group; of all if left out.")
@click.option("--since", type=Instant(), help="Only what began then or later, UTC.")
@click.option("--until", type=Instant(), help="Only what began before, UTC.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["openai", "envelope"]),
    default="openai",
    show_default=True,
    help="Conversations in OpenAI's shape, or the log's own lines.",
)
@as_json
@pass_frame
def export(
    frame: Frame,
    *,
    file: Path,
    group: str | None,
    since: datetime | None,
    until: datetime | None,
    form: str,
    as_json: bool,
) -> None:
    """Write what was recorded to FILE, or to the output if it is a hyphen.

    As `openai`, one line is one conversation up to a turn that no other follows; its usage and
    cost are those of that turn, whose id is `coe_turn_id`. As `envelope`, one line is one turn, or
    one piece of feedback, as the log has it. The server may be running.
    """
    from coe_records.extent import Extent

    if as_json and file == OUTPUT:
        raise InvalidField("--json needs a FILE: what is exported goes to the output itself")
    extent = Extent(group=group, since=since, until=until)
    lines = size_bytes = 0
    with _opened(file) as opened:
        for lines, line in enumerate(_lines(frame, extent, form), start=1):  # noqa: B007 told below
            size_bytes += opened.write(line)
    if as_json:
        echo_json(Exported(path=str(file), lines=lines, size_bytes=size_bytes))
    else:
        click.echo(f"{lines} lines", err=True)


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    """Open the output, or a file that takes the place of another only once it is whole."""
    if file == OUTPUT:
        yield sys.stdout.buffer
        return
    is_device = file.exists() and not file.is_file()
    part = file if is_device else file.with_name(f"{file.name}.part")
    try:
        with part.open("wb") as opened:
            yield opened
        if not is_device:
            part.replace(file)
    except OSError as error:
        raise InvalidField(f"{file} cannot be written: {error.strerror}") from error
    finally:
        if not is_device:
            part.unlink(missing_ok=True)


def _lines(frame: Frame, extent: Extent, form: str) -> Iterator[bytes]:
    """Read in a generator of its own, so that only its errors are told as those of the records."""
    from coe_records.command import usable
    from coe_records.exporting import Export

    with usable(frame) as folder:
        work = Export(folder, extent, progress)
        yield from work.conversations() if form == "openai" else work.envelopes()


@contextmanager
def _writer(folder: DataFolder, clock: Clock, settings: Settings) -> Iterator[Writer]:
    from coe_records.writer import Writer

    writer = Writer.open(folder, clock, segment_bytes=settings.segment_bytes)
    try:
        yield writer
    finally:
        writer.close()
