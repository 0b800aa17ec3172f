"""How long `coe regress run` takes for a thousand cases.

Run with `python bench/regress.py [CASES]`. A deployment whose model is away is asked a question;
the failure is captured, written out as often as is wanted, each with a text of its own, and all are
replayed by the command that CI runs. CPU is that of the command, its start included.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from attrs import evolve
from coe_regress.folder import Folder

from coe_core.message import user

COE = Path(sys.executable).with_name("coe")
SETTINGS = """
[models.away]
provider = "openai"
model = "away"
base_url = "http://127.0.0.1:9/v1"
[routing]
default = "away"
[plugins.routing.routes.poems]
examples = ["write a poem", "a sonnet, please"]
model = "away"
[plugins.regress]
cases = "cases"
"""


def fail_once(folder: Path) -> None:
    """Let a turn fail, and capture it."""
    command = [COE, "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        url = next(iter(server.stdout or ())).split()[-1]
        body = {"model": "auto", "messages": [{"role": "user", "content": "Write a poem, please"}]}
        httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
        server.terminate()
    subprocess.run([COE, "regress", "capture", "--since", "1h"], cwd=folder, check=True)


def multiply(folder: Folder, cases: int) -> None:
    """Write the one case as often as is wanted, in place of it."""
    (file,), (case,) = folder.files(), folder.cases()
    file.unlink()
    for number in range(cases):
        request = evolve(case.request, messages=(user(f"Write poem number {number}"),))
        named = {"id": f"{case.id}-{number}", "signature": f"{case.signature}-{number}"}
        folder.write(evolve(case, **named, request=request, state="reviewed"))


def main(cases: int = 1000) -> None:
    """Print it."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "coe.toml").write_text(SETTINGS, encoding="utf-8")
        fail_once(folder)
        multiply(Folder(folder / "cases"), cases)
        subprocess.run([COE, "regress", "record"], cwd=folder, check=True)
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        ran = subprocess.run(
            [COE, "regress", "run"], cwd=folder, check=False, stdout=subprocess.PIPE, text=True
        )
        wall_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(ran.stdout.splitlines()[-1])
        print(f"{cases} cases: {cpu_s:.1f} s CPU, {wall_s:.1f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
