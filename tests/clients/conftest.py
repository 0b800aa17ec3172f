"""A real server for the clients: the bundled model, and an upstream that calls tools."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from scene import BUNDLED, CALLING

ROOT = Path(__file__).resolve().parents[2]
COE = ROOT / ".venv" / "bin" / "coe"


class CallingModel(BaseHTTPRequestHandler):
    """The far side of the wire: as a model that knows how to use tools."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        message = answer_to(body)
        reason = "tool_calls" if message.get("tool_calls") else "stop"
        usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
        frame = {"id": "1", "object": "chat.completion", "created": 1, "model": "calling"}
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": reason}
            self.reply(
                "application/json", json.dumps(frame | {"choices": [choice], "usage": usage})
            )
            return
        frame["object"] = "chat.completion.chunk"
        deltas = [*pieces_of(message), {}]
        chunks = [
            frame | {"choices": [{"index": 0, "delta": d, "finish_reason": None if d else reason}]}
            for d in deltas
        ]
        chunks.append(frame | {"choices": [], "usage": usage})
        events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        self.reply("text/event-stream", "".join([*events, "data: [DONE]\n\n"]))

    def reply(self, content_type: str, text: str) -> None:
        data = text.encode()
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the base class's name
        """Say nothing."""


def answer_to(body: dict[str, Any]) -> dict[str, Any]:
    last = body["messages"][-1]
    if last["role"] == "tool":
        return {"role": "assistant", "content": f"The tool says {last['content']}"}
    if not body.get("tools"):
        return {"role": "assistant", "content": "안녕하세요, there is no tool here."}
    function = body["tools"][0]["function"]
    properties = function["parameters"].get("properties", {})
    values = {"integer": 2, "number": 2.5, "string": "서울", "boolean": True, "array": []}
    arguments = {name: values.get(s.get("type"), "x") for name, s in properties.items()}
    call = {"name": function["name"], "arguments": json.dumps(arguments, ensure_ascii=False)}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
    }


def pieces_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    if content := message.get("content"):
        words = content.split(" ")
        return [
            {"role": "assistant", "content": words[0]},
            *({"content": f" {w}"} for w in words[1:]),
        ]
    [call] = message["tool_calls"]
    arguments = call["function"]["arguments"]
    half = len(arguments) // 2
    begun = call | {"index": 0, "function": call["function"] | {"arguments": arguments[:half]}}
    rest = {"index": 0, "function": {"arguments": arguments[half:]}}
    return [{"role": "assistant", "tool_calls": [begun]}, {"tool_calls": [rest]}]


@pytest.fixture(scope="session")
def upstream() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), CallingModel)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def base_url(upstream: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start `coe serve`; the address, with `/v1`."""
    folder = tmp_path_factory.mktemp("serve")
    config = folder / "coe.toml"
    config.write_text(
        f'[models.{CALLING}]\nprovider = "openai"\nbase_url = "{upstream}"\n', encoding="utf-8"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [COE, "serve", "--config", config, "--data", folder / "data", "--port", str(port)]
    # Its errors go to a file: nobody would read a pipe, and a full one would stop the server.
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/readyz", server, folder / "log")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(20)


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except OSError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
        else:
            return


@pytest.fixture(scope="session", autouse=True)
def _no_other_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the clients from whatever the machine's user has set up."""
    patch = pytest.MonkeyPatch()
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "LANGSMITH", "LLM_"))]:
        patch.delenv(name)
    patch.setenv("OPENAI_API_KEY", "none")
    patch.setenv("LLM_USER_PATH", str(tmp_path_factory.mktemp("llm")))
    patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    yield
    patch.undo()


@pytest.fixture(params=[BUNDLED, CALLING])
def model(request: pytest.FixtureRequest) -> str:
    """Each of the two models in turn."""
    return str(request.param)
