"""`coe records`: look after the system of record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from coe_core.cli import Frame, echo_json, pass_frame
from coe_core.error import StartRefused
from coe_records.backup_command import backup, restore
from coe_records.compact_command import compact
from coe_records.database import raised
from coe_records.folder import DataFolder
from coe_records.log_command import log
from coe_records.progress import progress
from coe_records.reprocess_command import reprocess
from coe_records.settings import Settings, log_folder, pass_settings
from coe_records.transfer import export, import_

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


COPIES = (backup, restore)


def records_command(settings: Settings | None = None) -> click.Group:
    """Make the command group; its commands find the settings with `pass_settings`."""
    help_text = "Look after the log of turns and its tables."
    return click.Group(
        "records",
        help=help_text,
        commands=[
            verify,
            repair,
            rebuild,
            reprocess,
            compact,
            log,
            export,
            import_,
            backup,
            restore,
        ],
        context_settings={"obj": settings},
    )


@click.command
@as_json
@pass_frame
@click.pass_context
def verify(context: click.Context, frame: Frame, *, as_json: bool) -> None:
    """Compare log and database both ways, with every checksum and every link of the chain.

    Exits with 1 when anything is not as it should be. The server may be running.
    """
    from coe_records.audit import audit

    with usable(frame) as folder, progress("verifying", folder.log_bytes) as tell:
        report = audit(folder, tell)
    if as_json:
        echo_json(report)
    else:
        for fault in report.faults:
            click.echo(f"{fault.kind:12} {fault.where}  {fault.text}")
        for fault in report.restored:
            click.echo(f"{fault.kind:12} {fault.where}  {fault.text}; restored by repair")
        click.echo(
            f"{report.records} records in {report.segments} segments, {len(report.faults)} faults"
        )
        for machine, count in sorted(report.elsewhere.items()):
            click.echo(f"{count} segments more are on {machine}, to be verified there")
    context.exit(1 if report.faults else 0)


@click.command
@as_json
@click.option("--dry-run", is_flag=True, help="Say what would be done first, and change nothing.")
@pass_settings
@pass_frame
@click.pass_context
def repair(
    context: click.Context, frame: Frame, settings: Settings, *, as_json: bool, dry_run: bool
) -> None:
    """Mend log and database from each other, as far as that goes.

    Exits with 1 when something is left that could not be mended. The server may be running.
    """
    from coe_core.clock import SystemClock
    from coe_records import repair as work

    with usable(frame) as folder:
        repaired = work.repair(
            folder,
            SystemClock(),
            dry_run=dry_run,
            segment_bytes=settings.segment_bytes,
            show=progress,
        )
    if as_json:
        echo_json(repaired)
    else:
        for step in repaired.steps:
            click.echo(step)
        for fault in repaired.left:
            click.echo(f"{fault.kind:12} {fault.where}  {fault.text}")
        left = f"{len(repaired.left)} {'to mend' if dry_run else 'left'}"
        click.echo(f"{len(repaired.found)} faults found, {left}")
    context.exit(1 if repaired.left else 0)


@click.command
@as_json
@pass_frame
@click.pass_context
def rebuild(context: click.Context, frame: Frame, *, as_json: bool) -> None:
    """Make the tables again from the log alone.

    A running server waits until it is done. Exits with 1 when lines had to be passed over.
    """
    from coe_records import rebuild as work

    with usable(frame) as folder, progress("rebuilding", folder.log_bytes) as tell:
        rebuilt = work.rebuild(folder, tell)
    if as_json:
        echo_json(rebuilt)
    else:
        click.echo(f"{rebuilt.records} records of {rebuilt.segments} segments")
        if rebuilt.passed_over:
            click.echo(f"{rebuilt.passed_over} damaged lines were passed over")
        if rebuilt.set_aside:
            click.echo(f"the file that was no database is now {rebuilt.set_aside}")
    context.exit(1 if rebuilt.passed_over else 0)


@contextmanager
def usable(frame: Frame) -> Iterator[DataFolder]:
    """Yield the data folder, and say what to do when its records cannot be read."""
    folder = log_folder(frame)
    try:
        yield folder
    except raised() as error:
        raise StartRefused(
            f"the records in {folder.path} cannot be read: {error}; "
            "`coe records rebuild` makes a lost database again"
        ) from error
