"""`coe records compact`."""

from __future__ import annotations

import click

from coe_core.cli import Frame, echo_json, pass_frame
from coe_records.progress import progress
from coe_records.settings import log_folder


@click.command("compact")
@click.option("--undo", is_flag=True, help="Make the segments again as they were.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_frame
@click.pass_context
def compact(context: click.Context, frame: Frame, *, undo: bool, as_json: bool) -> None:
    """Compact sealed segments of the log to Parquet, line for line as they are.

    All other commands, and the server, read them as before; the server may be running. It needs
    `coe-records[parquet]`. Exits with 1 when a segment had to be left as it is.
    """
    from coe_records.compaction import Compaction

    folder = log_folder(frame)
    work = Compaction(folder)
    with progress("expanding" if undo else "compacting", len(work.sealed())) as tell:
        result = (work.undo if undo else work.compact)(tell)
    if as_json:
        echo_json(result)
    else:
        for each in result.left:
            click.echo(f"left as it is: {each}")
        before_mb, after_mb = result.before_bytes / 1e6, result.after_bytes / 1e6
        ratio = result.before_bytes / max(1, result.after_bytes)
        click.echo(
            f"{result.segments} segments, {before_mb:.1f} MB before, {after_mb:.1f} MB after, "
            f"{ratio:.1f} to 1"
        )
    context.exit(1 if result.left else 0)
