"""What the record adds to a turn: CPU time through the whole server, with coe-records and without.

Run with `python3 noxfile.py bench recorded`. Two servers with one worker stand before the upstream
of the gateway's bench and are asked by its clients in turns; the one without keeps its records in
memory, and neither has what needs coe-records. Of the rounds the least CPU time of each counts,
since other work only adds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from itertools import product
from pathlib import Path

GATEWAY = Path(__file__).parent / "gateway"
sys.path.insert(0, str(GATEWAY))

import msgspec  # noqa: E402 the gateway's modules are no package
from contender import BIN, COE, Command, Contender, Served, free_port  # noqa: E402
from load import Load  # noqa: E402
from process import cpu_s  # noqa: E402
from upstream import FRAMES, PLAIN  # noqa: E402

ROUNDS = 5
SECONDS = 4.0
CONCURRENCY = (16, 64)
"""How many turns are asked for at once: the more, the more of them share a write."""
NEEDS_RECORDS = ("knowledge", "kpi", "regress")
WITH = "".join(f"\n[plugins.{name}]\nenabled = false\n" for name in NEEDS_RECORDS)
WITHOUT = WITH + "[plugins.records]\nenabled = false\n"


def command(settings: str, folder: Path, port: int, upstream_port: int) -> Command:
    """Serve without keys: nothing but turns is recorded."""
    text = COE.format(port=upstream_port) + settings
    (folder / "coe.toml").write_text(text, encoding="utf-8")
    return Command(
        arguments=[BIN / "coe", "serve", "--port", str(port)],
        environment={"UPSTREAM_KEY": "none"},
        health="/readyz",
    )


def cpu_ms(served: Served, model: str, concurrency: int) -> float:
    """Return the CPU time of one answer."""
    load = Load(
        port=served.port,
        path="/v1/chat/completions",
        headers={},
        model=model,
        stream=model != PLAIN,
        concurrency=concurrency,
        seconds=SECONDS,
    )
    before_s = cpu_s(served.pid)
    asked = [sys.executable, GATEWAY / "load.py", msgspec.json.encode(load)]
    told = subprocess.run(asked, check=True, stdout=subprocess.PIPE).stdout
    result = msgspec.json.decode(told)
    if result["errors"] or not result["requests"]:
        raise SystemExit(f"{result['errors']} errors: {result['example']}")
    return 1000 * (cpu_s(served.pid) - before_s) / int(result["requests"])


def main() -> None:
    """Measure both."""
    contenders = [
        Contender(name=name, about="", command=partial(command, settings))
        for name, settings in (("recorded", WITH), ("not recorded", WITHOUT))
    ]
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream_port = free_port()
        upstream = subprocess.Popen([sys.executable, GATEWAY / "upstream.py", str(upstream_port)])
        stack.callback(upstream.wait)
        stack.callback(upstream.terminate)
        servers = {}
        for contender in contenders:
            (folder := root / contender.name).mkdir()
            servers[contender.name] = stack.enter_context(contender.running(folder, upstream_port))
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        for model, concurrency in product((PLAIN, FRAMES), CONCURRENCY):
            found: dict[str, list[float]] = {name: [] for name in servers}
            for _ in range(ROUNDS):
                for name, served in servers.items():
                    found[name].append(cpu_ms(served, model, concurrency))
            recorded, plain = (min(found[contender.name]) for contender in contenders)
            print(
                f"{model:8} {concurrency:2} at once  {recorded:.2f} ms CPU recorded, "
                f"{plain:.2f} not: {100 * (recorded / plain - 1):+.0f} %"
            )


if __name__ == "__main__":
    main()
