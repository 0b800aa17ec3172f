"""Whatever fails or is killed, each batch is done, and once in effect."""

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from attrs import define, evolve, field
from coe_records import reprocess
from coe_records.audit import audit
from coe_records.batch import FIRST_PAUSE, Batch, BatchBook, Done
from coe_records.folder import DataFolder
from coe_records.plugin import RecordsPlugin
from coe_records.records import Records
from coe_records.reprocess import FailedBatchesRule, Reprocessing, RetryJob, Window, alone
from coe_records.summaries import SummaryKeeper
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coe_core.clock import SystemClock
from coe_core.error import Conflict
from coe_core.identity import SessionId, TurnId
from coe_core.lease import leased
from coe_core.message import Json
from coe_core.record import Interaction, Record
from coe_core.service import Clock, Journal, StateStore
from coe_core.settings import Secret
from coe_core.testing import (
    AlertRuleContract,
    JobContract,
    ManualClock,
    MemoryStateStore,
    SegmentJobContract,
    StandingDeployment,
    scripted_application,
)

on_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

MakeTurn = Callable[..., Interaction]


def ids(records: Sequence[Record]) -> Sequence[Json]:
    return [record.id for record in records if isinstance(record, Interaction)]


class Killed(BaseException):
    """What a kill is to the code that it hits."""


@define
class Noting:
    """Notes the turns; fails, or is killed, when `trouble` says so."""

    trouble: Callable[[str], None] = lambda _: None
    version: str = "1"
    name: str = "noting"
    derive: Any = staticmethod(ids)
    noted: Counter[str] = field(factory=Counter)

    async def keep(self, results: Sequence[Json]) -> None:
        for result in results:
            self.trouble(result)
        self.noted.update(results)


@define
class Scene:
    records: Records
    turns: list[Interaction]
    clock: ManualClock = field(factory=ManualClock)
    store: MemoryStateStore = field(factory=MemoryStateStore)

    @property
    def book(self) -> BatchBook:
        return BatchBook(self.store, self.clock)

    async def run(self, job: Any, window: Window | None = None) -> Any:
        work = Reprocessing(self.records, self.book, job, window=window or Window())
        return await work.run(await work.plan(), lambda _: None)

    def deployment(self, job: Any) -> StandingDeployment:
        bare = scripted_application()
        own = {Journal: self.records, StateStore: self.store, Clock: self.clock}
        services = {**bare.services, **own}
        return StandingDeployment(evolve(bare, segment_jobs=(job,), services=services))


@pytest.fixture
def scene(
    folder: DataFolder, make_turn: MakeTurn, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    monkeypatch.setattr(reprocess, "BATCH_BYTES", 4000)

    @asynccontextmanager
    async def play(turns: int = 24, segment_bytes: int = 9000) -> AsyncIterator[Scene]:
        records = Records(folder.path, SystemClock(), segment_bytes, server_of(folder))
        await records.open()
        said = [make_turn(number) for number in range(turns)]
        for turn in said:
            await records.append(turn)
        yield Scene(records, said)
        await records.close()

    return play


@given(parts=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9))), size=st.integers(0, 50))
def test_done_is_a_set_of_bytes(parts: list[tuple[int, int]], size: int) -> None:
    done, model = Done(version="1", sha256=None), set()
    for start, length in parts:
        done = done.plus(start, start + length)
        model |= set(range(start, start + length))
    missing = [at for start, end in done.missing(size) for at in range(start, end)]
    assert missing == [at for at in range(size) if at not in model]
    assert all(a[1] < b[0] for a, b in zip(done.parts, done.parts[1:], strict=False))


async def test_what_is_done_is_not_done_again(scene: Any, make_turn: MakeTurn) -> None:
    async with scene() as play:
        job = Noting()
        first = await play.run(job)
        assert (first.done, first.failed) == (first.batches, ())
        assert first.batches > 5
        assert job.noted == Counter(turn.id for turn in play.turns)
        assert (await play.run(job)).batches == 0
        late = make_turn(99)
        await play.records.append(late)
        assert (await play.run(job)).done == 1
        assert job.noted == Counter([late.id, *(turn.id for turn in play.turns)])
        await play.run(evolve(job, version="2"))
        assert set(job.noted.values()) == {2}


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_failures_and_kills_leave_each_turn_noted_once_in_effect(scene: Any, seed: int) -> None:
    chance = random.Random(seed)

    def trouble(_: str) -> None:
        match chance.randrange(30):
            case 0:
                raise Killed
            case 1 | 2:
                raise LookupError("on purpose")

    async def rounds() -> None:
        async with scene(turns=12) as play:
            job = Noting(trouble)
            for _ in range(6):
                with suppress(Killed):
                    await play.run(job)
            job.trouble = lambda _: None
            await play.run(job)
            wanted = {turn.id for turn in play.turns}
            assert job.noted.keys() >= wanted
            before = job.noted.copy()
            assert (await play.run(job)).batches == 0
            assert job.noted == before
            assert await play.book.failed() == []

    asyncio.run(rounds())


async def test_window_takes_what_was_written_then(scene: Any) -> None:
    async with scene() as play:
        now = SystemClock().now()
        for window in (
            Window(until=now - timedelta(days=1)),
            Window(since=now + timedelta(days=1)),
            Window(since=now + timedelta(minutes=5)),
        ):
            assert await noted(play, window) == set()
        hour = Window(since=now - timedelta(hours=1), until=now)
        assert await noted(play, hour) == {turn.id for turn in play.turns}


async def noted(play: Scene, window: Window) -> set[str]:
    """Run a job that has done nothing yet."""
    job = Noting()
    await evolve(play, store=MemoryStateStore()).run(job, window)
    return set(job.noted)


async def test_failed_batch_is_kept_tried_again_later_each_time_and_tells(scene: Any) -> None:
    def fail(turn_id: str) -> None:
        if turn_id == bad:
            raise LookupError("on purpose")

    async with scene() as play:
        bad = play.turns[5].id
        job = Noting(fail)
        deployment = play.deployment(job)
        retry, rule = RetryJob(deployment, play.records), FailedBatchesRule(deployment)
        report = await play.run(job)
        (failed,) = report.failed
        assert report.done == report.batches - 1
        assert (failed.error_code, failed.attempts) == ("LookupError", 1)
        (alert,) = await rule.evaluate(play.clock.now())
        assert (alert.key, "on purpose" in alert.text) == ("records-failed-batches-noting", True)
        pauses = []
        for _ in range(4):
            assert await retry.run() == {"tried": 0, "done": 0}
            (failed,) = await play.book.failed()
            pauses.append(failed.next_at - play.clock.now())
            await play.clock.advance(pauses[-1].total_seconds())
            assert await retry.run() == {"tried": 1, "done": 0}
        assert pauses == [FIRST_PAUSE * 2**n for n in range(4)]
        job.trouble = lambda _: None
        await play.clock.advance(timedelta(days=1).total_seconds())
        assert await retry.run() == {"tried": 1, "done": 1}
        assert await play.book.failed() == []
        assert await rule.evaluate(play.clock.now()) == []
        assert job.noted == Counter(turn.id for turn in play.turns)


async def test_two_do_not_run_one_job_at_once() -> None:
    store, clock = MemoryStateStore(), ManualClock()
    async with leased(store, clock, "reprocess/noting"):
        second = asyncio.create_task(enter(store, clock))
        await clock.advance(60)
        with pytest.raises(Conflict, match="another process"):
            await second
    await enter(store, clock)


async def enter(store: MemoryStateStore, clock: ManualClock) -> None:
    async with alone(store, clock, "noting"):
        pass


async def test_failure_after_a_turn_becomes_a_batch_that_is_made_good(
    scene: Any, make_turn: MakeTurn
) -> None:
    @define
    class Moody:
        name: str = "moody"
        fails: bool = True

        async def summarize(self, previous: Any, messages: Any, **told: Any) -> str:
            if self.fails:
                raise LookupError("on purpose")
            return "short"

    moody = Moody()
    async with scene(turns=0) as play:
        standing = play.deployment(None)
        keeper = SummaryKeeper(standing, play.records, "moody", 100)
        coe = evolve(standing.application.settings.coe, history_messages=8)
        standing.application = evolve(
            standing.application,
            summarizers=(moody,),
            segment_jobs=(keeper,),
            settings=evolve(standing.application.settings, coe=coe),
        )
        await keeper.open()
        follows: TurnId | None = None
        for number in range(5):
            if follows is not None:
                await play.records.history("research", follows, limit=8)
            turn = make_turn(number, follows=follows)
            await play.records.append(turn)
            await keeper.receive(turn)
            follows = turn.id
        await asyncio.gather(*keeper._making)
        (failed,) = await play.book.failed("summaries")
        at = await play.records.pointer("research", turn.id)
        assert at is not None
        assert failed.batch == Batch(segment=at.segment, start=at.offset, end=at.offset + at.length)
        moody.fails = False
        await play.clock.advance(FIRST_PAUSE.total_seconds())
        retried = await RetryJob(standing, play.records).run()
        assert retried == {"tried": 1, "done": 1}
        history = await play.records.history("research", turn.id, limit=8)
        assert history.summary == "short"
        await keeper.close()


SETTINGS = "[coe]\nhistory_messages = 8\n"


def server_of(folder: DataFolder) -> Secret | None:
    return Secret(f"file:{folder.path}.server") if folder.server else None


def coe(folder: Path, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
    """Run `coe records` as an operator does."""
    address = Path(f"{folder}.server")
    database = f'[plugins.records]\ndatabase = "file:{address}"\n' if address.exists() else ""
    (folder / "coe.toml").write_text(SETTINGS + database)
    command = [str(Path(sys.executable).with_name("coe")), "records", *arguments]
    told = ["--config", str(folder / "coe.toml"), "--data", str(folder)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*command, *told], **(pipes | options))


def summaries(folder: DataFolder, tables: Any) -> dict[str, str]:
    return {row[0]: row[8] for row in tables(folder)["conversation_summaries"]}


def converse(
    folder: DataFolder, make_turn: MakeTurn, sessions: int, turns: int, segment_bytes: int = 1 << 20
) -> None:
    """Write long conversations that nobody has summarized."""

    async def write() -> None:
        records = Records(folder.path, SystemClock(), segment_bytes, server_of(folder))
        await records.open()
        for session in range(sessions):
            follows: TurnId | None = None
            for number in range(turns):
                turn = make_turn(number, follows=follows, session=SessionId(f"s{session}"))
                await records.append(turn)
                follows = turn.id
        await records.close()

    asyncio.run(write())


@pytest.mark.parametrize(
    ("sessions", "kills"), [(12, 2), pytest.param(200, 40, marks=pytest.mark.faults)]
)
def test_killed_command_goes_on_where_it_was(
    folder: DataFolder, make_turn: MakeTurn, tables: Any, sessions: int, kills: int
) -> None:
    """At random moments, over and over; then every summary is there, once."""
    converse(folder, make_turn, sessions, turns=30)
    chance = random.Random(20261122)
    for _ in range(kills):
        before = len(summaries(folder, tables))
        process = coe(folder.path, "reprocess", "--what", "summaries")
        while process.poll() is None and len(summaries(folder, tables)) == before:
            time.sleep(0.005)
        time.sleep(chance.random() * 0.05)  # Not for anything: the moment is the point.
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        drop_leases(folder)
    assert before < 14 * sessions, "it was never killed in the middle"
    last = coe(folder.path, "reprocess", "--json")
    output, errors = last.communicate()
    assert last.returncode == 0, errors
    (report,) = json.loads(output)
    assert report["what"] == "summaries"
    assert not report.get("failed")
    rows = tables(folder)["conversation_summaries"]
    assert len({(row[3], row[4]) for row in rows}) == len(rows) == 14 * sessions
    assert audit(folder).faults == ()


def drop_leases(folder: DataFolder) -> None:
    """Let the dead command's lease run out, without waiting for it."""
    import sqlite3

    connection = sqlite3.connect(folder.path / "state.sqlite")
    with suppress(sqlite3.OperationalError), connection:
        connection.execute("DELETE FROM state WHERE key LIKE 'leases/%'")
    connection.close()


def test_daft_derives_what_the_local_runner_does(
    folder: DataFolder, make_turn: MakeTurn, tables: Any
) -> None:
    converse(folder, make_turn, sessions=3, turns=12)
    process = coe(folder.path, "reprocess", "--runner", "daft", "--json")
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    (report,) = json.loads(output)
    assert report["done"] == report["batches"] > 0
    made = summaries(folder, tables)
    assert len(made) == 3 * 5


SPREADS = """
import asyncio
import sys
from coe_core.runner import spread

sys.addaudithook(lambda event, told: event == "urllib.Request" and print("asks", told[0]))

async def chunks():
    for number in range(4):
        yield number

def work(number):
    if number == 1:
        raise LookupError("on purpose")
    return {"is": number}

async def tell():
    async for chunk, result in spread(work, chunks(), 3, None):
        print(chunk, repr(result))

asyncio.run(tell())
"""


def test_what_fails_in_a_process_of_daft_fails_alone_and_nobody_is_told() -> None:
    told = subprocess.run(
        [sys.executable, "-c", SPREADS], capture_output=True, text=True, check=True
    )
    failed = "ChunkFailed('LookupError: on purpose')"
    assert told.stdout.splitlines() == ["0 {'is': 0}", f"1 {failed}", "2 {'is': 2}", "3 {'is': 3}"]


@define
class Cluster:
    """A Ray cluster of two cores on loopback; a token guards its ports."""

    port: int
    folder: Path
    environment: dict[str, str] = field(init=False)
    head: "subprocess.Popen[str]" = field(init=False)

    def __attrs_post_init__(self) -> None:
        # Ray asks cloud metadata who runs it if there is no such file, and its makers are told even
        # that they are not to be told.
        (self.folder / "ray_bootstrap_config.yaml").write_text("{}")
        self.environment = os.environ | {
            "GRPC_ENABLE_FORK_SUPPORT": "0",  # Else it fails to serve one client of four.
            "HOME": str(self.folder),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "0123456789abcdef" * 2,
            "RAY_CLIENT_RECONNECT_GRACE_PERIOD": "1",
            "RAY_memory_monitor_refresh_ms": "0",
            "RAY_raylet_start_wait_time_s": "120",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:1",
        }
        # Ray takes another address of this machine in place of 127.0.0.1.
        options = "--node-ip-address=127.0.0.2 --port=0 --num-cpus=2 --object-store-memory=80000000"
        options += " --include-dashboard=false --include-log-monitor=false --no-monitor"
        options += f" --temp-dir={self.folder} --plasma-directory={self.folder}"
        command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"]
        self.head = subprocess.Popen(
            [*command, *options.split(), f"--ray-client-server-port={self.port}"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait(self) -> None:
        assert self.head.stdout is not None
        said = ""
        while "Ray runtime started" not in said:
            line = self.head.stdout.readline()
            assert line, said
            said += line

    def stop(self) -> None:
        self.head.terminate()  # It ends what it has started.
        self.head.communicate()
        with suppress(ProcessLookupError):
            os.killpg(self.head.pid, signal.SIGKILL)

    def worker(self, known: set[int]) -> int | None:
        """Find a process of Ray, none of these, that has started one of Daft's, to derive."""
        for parent, child in started(self.head.pid):
            with suppress(OSError):  # It may have ended.
                command = Path(f"/proc/{child}/cmdline").read_bytes()
                if b"daft.execution.udf_worker" in command and parent not in known:
                    return parent
        return None


def started(pid: int) -> Iterator[tuple[int, int]]:
    """Yield what a process has started, and what that has, each with its parent."""
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, thread.read_text().split()):
                yield pid, child
                yield from started(child)


on_ray = pytest.mark.skipif(
    find_spec("ray") is None, reason="Ray is not installed: pip install 'coe-records[ray]'"
)


@pytest.fixture
def cluster(unused_tcp_port: int) -> Iterator[Cluster]:
    with TemporaryDirectory(prefix="ray") as folder:  # Its path is short: sockets are in it.
        cluster = Cluster(unused_tcp_port, Path(folder))
        try:
            cluster.wait()
            yield cluster
        finally:
            cluster.stop()


@on_ray
@on_sqlite
def test_on_a_cluster_whoever_is_killed_each_batch_is_done_and_as_here(
    folder: DataFolder, make_turn: MakeTurn, tables: Any, tmp_path: Path, cluster: Cluster
) -> None:
    """First the command is killed, then a worker of Ray, on whose work Ray starts another."""
    converse(folder, make_turn, sessions=30, turns=12, segment_bytes=4000)
    here = DataFolder(shutil.copytree(folder.path, tmp_path / "here"))
    coe(here.path, "reprocess").communicate()
    there = ("reprocess", "--runner", "daft", "--ray", f"ray://127.0.0.2:{cluster.port}", "--json")

    first = coe(folder.path, *there, env=cluster.environment)
    while first.poll() is None and not summaries(folder, tables):
        time.sleep(0.02)
    first.kill()
    _, errors = first.communicate()
    drop_leases(folder)
    assert 0 < len(summaries(folder, tables)) < 30 * 5, errors  # Killed in the middle.

    known = {process for _, process in started(cluster.head.pid)}  # Some may work for the dead.
    second = coe(folder.path, *there, env=cluster.environment)
    while (worker := cluster.worker(known)) is None:
        assert second.poll() is None, second.communicate()
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)
    output, errors = second.communicate()
    assert second.returncode == 0, errors
    (report,) = json.loads(output)
    assert report["done"] == report["batches"] > 1
    ours, theirs = (
        Counter((row[3], row[4], row[8]) for row in tables(each)["conversation_summaries"])
        for each in (folder, here)
    )
    assert ours == theirs
    assert len(ours) == ours.total() == 30 * 5
    assert audit(folder).faults == ()


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("ray://127.0.0.1:{port}", "no Ray cluster answers at ray://127.0.0.1:"),
        ("127.0.0.1:{port}", "the address of a Ray cluster is ray://HOST:10001"),
    ],
)
@on_ray
@on_sqlite
def test_what_is_no_cluster_is_told(
    folder: DataFolder, unused_tcp_port: int, address: str, told: str
) -> None:
    folder.events.mkdir()
    place = address.format(port=unused_tcp_port)
    process = coe(folder.path, "reprocess", "--runner", "daft", "--ray", place)
    _, errors = process.communicate()
    assert process.returncode == 2
    assert told in errors


def test_where_ray_is_not_installed_it_is_told_how_to(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    lacking = "import sys; sys.modules['ray'] = None; from coe_core.cli import main; main()"
    command = ("records", "reprocess", "--runner", "daft", "--ray", "ray://127.0.0.1:10001")
    ended = subprocess.run(
        [sys.executable, "-c", lacking, *command, "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "pip install 'coe-core[ray]'" in ended.stderr


@on_sqlite
def test_folder_without_a_log_is_told_and_left_so(folder: DataFolder) -> None:
    process = coe(folder.path, "reprocess")
    _, errors = process.communicate()
    assert process.returncode == 2
    assert "there is no log in" in errors
    assert not folder.events.exists()


def test_unknown_job_is_refused_with_those_there_are(folder: DataFolder) -> None:
    folder.events.mkdir(exist_ok=True)
    process = coe(folder.path, "reprocess", "--what", "sumaries")
    _, errors = process.communicate()
    assert process.returncode != 0
    assert "did you mean 'summaries'?" in errors


def test_records_that_did_not_open_are_not_taken_for_none_to_do(
    folder: DataFolder, make_turn: MakeTurn, sql: Any
) -> None:
    converse(folder, make_turn, sessions=1, turns=1)
    sql.execute("UPDATE records_version SET version_num = '9999'")
    process = coe(folder.path, "reprocess")
    _, errors = process.communicate()
    assert (process.returncode, "9999" in errors) == (2, True)


class OnFolders:
    @pytest.fixture(autouse=True)
    def folders(self, new_folder: Callable[[], DataFolder]) -> None:
        self.folder = new_folder()
        self.records = Records(self.folder.path, ManualClock(), 1 << 20)
        self.standing = StandingDeployment(scripted_application())


class TestSummaries(OnFolders, SegmentJobContract):
    async def make(self) -> AsyncIterator[SummaryKeeper]:  # type: ignore[override]
        records = Records(self.folder.path, ManualClock(), 1 << 20)  # a law may make several
        await records.open()
        yield SummaryKeeper(self.standing, records, "", 100)
        await records.close()


class TestRetry(OnFolders, JobContract):
    def make(self) -> RetryJob:
        return RetryJob(self.standing, self.records)


class TestRule(OnFolders, AlertRuleContract):
    async def make(self) -> FailedBatchesRule:  # type: ignore[override]
        book = BatchBook(self.standing.application.need(StateStore), ManualClock())
        await book.fail(
            "noting", Batch(segment="2026-11-01/x.jsonl", start=0, end=9), LookupError("x")
        )
        return FailedBatchesRule(self.standing)


async def test_plugin_contributes_them(application: Any) -> None:
    async with application(records=RecordsPlugin) as app:
        assert [job.name for job in app.segment_jobs] == ["summaries"]
        assert [job.name for job in app.jobs] == ["failed-batches"]
        assert "records-failed-batches" in [rule.name for rule in app.alert_rules]
    async with application('[plugins.records]\nsummarizer = ""\n', records=RecordsPlugin) as app:
        assert app.segment_jobs == ()
