"""The servers that are compared: how each is installed, configured and started.

Peers are downloaded by the bench into folders of their own, and configured to do what they can of
what CoE does on the same path: check a key, keep a fallback ready, write a log of requests.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import field, frozen

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PEERS = ROOT / ".nox" / "peers"
BIN = Path(sys.executable).parent
READY_WITHIN_S = 90.0

LITELLM = "litellm[proxy]==1.106.0"
PORTKEY = "@portkey-ai/gateway@1.15.2"
LITELLM_KEY = "sk-bench"


@frozen(kw_only=True)
class Served:
    """A server that runs."""

    pid: int
    port: int
    headers: dict[str, str] = field(factory=dict)
    others_headers: dict[str, str] = field(factory=dict)
    """Of another group; the same where a server knows no groups."""
    ready_s: float
    """Wall time from its start until it took connections and answered."""


@frozen(kw_only=True)
class Command:
    """How a server is started, and what its clients send along."""

    arguments: Sequence[str | Path]
    environment: dict[str, str] = field(factory=dict)
    headers: dict[str, str] = field(factory=dict)
    others_headers: dict[str, str] = field(factory=dict)
    health: str = "/v1/models"


@frozen(kw_only=True)
class Contender:
    """A server to be measured."""

    name: str
    about: str
    command: Callable[[Path, int, int], Command]
    """Given an empty folder, the port to listen on and the upstream's port."""
    install: Callable[[], None] = lambda: None
    size: Callable[[], float] = lambda: math.nan
    """What is installed of it, in bytes."""
    path: str = "/v1/chat/completions"
    routes: bool = False
    """Whether it decides by meaning where a request for `auto` goes."""

    @contextmanager
    def running(self, folder: Path, upstream_port: int) -> Iterator[Served]:
        """Start it in a folder, and end it with all its processes."""
        port = free_port()
        command = self.command(folder, port, upstream_port)
        began_s = time.monotonic()
        with (folder / "log.txt").open("wb") as log:
            process = subprocess.Popen(
                command.arguments,
                cwd=folder,
                env=os.environ | command.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _wait(process, port, command, folder)
            ready_s = time.monotonic() - began_s
            yield Served(
                pid=process.pid,
                port=port,
                headers=command.headers,
                others_headers=command.others_headers or command.headers,
                ready_s=ready_s,
            )
        finally:
            _end(process)


def _wait(process: subprocess.Popen[bytes], port: int, command: Command, folder: Path) -> None:
    deadline_s = time.monotonic() + READY_WITHIN_S
    headers = "".join(f"{name}: {value}\r\n" for name, value in command.headers.items())
    headers += "host: 127.0.0.1\r\nconnection: close\r\n"
    asked = f"GET {command.health} HTTP/1.1\r\n{headers}\r\n"
    while not _answers(port, asked.encode()):
        if process.poll() is not None or time.monotonic() > deadline_s:
            said = (folder / "log.txt").read_text(errors="replace")[-2000:]
            raise SystemExit(f"{command.arguments[0]} did not start:\n{said}")
        time.sleep(0.02)


def _answers(port: int, asked: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            client.sendall(asked)
            return client.recv(64).startswith(b"HTTP/1.1 ")
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    """Return a port that is free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def folder_bytes(folder: Path) -> int:
    """Add up a folder's files."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def _passthrough(folder: Path, port: int, upstream_port: int) -> Command:
    del folder
    script = HERE / "passthrough.py"
    return Command(arguments=[sys.executable, script, str(port), str(upstream_port)])


def _coe(workers: int) -> Callable[[Path, int, int], Command]:
    def command(folder: Path, port: int, upstream_port: int) -> Command:
        (folder / "coe.toml").write_text(COE.format(port=upstream_port), encoding="utf-8")
        return Command(
            arguments=[BIN / "coe", "serve", "--port", str(port), "--workers", str(workers)],
            environment={"UPSTREAM_KEY": "none"},
            headers=_key(folder, "bench"),
            others_headers=_key(folder, "others"),
            health="/readyz",
        )

    return command


def _key(folder: Path, group: str) -> dict[str, str]:
    """Make a key of a group."""
    make = [BIN / "coe", "keys", "create", "--group", group]
    made = subprocess.run(make, cwd=folder, check=True, capture_output=True, text=True)
    return {"authorization": f"Bearer {made.stdout.split()[-1]}"}


COE = """\
[routing]
default = "plain"
fallbacks = {{ plain = ["frames"], paced = ["frames"] }}

[groups.bench]
budget_usd_month = 1000000

[groups.others]
budget_usd_month = 1000000

[models.plain]
provider = "openai"
base_url = "http://127.0.0.1:{port}/v1"
api_key = "env:UPSTREAM_KEY"
price = {{ input = 0.15, output = 0.6 }}

[models.frames]
provider = "openai"
base_url = "http://127.0.0.1:{port}/v1"
api_key = "env:UPSTREAM_KEY"
price = {{ input = 0.15, output = 0.6 }}

[models.paced]
provider = "openai"
base_url = "http://127.0.0.1:{port}/v1"
api_key = "env:UPSTREAM_KEY"
price = {{ input = 0.15, output = 0.6 }}

[plugins.routing.routes.printers]
description = "Setting up printers, and what to do when they fail"
examples = [
    "How do I set up the printer?", "the printer on my floor does not print",
    "whom do I ask about the printer?", "프린터 설치는 어떻게 하나요", "프린터가 안 돼요",
]
model = "plain"

[plugins.routing.routes.travel]
description = "Booking trains, flights and hotels"
examples = [
    "book me a flight to Busan", "which hotel may I take", "I need a train ticket for Monday",
    "부산 가는 기차표 예매해 줘", "출장 숙소는 어디로 잡나요",
]
model = "frames"
"""


def decided_by_meaning(folder: Path) -> bool:
    """Tell whether the record of a CoE that ran in a folder has turns that meaning decided."""
    logs = folder.glob("coe-data/events/*/interactions*.jsonl")
    return any(b'"router":"semantic"' in log.read_bytes() for log in logs)


def _nginx(folder: Path, port: int, upstream_port: int) -> Command:
    text = NGINX.format(folder=folder, port=port, upstream_port=upstream_port)
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    return Command(arguments=["nginx", "-p", folder, "-e", folder / "e.log", "-c", "nginx.conf"])


NGINX = """\
daemon off;
worker_processes 1;
pid nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log access.log;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    keepalive_requests 1000000;
    upstream model {{
        server 127.0.0.1:{upstream_port};
        keepalive 1024;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        location / {{
            proxy_pass http://model;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


def _install_litellm() -> None:
    folder = PEERS / "litellm"
    if (folder / "bin" / "litellm").is_file():
        return
    uv = ROOT / ".nox" / "tools" / "bin" / "uv"
    subprocess.run([uv, "venv", "--clear", "-p", sys.executable, folder], check=True)
    install = [uv, "pip", "install", "--compile-bytecode", "-p", folder, LITELLM]
    subprocess.run(install, check=True)


def _litellm(folder: Path, port: int, upstream_port: int) -> Command:
    (folder / "config.yaml").write_text(LITELLM_CONFIG.format(port=upstream_port), encoding="utf-8")
    program = PEERS / "litellm" / "bin" / "litellm"
    return Command(
        arguments=[program, "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)],
        environment={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"},
        headers={"authorization": f"Bearer {LITELLM_KEY}"},
    )


LITELLM_CONFIG = """\
model_list:
  - model_name: plain
    litellm_params:
      {{ model: openai/plain, api_base: "http://127.0.0.1:{port}/v1", api_key: none }}
  - model_name: frames
    litellm_params:
      {{ model: openai/frames, api_base: "http://127.0.0.1:{port}/v1", api_key: none }}
  - model_name: paced
    litellm_params:
      {{ model: openai/paced, api_base: "http://127.0.0.1:{port}/v1", api_key: none }}
router_settings:
  fallbacks: [{{ plain: [frames] }}, {{ paced: [frames] }}]
general_settings:
  master_key: sk-bench
"""


def _install_portkey() -> None:
    folder = PEERS / "portkey"
    if not (folder / "node_modules" / "@portkey-ai").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--silent", "--prefix", folder, PORTKEY], check=True)


def _portkey(folder: Path, port: int, upstream_port: int) -> Command:
    del folder
    script = PEERS / "portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
    return Command(
        arguments=["node", script, "--headless", f"--port={port}"],
        environment={"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"},
        headers={
            "authorization": "Bearer none",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"http://127.0.0.1:{upstream_port}/v1",
        },
        health="/",
    )


def lacking(contender: Contender) -> str:
    """Name the program that a contender needs and that is not here, "" when it can run."""
    needed = {"nginx": ("nginx",), "portkey": ("node", "npm")}.get(contender.name, ())
    return ", ".join(program for program in needed if not shutil.which(program))


COE_1, PASSTHROUGH = "coe, 1 worker", "pass-through"

CONTENDERS = (
    Contender(
        name=PASSTHROUGH,
        about="bytes passed on, on the same stack: the limit of this approach",
        command=_passthrough,
    ),
    Contender(
        name="nginx",
        about="a plain reverse proxy with an access log: the limit",
        command=_nginx,
    ),
    Contender(
        name=COE_1,
        about="key, budget, fallback, ledger, durable record, KPIs",
        command=_coe(1),
        routes=True,
    ),
    Contender(
        name="coe, 2 workers", about="the same, in two processes", command=_coe(2), routes=True
    ),
    Contender(
        name="litellm",
        about=f"{LITELLM}: key, fallback; no database, so no ledger and no record",
        command=_litellm,
        install=_install_litellm,
        size=lambda: folder_bytes(PEERS / "litellm"),
    ),
    Contender(
        name="portkey",
        about=f"{PORTKEY}: neither key, nor budget, nor record",
        command=_portkey,
        install=_install_portkey,
        size=lambda: folder_bytes(PEERS / "portkey"),
    ),
)
