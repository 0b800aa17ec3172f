"""`coe records backup` and `coe records restore`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coe_core.cli import Frame, echo_json, pass_frame
from coe_core.error import StartRefused
from coe_records.progress import progress
from coe_records.settings import data_folder

if TYPE_CHECKING:
    from coe_records.backup import Copied

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
folder_argument = click.Path(file_okay=False, path_type=Path)


@click.command
@click.argument("to", metavar="DIR", type=folder_argument)
@as_json
@pass_frame
@click.pass_context
def backup(context: click.Context, frame: Frame, *, to: Path, as_json: bool) -> None:
    """Copy log and tables of one moment, and owned state, to DIR, and verify the copy.

    DIR must be empty. Exits with 1 if the copy has faults. The server may be running. The pepper of
    the keys is not copied: keep it apart.
    """
    from coe_records.backup import back_up
    from coe_records.command import usable

    with usable(frame) as folder, _writable(to):
        copied = back_up(folder, to, progress)
    _tell(context, copied, as_json=as_json)


@click.command
@click.argument("from_", metavar="DIR", type=folder_argument)
@as_json
@pass_frame
@click.pass_context
def restore(context: click.Context, frame: Frame, *, from_: Path, as_json: bool) -> None:
    """Make a data folder of the backup in DIR, and verify it.

    The data folder must be empty. Exits with 1 if what is restored has faults.
    """
    from coe_records import backup as work

    folder = data_folder(frame)
    with _writable(folder.path):
        copied = work.restore(from_, folder, progress)
    _tell(context, copied, as_json=as_json)


@contextmanager
def _writable(to: Path) -> Iterator[None]:
    """Say of a copy that failed that it is the copy that did, and not the records."""
    try:
        yield
    except OSError as error:
        raise StartRefused(
            f"the copy in {to} is not whole: {error}; remove what is there, and try again"
        ) from error


def _tell(context: click.Context, copied: Copied, *, as_json: bool) -> None:
    if as_json:
        echo_json(copied)
    else:
        for fault in copied.faults:
            click.echo(f"{fault.kind:12} {fault.where}  {fault.text}")
        click.echo(
            f"{copied.records} records, {copied.files} files, {copied.size_bytes} bytes in "
            f"{copied.path}, {len(copied.faults)} faults"
        )
    context.exit(1 if copied.faults else 0)
