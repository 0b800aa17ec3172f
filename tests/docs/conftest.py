"""What a reader of the documentation has: a folder, a shell, CoE, and an upstream to talk to."""

import asyncio
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from coe_models_local.pull import pull

from coe_core.testing.postgres import new_schema
from coe_core.testing.upstream import Upstream

from .page import Reader

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def upstream_port() -> Iterator[int]:
    """The upstream of the pages, on 127.0.0.1:18080 there."""
    ready, ended, port = threading.Event(), threading.Event(), []

    async def serve() -> None:
        async with Upstream() as upstream:
            port.append(int(upstream.url.rpartition(":")[2].split("/")[0]))
            ready.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=asyncio.run, args=[serve()])
    thread.start()
    ready.wait()
    yield port[0]
    ended.set()
    thread.join()


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder for sockets, whose path is short, with no other server's model process in it."""
    with tempfile.TemporaryDirectory(prefix="coe") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of the bundled models, fetched as users fetch them."""
    return pull(print).parent


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def reader(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    sockets: Path,
    free_port: int,
    upstream_port: int,
    models: Path,
) -> Iterator[Reader]:
    """A reader who has installed CoE, and Postgres where the page is about that."""
    environment = {
        "COE_MODELS_DIR": str(models),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_RUNTIME_DIR": str(sockets),
        "COE_PLUGINS__SERVER__PORT": str(free_port),
    }
    page = request.node.callspec.params.get("page")
    if page is not None and page.stem == "postgres":
        environment["COE_DATABASE_URL"] = new_schema(request.getfixturevalue("postgres_url"))
    with Reader(tmp_path, environment, {8420: free_port, 18080: upstream_port}) as reader:
        yield reader
