"""`coe records reprocess`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from coe_core.cli import Frame, echo_json, pass_frame
from coe_core.error import InvalidField, StartRefused
from coe_core.service import Clock, SessionStore, StateStore
from coe_core.settings import nearest
from coe_records.instant import Instant
from coe_records.progress import progress
from coe_records.settings import log_folder

if TYPE_CHECKING:
    from coe_core.application import Application
    from coe_core.contract import SegmentJob
    from coe_records.reprocess import Reprocessed, Window
    from coe_records.runner import Runner


@click.command("reprocess")
@click.option("--from", "since", type=Instant(), help="Only what was written then or later, UTC.")
@click.option("--to", "until", type=Instant(), help="Only what was written before, UTC.")
@click.option("--what", help="The job that is run; all that are installed if left out.")
@click.option(
    "--runner",
    "runner_name",
    type=click.Choice(["local", "daft"]),
    default="local",
    show_default=True,
    help="What reads the log: this process, or Daft on all cores.",
)
@click.option("--ray", help="The Ray cluster that Daft is to run on: ray://HOST:10001.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_frame
@click.pass_context
def reprocess(
    context: click.Context,
    frame: Frame,
    *,
    since: datetime | None,
    until: datetime | None,
    what: str | None,
    runner_name: str,
    ray: str | None,
    as_json: bool,
) -> None:
    """Run jobs over the parts of the log that they have not done, or failed in.

    What is done is not done again, until the job has another version; a run that was killed goes on
    where it was. The server may be running. Exits with 1 when a batch has failed.
    """
    from coe_records.reprocess import Window

    runner = _runner(runner_name, ray)
    log_folder(frame)
    window = Window(since=since, until=until)
    reports = asyncio.run(_reprocess(frame, window, what, runner))
    if as_json:
        echo_json(reports)
    else:
        for report in reports:
            _say(report)
    context.exit(1 if any(report.failed for report in reports) else 0)


def _say(report: Reprocessed) -> None:
    for failed in report.failed:
        where = f"{failed.batch.segment}:{failed.batch.start}"
        click.echo(f"failed {where}  {failed.error_code}: {failed.error}")
    size_mb = report.size_bytes / 1e6
    click.echo(
        f"{report.what}: {report.done} of {report.batches} batches done, {size_mb:.1f} MB; "
        f"{len(report.failed)} failed"
    )


def _runner(name: str, ray: str | None) -> Runner:
    from coe_records.runner import DaftRunner, LocalRunner

    if name == "local":
        if ray is not None:
            raise InvalidField("--ray is for --runner daft")
        return LocalRunner()
    return DaftRunner(ray)


async def _reprocess(
    frame: Frame, window: Window, what: str | None, runner: Runner
) -> list[Reprocessed]:
    from coe_records.records import refuse_unopened

    async with frame.host() as host, host.lease() as application:
        refuse_unopened(application)
        jobs = _chosen(application, what)
        return [await _run(application, job, window, runner) for job in jobs]


def _chosen(application: Application, what: str | None) -> Sequence[SegmentJob]:
    jobs = {job.name: job for job in application.segment_jobs}
    if what is None:
        return list(jobs.values())
    if what not in jobs:
        known = ", ".join(jobs) or "none"
        raise InvalidField(f"--what: there is no {what!r}{nearest(what, jobs)}; there are: {known}")
    return [jobs[what]]


async def _run(
    application: Application, job: SegmentJob, window: Window, runner: Runner
) -> Reprocessed:
    from coe_records.batch import BatchBook
    from coe_records.records import Records
    from coe_records.reprocess import Reprocessing, alone

    store, clock = application.need(StateStore), application.need(Clock)
    records = application.need(SessionStore)
    if not isinstance(records, Records):
        raise StartRefused("another plugin keeps the records, so there is no log here to read")
    work = Reprocessing(records, BatchBook(store, clock), job, runner, window)
    async with alone(store, clock, job.name):
        batches = await work.plan()
        size_bytes = sum(batch.end - batch.start for batch in batches)
        with progress(job.name, size_bytes) as tell:
            return await work.run(batches, tell)
