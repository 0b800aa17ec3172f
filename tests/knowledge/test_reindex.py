"""Everything is embedded by either runner, each content once, and whoever is killed goes on."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

NOTES = 400
CHUNK = 256


@define
class EmbeddingServer:
    """Speaks OpenAI's `/v1/embeddings`, and keeps what it was asked for."""

    texts: Counter[str] = field(factory=Counter)
    seen: threading.Condition = field(factory=threading.Condition)
    url: str = ""

    def answer(self, texts: list[str]) -> list[list[float]]:
        with self.seen:
            self.texts.update(text for text in texts if "Note" in text)
            self.seen.notify_all()
        return [[1.0, 0.0] if "shelf" in text else [0.0, 1.0] for text in texts]

    def wait_for(self, count: int) -> None:
        with self.seen:
            assert self.seen.wait_for(lambda: self.texts.total() >= count, timeout=120)


@pytest.fixture
def embedder() -> Iterator[EmbeddingServer]:
    told = EmbeddingServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            vectors = told.answer(body["input"])
            data = [
                {"object": "embedding", "index": number, "embedding": vector}
                for number, vector in enumerate(vectors)
            ]
            usage = {"prompt_tokens": len(vectors), "total_tokens": len(vectors)}
            answer = {"object": "list", "data": data, "model": "far", "usage": usage}
            content = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield told
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path, embedder: EmbeddingServer) -> Path:
    """Make a deployment with notes that wait to be embedded."""
    (tmp_path / "coe.toml").write_text(
        f"""
[coe]
embedder = "far"

[models.far]
provider = "openai"
model = "far"
capability = "embedding"
base_url = "{embedder.url}"
"""
    )
    notes = [f"# Note {number}\n\nThe shelf {number} holds it.\n" for number in range(NOTES)]
    (tmp_path / "notes.md").write_text("\n".join(notes))
    run(tmp_path, "add", "notes.md")
    return tmp_path


def run(folder: Path, *arguments: str) -> str:
    with subprocess.Popen(
        command(*arguments), cwd=folder, stdout=subprocess.PIPE, text=True
    ) as process:
        output, _ = process.communicate()
    assert process.returncode == 0
    return output


def command(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("coe")), "knowledge", *arguments]


@pytest.mark.parametrize(
    ("killed", "goes_on"),
    [
        ("local", "daft"),
        pytest.param("local", "local", marks=pytest.mark.faults),
        pytest.param("daft", "daft", marks=pytest.mark.faults),
    ],
)
def test_what_was_killed_goes_on(
    folder: Path, embedder: EmbeddingServer, killed: str, goes_on: str
) -> None:
    with subprocess.Popen(
        command("reindex", "--runner", killed), cwd=folder, start_new_session=True
    ) as process:
        embedder.wait_for(CHUNK + 1)
        os.killpg(process.pid, signal.SIGKILL)
    before = Counter(embedder.texts)
    assert set(before.values()) == {1}
    assert f"indexed {NOTES} passages" in run(folder, "reindex", "--runner", goes_on)
    again = embedder.texts - before
    assert len(embedder.texts) == NOTES
    assert max(again.values()) == 1
    if killed == "local":  # By Daft all chunks may be under way.
        assert again.total() <= NOTES - CHUNK
    whole = Counter(embedder.texts)
    told = json.loads(run(folder, "search", "Which shelf?", "--topk", "1", "--json"))
    assert "meaning 1.00" in told["passages"][0]["reason"]
    assert embedder.texts == whole
