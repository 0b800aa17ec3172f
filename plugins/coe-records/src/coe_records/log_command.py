"""`coe records log`: print the log."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterator
from datetime import datetime
from itertools import groupby

import click
from attrs import frozen

from coe_core.cli import Frame, pass_frame
from coe_core.codec import rfc3339
from coe_records.envelope import Line
from coe_records.instant import Instant
from coe_records.log import Entry, Log


@frozen(kw_only=True)
class Selection:
    """Which lines are wanted."""

    kinds: frozenset[str]
    """Empty for all."""
    since: datetime | None
    until: datetime | None

    def lines(self, log: Log) -> Iterator[Line | None]:
        """Yield the lines by the time they were written, None for what is none."""
        for day, segments in groupby(log.segments(), lambda path: path.partition("/")[0]):
            if self._may_hold(day):
                for entry in heapq.merge(*[log.entries(each) for each in segments], key=_at):
                    if entry.line is None or self._wants(entry.line):
                        yield entry.line

    def _may_hold(self, day: str) -> bool:
        early_enough = self.until is None or day <= rfc3339(self.until)
        return early_enough and (self.since is None or rfc3339(self.since)[:10] <= day)

    def _wants(self, line: Line) -> bool:
        late_enough = self.since is None or rfc3339(self.since) <= line.at
        early_enough = self.until is None or line.at < rfc3339(self.until)
        return late_enough and early_enough and (not self.kinds or line.kind in self.kinds)


def _at(entry: Entry) -> str:
    """Tell when a line was written; what is none goes with what stands before it."""
    return entry.line.at if entry.line is not None else ""


@click.command
@click.option(
    "--kind", "kinds", multiple=True, metavar="KIND", help="Only of that kind. Repeatable."
)
@click.option("--since", type=Instant(), help="Only what was written then or later, UTC.")
@click.option("--until", type=Instant(), help="Only what was written before, UTC.")
@pass_frame
@click.pass_context
def log(
    context: click.Context,
    frame: Frame,
    *,
    kinds: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
) -> None:
    """Print the log's own lines, by the time they were written, for `jq` to read.

    Kinds are interaction, feedback, state_change, settlement and repair. Lines that are damaged are
    passed over and counted; exits with 1 if there are any. The server may be running.
    """
    selection = Selection(kinds=frozenset(kinds), since=since, until=until)
    damaged, output = 0, sys.stdout.buffer
    for line in _lines(frame, selection):
        if line is None:
            damaged += 1
        else:
            output.write(line.raw)
    if damaged:
        click.echo(f"{damaged} damaged lines passed over; `coe records verify`", err=True)
    context.exit(1 if damaged else 0)


def _lines(frame: Frame, selection: Selection) -> Iterator[Line | None]:
    """Read in a generator of its own, so that a reader who leaves is no fault of the records."""
    from coe_records.command import usable

    with usable(frame) as folder:
        yield from selection.lines(Log(folder.events))
