"""What CoE costs before it does anything: imports, start, memory, disk.

Run with `python3 noxfile.py bench footprint`. Times are CPU seconds unless they say otherwise; the
best of several runs is shown, since other work on the machine only ever adds.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

RUNS = 5
BIN = Path(sys.executable).parent
MEGABYTE = 1_000_000


def cpu_s(command: Sequence[str | Path]) -> float:
    """Run a command and return the CPU time of it and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def best(measure: Callable[[], float]) -> float:
    """Return the least of several runs."""
    return min(measure() for _ in range(RUNS))


def free_port() -> int:
    """Return a port that is free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, deadline_s: float) -> None:
    """Wait until an address answers."""
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).close()  # noqa: S310 our own loopback
        except OSError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.01)
        else:
            return


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) * 1024 / MEGABYTE if found else 0.0


def serve() -> dict[str, float]:
    """Start a server on an empty folder: seconds of wall time until ready and until an answer."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        server = subprocess.Popen(
            [BIN / "coe", "serve", "--port", str(port)],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/readyz", started + 30)
            ready_s = time.monotonic() - started
            memory_mb = resident_mb(server.pid)
            body = {"model": "local", "messages": [{"role": "user", "content": "Hello"}]}
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/v1/chat/completions",
                data=json.dumps(body | {"max_tokens": 8}).encode(),
                headers={"content-type": "application/json"},
            )
            urllib.request.urlopen(request, timeout=60).close()  # noqa: S310 our own loopback
            answered_s = time.monotonic() - started
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)
    return {"ready_s": ready_s, "memory_mb": memory_mb, "answered_s": answered_s}


def needs(name: str, seen: set[str]) -> set[str]:
    """Return a distribution and all that it needs here, extras left out."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in seen:
        return seen
    try:
        requirements = importlib.metadata.distribution(key).requires or []
    except importlib.metadata.PackageNotFoundError:
        return seen  # Of another platform or Python.
    seen.add(key)
    for requirement in requirements:
        if "extra ==" not in requirement:
            needs(re.split(r"[^\w.-]", requirement, maxsplit=1)[0], seen)
    return seen


def standard() -> list[str]:
    """List the distributions of the standard set."""
    requirements = importlib.metadata.requires("coe-core") or []
    chosen = [r for r in requirements if r.endswith("extra == 'standard'")]
    return ["coe-core", *(re.split(r"[^\w.-]", r, maxsplit=1)[0] for r in chosen)]


def size_mb(names: Sequence[str]) -> float:
    """Return what distributions and their needs take on disk, bytecode included."""
    every: set[str] = set()
    for name in names:
        needs(name, every)
    files = {
        Path(str(file.locate()))
        for name in every
        for file in importlib.metadata.distribution(name).files or []
    }
    return sum(path.stat().st_size for path in files if path.is_file()) / MEGABYTE


def models_mb() -> float:
    """Return what the models' files take that are no part of a distribution."""
    listed = subprocess.run(
        [BIN / "coe", "models", "list", "--json"], check=True, capture_output=True, text=True
    )
    fetched = [m for m in json.loads(listed.stdout) if "site-packages" not in m["folder"]]
    return sum(model["size_bytes"] for model in fetched) / MEGABYTE


def direct_dependencies(name: str) -> str:
    """List what a distribution itself asks for."""
    requirements = importlib.metadata.distribution(name).requires or []
    return ", ".join(
        sorted(re.split(r"[^\w.-]", r, maxsplit=1)[0] for r in requirements if "extra ==" not in r)
    )


def main() -> None:
    """Measure and print."""
    python = sys.executable
    nothing = best(lambda: cpu_s([python, "-c", ""]))
    libraries = best(lambda: cpu_s([python, "-c", "import attrs, cattrs, pluggy, loguru"]))
    core = best(lambda: cpu_s([python, "-c", "import coe_core"]))
    help_ = best(lambda: cpu_s([BIN / "coe", "--help"]))
    served = [serve() for _ in range(3)]
    rows = [
        ("python alone", nothing, "s CPU", ""),
        ("its four libraries", libraries, "s CPU", ""),
        ("import coe_core", core, "s CPU", "0.22"),
        ("coe --help", help_, "s CPU", "0.4"),
        ("server ready", min(s["ready_s"] for s in served), "s", "2.5"),
        ("memory, ready", min(s["memory_mb"] for s in served), "MB", "130"),
        ("first answer of the bundled model", min(s["answered_s"] for s in served), "s", "5"),
        ("core and server on disk", size_mb(["coe-core", "coe-server"]), "MB", "80"),
        ("standard set on disk, with models", size_mb(standard()) + models_mb(), "MB", "1100"),
    ]
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, best of {RUNS} runs")
    print(f"{'what':36} {'measured':>10} {'unit':6} {'at most':>8}")
    for what, value, unit, limit in rows:
        print(f"{what:36} {value:10.2f} {unit:6} {limit:>8}")
    for name in standard():
        print(f"{name} needs: {direct_dependencies(name)}")


if __name__ == "__main__":
    main()
