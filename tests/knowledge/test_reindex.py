"""Everything is embedded by either runner, each content once, and whoever is killed goes on.

Searches answer meanwhile as they did before.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import define, field

NOTES = 400
CHUNK = 256
COE = str(Path(sys.executable).with_name("coe"))


@define
class EmbeddingServer:
    """Speaks OpenAI's `/v1/embeddings`, and keeps what it was asked for."""

    texts: Counter[str] = field(factory=Counter)
    """Notes."""
    questions: Counter[str] = field(factory=Counter)
    """How often each model was asked for what is no note."""
    seen: threading.Condition = field(factory=threading.Condition)
    url: str = ""
    is_paced: bool = False
    """Whether notes wait for a search that is answered meanwhile."""
    answered: int = 0

    def answer(self, model: str, texts: list[str]) -> list[list[float]]:
        notes = [text for text in texts if "Note" in text]
        with self.seen:
            self.texts.update(notes)
            self.questions[model] += len(texts) - len(notes)
            self.seen.notify_all()
            if notes and self.is_paced:
                before = self.answered
                assert self.seen.wait_for(lambda: self.answered > before, timeout=60)
        rest = [0.0] * (len(model) - 3)  # Models have vectors of different lengths.
        return [[*((1.0, 0.0) if "shelf" in text else (0.0, 1.0)), *rest] for text in texts]

    def searched(self) -> None:
        with self.seen:
            self.answered += 1
            self.seen.notify_all()

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
            vectors = told.answer(body["model"], body["input"])
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
    embed_by(tmp_path, "far", embedder.url)
    notes = [f"# Note {number}\n\nThe shelf {number} holds it.\n" for number in range(NOTES)]
    (tmp_path / "notes.md").write_text("\n".join(notes))
    run(tmp_path, "add", "notes.md")
    return tmp_path


def embed_by(folder: Path, alias: str, url: str, more: str = "") -> None:
    """Write the settings, with one of two embedders in force."""
    models = [
        f"""
[models.{name}]
provider = "openai"
model = "{name}"
capability = "embedding"
base_url = "{url}"
"""
        for name in ("far", "farther")
    ]
    (folder / "coe.toml").write_text(f'[coe]\nembedder = "{alias}"\n{"".join(models)}{more}')


def run(folder: Path, *arguments: str) -> str:
    with subprocess.Popen(
        command(*arguments), cwd=folder, stdout=subprocess.PIPE, text=True
    ) as process:
        output, _ = process.communicate()
    assert process.returncode == 0
    return output


def command(*arguments: str) -> list[str]:
    return [COE, "knowledge", *arguments]


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command; what is left of it at the end is killed."""
    with subprocess.Popen(
        arguments, cwd=folder, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


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


@pytest.mark.faults
@pytest.mark.parametrize("runner", ["local", "daft"])
def test_searches_answer_as_before_while_another_embedder_embeds(
    folder: Path, embedder: EmbeddingServer, runner: str
) -> None:
    run(folder, "reindex")
    nobody_else = '[plugins.retrieval.components]\n"jobs.embed-passages" = false\n'
    embed_by(folder, "farther", embedder.url, nobody_else)
    with started(folder, COE, "serve", "--port", "0") as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        with httpx.Client(base_url=url, timeout=60) as client:
            before = hits(client)
            assert "meaning 1.00" in before[0]["reason"]
            assert not embedder.questions["farther"]
            embedder.is_paced = True
            with started(folder, *command("reindex", "--runner", runner)) as working:
                while working.poll() is None:
                    assert hits(client) == before
                    embedder.searched()
            assert working.returncode == 0
            assert set(embedder.texts.values()) == {2}
            asked = embedder.questions.copy()
            deadline = time.monotonic() + 60
            while embedder.questions["farther"] == asked["farther"]:  # Until the server has them.
                assert hits(client) == before
                assert time.monotonic() < deadline
            assert hits(client) == before


def hits(client: httpx.Client) -> list[dict[str, Any]]:
    """Search, and return what is found with scores and reasons: of meaning, or of words alone."""
    sought = {"text": "Which shelf?", "group_topk": 5}
    response = client.post("/coe/v1/knowledge/search", json=sought)
    response.raise_for_status()
    passages: list[dict[str, Any]] = response.json()["passages"]
    return passages
