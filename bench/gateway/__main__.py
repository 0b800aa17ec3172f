"""What a gateway costs, beside the gateways that people use.

Run with `python3 noxfile.py bench gateway`; `--help` says what can be chosen. Every server stands
before the same upstream, which costs almost nothing, and is asked by the same clients; all run at
once and are measured in turn, several times over, so that what else the machine does meets all of
them. Of CPU time the least of the rounds is shown, since other work only adds; of latencies the
median of the rounds.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from attrs import define, field
from contender import (
    CONTENDERS,
    HERE,
    ROOT,
    Contender,
    Served,
    decided_by_meaning,
    free_port,
    lacking,
)
from load import Load, Result
from process import cpu_s, descriptors, memory_mb, own_mb
from report import Crowd, Figures, Latency, Machine, Overload, Report, Soak, table, write
from upstream import FRAMES, PACED, PLAIN

CONCURRENCIES = (1, 16, 64)
STREAM_COUNTS = (25, 50, 100, 150, 200, 250, 300, 400, 500)
STREAM_TRIES = 2
LEAVE_EVERY = 20
AUTO = "auto"
"""The model name that leaves it to CoE where a request goes."""
OVERLOAD_FACTOR, LIGHT_SHARE, OVERLOAD_S = 3.0, 0.1, 10.0
"""How many times what can be answered is asked; the light group's share of it; and for how long."""
WARM_UP_S = 2.0
ROUTING_TRIES = 10


def ask(
    served: Served,
    contender: Contender,
    model: str,
    headers: dict[str, str] | None = None,
    **how: float,
) -> Result:
    """Let clients ask a server, in a process of their own."""
    load = Load(
        port=served.port,
        path=contender.path,
        headers=served.headers if headers is None else headers,
        model=model,
        stream=model not in (PLAIN, AUTO),
        sentences=1 if model == AUTO else 8,
        **how,  # type: ignore[arg-type]
    )
    command = [sys.executable, HERE / "load.py", msgspec.json.encode(load)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return msgspec.json.decode(told, type=Result)


def cpu_ms(served: Served, contender: Contender, model: str, seconds: float) -> tuple[float, float]:
    """Return the CPU time of one answer, and how many came a second, at 16 at once."""
    before_s = cpu_s(served.pid)
    result = ask(served, contender, model, concurrency=16, seconds=seconds)
    if result.errors or not result.requests:
        say(f"  {contender.name}, {model}: {result.errors} errors: {result.example:.200}")
    whole = max(1, result.requests)
    return 1000 * (cpu_s(served.pid) - before_s) / whole, result.per_second


def most_streams(served: Served, contender: Contender) -> int:
    """Return how many paced streams ran at once without a silence of over 150 ms in any."""
    most = 0
    for count in STREAM_COUNTS:
        for _ in range(STREAM_TRIES):
            result = ask(served, contender, PACED, concurrency=count, requests=count, ramp_s=2.0)
            if not result.stalled and not result.errors:
                break
        else:
            break
        most = count
    return most


def overload(served: Served, contender: Contender, per_second: float) -> Overload:
    """Let two groups ask so much together, whatever is answered, and look at the memory."""

    def crowd(headers: dict[str, str], share: float) -> Crowd:
        asked = share * per_second
        how = {"per_second": asked, "seconds": OVERLOAD_S}
        result = ask(served, contender, PLAIN, headers, **how)
        return Crowd(
            asked_per_second=asked,
            answered_per_second=result.requests / OVERLOAD_S,
            refused=result.refused,
            failed=result.errors - result.refused,
            latency_ms=result.latency_ms,
        )

    before_mb = most_mb = own_mb(served.pid)
    with ThreadPoolExecutor(2) as pool:
        heavy = pool.submit(crowd, served.headers, 1 - LIGHT_SHARE)
        light = pool.submit(crowd, served.others_headers, LIGHT_SHARE)
        while not (heavy.done() and light.done()):
            most_mb = max(most_mb, own_mb(served.pid))
            time.sleep(0.2)
    return Overload(heavy=heavy.result(), light=light.result(), grown_mb=most_mb - before_mb)


def soak(served: Served, contender: Contender, requests: int, seconds: float) -> Soak:
    """Ask for long, plain and streamed, leaving now and then; see what stays."""
    ask(served, contender, FRAMES, concurrency=16, seconds=5.0, leave_every=LEAVE_EVERY)
    before_mb, open_before = own_mb(served.pid), descriptors(served.pid)
    done = 0
    for model in (PLAIN, FRAMES):
        how = {"concurrency": 16, "seconds": seconds / 2, "leave_every": LEAVE_EVERY}
        result = ask(served, contender, model, requests=requests // 2, **how)
        done += result.requests + result.left
    time.sleep(1)  # What was left is being closed.
    return Soak(
        requests=done,
        grown_mb=own_mb(served.pid) - before_mb,
        opened=descriptors(served.pid) - open_before,
    )


def measure(contenders: list[Contender], options: argparse.Namespace) -> Report:
    """Start all, and measure them in turn; what was measured is written after each."""
    report = Report(machine=machine(), figures={c.name: Figures(about=c.about) for c in contenders})
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream_port = free_port()
        upstream = subprocess.Popen([sys.executable, HERE / "upstream.py", str(upstream_port)])
        stack.callback(upstream.wait)
        stack.callback(upstream.terminate)
        running: list[tuple[Contender, Served, Figures]] = []
        for contender in contenders:
            say(f"starting {contender.name}")
            folder = _folder(root, contender)
            folder.mkdir()
            served = stack.enter_context(contender.running(folder, upstream_port))
            figures = report.figures[contender.name]
            figures.ready_s, figures.rest_mb = served.ready_s, memory_mb(served.pid)
            figures.installed_mb = contender.size() / 1e6
            running.append((contender, served, figures))
        for contender, served, figures in running:
            for model in (PLAIN, FRAMES):
                ask(served, contender, model, concurrency=16, seconds=WARM_UP_S)
            if contender.routes:
                _warm_up_routes(served, contender, root, figures)
        progress = Progress(steps=(options.rounds + 1) * len(running))
        for number in range(1, options.rounds + 1):
            for contender, served, figures in running:
                progress.step(f"round {number} of {options.rounds}, {contender.name}")
                _round(contender, served, figures, options.seconds)
                write(report, options.to)
        for contender, served, figures in running:
            progress.step(f"streams, overload and soak of {contender.name}")
            figures.streams = most_streams(served, contender)
            per_second = OVERLOAD_FACTOR * max(figures.per_second)
            figures.overload = overload(served, contender, per_second)
            figures.soak = soak(served, contender, options.requests, options.soak_seconds)
            write(report, options.to)
    return report


def _folder(root: Path, contender: Contender) -> Path:
    return root / contender.name.replace(" ", "-")


def _warm_up_routes(served: Served, contender: Contender, root: Path, figures: Figures) -> None:
    for _ in range(ROUTING_TRIES):  # The embedder is loaded by the first, which takes a while.
        ask(served, contender, AUTO, concurrency=16, seconds=WARM_UP_S)
        if decided_by_meaning(_folder(root, contender)):
            break
    else:
        raise SystemExit("no request was routed by its meaning: run `coe models pull` first")
    ask(served, contender, AUTO, concurrency=16, seconds=WARM_UP_S)
    figures.routing_mb = memory_mb(served.pid)


def _round(contender: Contender, served: Served, figures: Figures, seconds: float) -> None:
    plain_ms, per_second = cpu_ms(served, contender, PLAIN, seconds)
    stream_ms, _ = cpu_ms(served, contender, FRAMES, seconds)
    figures.plain_ms.append(plain_ms)
    figures.stream_ms.append(stream_ms)
    figures.per_second.append(per_second)
    if contender.routes:
        figures.auto_ms.append(cpu_ms(served, contender, AUTO, seconds)[0])
    for concurrency in CONCURRENCIES:
        found = ask(served, contender, PLAIN, concurrency=concurrency, seconds=seconds).latency_ms
        figures.latencies.append(Latency(concurrency=concurrency, **found))


def machine() -> Machine:
    """Say on what this runs."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    models = [
        line.partition(":")[2].strip() for line in cpuinfo.splitlines() if "model name" in line
    ]
    return Machine(
        cores=os.cpu_count() or 0,
        processor=statistics.mode(models) if models else platform.machine(),
        python=platform.python_version(),
        load=os.getloadavg()[0],
        at=datetime.now(UTC),
    )


@define
class Progress:
    """Says which step begins, and how long it has taken so far."""

    steps: int
    _begun: int = 0
    _began_s: float = field(factory=time.monotonic)

    def step(self, what: str) -> None:
        """Begin another."""
        self._begun += 1
        minutes = (time.monotonic() - self._began_s) / 60
        say(f"{self._begun} of {self.steps}, after {minutes:.1f} min: {what}")


def say(text: str) -> None:
    """Tell whoever waits."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print the table, and write the results."""
    names = [contender.name for contender in CONTENDERS]
    parser = argparse.ArgumentParser(prog="bench gateway", description=__doc__)
    parser.add_argument("--only", action="append", choices=names, help="Measure this one; repeat.")
    parser.add_argument("--rounds", type=int, default=3, help="How often each is measured.")
    parser.add_argument("--seconds", type=float, default=4.0, help="How long each load lasts.")
    parser.add_argument("--requests", type=int, default=100_000, help="Of the soak, at most.")
    parser.add_argument("--soak-seconds", type=float, default=120.0, help="Of the soak, at most.")
    parser.add_argument("--to", type=Path, default=ROOT / "bench" / "results", help="The folder.")
    options = parser.parse_args()
    chosen = [c for c in CONTENDERS if c.name in (options.only or names)]
    for contender in chosen:
        if missing := lacking(contender):
            say(f"left out: {contender.name} needs {missing}")
    chosen = [contender for contender in chosen if not lacking(contender)]
    for contender in chosen:
        contender.install()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("broken off"))  # All servers end with it.
    report = measure(chosen, options)
    print(f"{table(report)}\nWritten to {options.to}")


if __name__ == "__main__":
    main()
