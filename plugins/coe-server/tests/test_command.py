"""`coe serve` as a process."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from coe_server.command import banner

from coe_core.application import Application
from coe_core.http import HttpRequest, HttpResponse, HttpRoute
from coe_core.settings import Settings as Deployment

PROGRAM = (sys.executable, "-c", "from coe_core.cli import main; main()", "serve")


@contextlib.asynccontextmanager
async def serving(folder: Path, *options: str) -> AsyncIterator[tuple[Process, str]]:
    """Start on a free port, and give the process and its address."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, "--port", "0", "--data", str(folder / "data"), *options, cwd=folder, stdout=PIPE
    )
    try:
        assert process.stdout is not None
        first = (await process.stdout.readline()).decode()
        yield process, first.removeprefix("CoE serves on ").strip()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await ended(process)


async def refusal(folder: Path, *options: str) -> tuple[int | None, str]:
    """Start in vain, and give the exit code and what was said."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, *options, cwd=folder, stdout=PIPE, stderr=PIPE
    )
    out, err = await ended(process)
    assert out == b""
    return process.returncode, err.decode()


async def ended(process: Process) -> tuple[bytes, bytes]:
    """Wait for the end, and give what was said; one that goes on is killed."""
    try:
        async with asyncio.timeout(30):
            return await process.communicate()
    except TimeoutError:
        process.kill()
        raise


def only_line(text: str) -> str:
    """Check that it is one line, and no traceback."""
    assert text.count("\n") == 1
    assert text.startswith("error: ")
    return text


class TestRefusal:
    async def test_a_port_in_use(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            code, text = await refusal(tmp_path, "--port", str(port), "--data", str(tmp_path))
        assert code == 2
        assert f"cannot listen on 127.0.0.1 port {port}" in only_line(text)
        assert "--port" in text

    async def test_an_address_that_is_none(self, tmp_path: Path) -> None:
        code, text = await refusal(tmp_path, "--host", "no.such.host.invalid", "--port", "0")
        assert code == 2
        assert "no.such.host.invalid" in only_line(text)

    @pytest.mark.parametrize("workers", ["1", "2"])
    async def test_a_data_folder_that_cannot_be_written(self, tmp_path: Path, workers: str) -> None:
        (tmp_path / "file").touch()
        folder = tmp_path / "file" / "data"
        code, text = await refusal(
            tmp_path, "--port", "0", "--data", str(folder), "--workers", workers
        )
        assert code == 2
        assert str(folder) in only_line(text)

    @pytest.mark.parametrize(
        ("settings", "says"),
        [
            ("[coe\n", "coe.toml:1: "),
            ("[coe]\nrequired_plugins = ['absent']\n", "'absent' is required"),
        ],
    )
    async def test_settings_that_cannot_be_used(
        self, tmp_path: Path, settings: str, says: str
    ) -> None:
        (tmp_path / "coe.toml").write_text(settings)
        code, text = await refusal(tmp_path, "--port", "0")
        assert code == 2
        assert says in only_line(text)

    async def test_another_address_than_loopback_without_a_key(self, tmp_path: Path) -> None:
        code, text = await refusal(tmp_path, "--host", "0.0.0.0", "--port", "0")
        assert code == 2
        assert "coe keys create" in only_line(text)

    @pytest.mark.parametrize(("option", "value"), [("--port", "65536"), ("--workers", "0")])
    async def test_an_option_out_of_range(self, tmp_path: Path, option: str, value: str) -> None:
        code, text = await refusal(tmp_path, option, value)
        assert code == 2
        assert option in only_line(text)


class TestServing:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_answers_until_a_signal_ends_it(
        self, tmp_path: Path, number: signal.Signals
    ) -> None:
        async with serving(tmp_path) as (process, url), httpx.AsyncClient(base_url=url) as client:
            assert (await client.get("/healthz")).json() == {"status": "ok"}
            assert (await client.get("/readyz")).json()["status"] == "ready"
            process.send_signal(number)
            assert await process.wait() == 0

    async def test_goes_on_though_its_plugin_is_switched_off_meanwhile(
        self, tmp_path: Path
    ) -> None:
        async with serving(tmp_path) as (_, url), httpx.AsyncClient(base_url=url) as client:
            for plugin in ("server", "local"):
                code = "from coe_core.cli import main; main()"
                command = ("plugins", "disable", plugin, "--data", str(tmp_path / "data"))
                switching = await asyncio.create_subprocess_exec(
                    sys.executable, "-c", code, *command, cwd=tmp_path, stdout=PIPE
                )
                await ended(switching)
                assert switching.returncode == 0
            async with asyncio.timeout(10):
                while '"local"' in (await client.get("/v1/models")).text:
                    await asyncio.sleep(0.05)
            assert (await client.get("/healthz")).status_code == 200
        code_of_next, text = await refusal(tmp_path, "--data", str(tmp_path / "data"))
        assert code_of_next == 2
        assert "switched off" in only_line(text)

    async def test_options_come_before_the_settings(self, tmp_path: Path) -> None:
        (tmp_path / "coe.toml").write_text('[plugins.server]\nhost = "0.0.0.0"\nport = 1\n')
        async with (
            serving(tmp_path, "--host", "localhost") as (_, url),
            httpx.AsyncClient(base_url=url) as client,
        ):
            assert url.startswith("http://localhost:")
            assert (await client.get("/healthz")).status_code == 200

    @pytest.mark.skipif(sys.platform != "linux", reason="it looks for the workers under /proc")
    async def test_workers_share_the_port_and_one_that_dies_is_replaced(
        self, tmp_path: Path
    ) -> None:
        async with serving(tmp_path, "--workers", "2") as (process, url):
            before = await children_of(process, 2)
            os.kill(min(before), signal.SIGKILL)
            async with asyncio.timeout(20):
                while len(now := await children_of(process, 2)) < 2 or now == before:
                    await asyncio.sleep(0.05)
            async with httpx.AsyncClient(base_url=url) as client:
                assert (await client.get("/healthz")).status_code == 200
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
        assert not any(map(alive, before | now))

    @pytest.mark.skipif(sys.platform != "linux", reason="it looks for the workers under /proc")
    async def test_workers_do_not_outlive_a_parent_that_was_killed(self, tmp_path: Path) -> None:
        async with serving(tmp_path, "--workers", "2") as (process, _):
            workers = await children_of(process, 2)
            process.kill()
            async with asyncio.timeout(20):
                while any(map(alive, workers)):
                    await asyncio.sleep(0.05)
        assert not any(map(alive, workers))


async def children_of(process: Process, count: int) -> set[int]:
    """Wait until a process has that many children."""
    async with asyncio.timeout(20):
        while len(found := set(children(process.pid))) < count:
            await asyncio.sleep(0.05)
    return found


def children(pid: int) -> Iterator[int]:
    return map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class TestBanner:
    def application(self, *routes: HttpRoute) -> Application:
        return Application(
            settings=Deployment(),
            plugins=(),
            problems=(),
            services={},
            models={},
            parameters={},
            http_routes=routes,
        )

    def test_has_a_line_to_try(self) -> None:
        text = banner(self.application(), "http://127.0.0.1:1")
        assert "\nTry: curl http://127.0.0.1:1/v1/chat/completions -H " in text
        assert "Console" not in text

    def test_names_the_console_where_there_is_one(self) -> None:
        async def show(_: HttpRequest) -> HttpResponse:
            return HttpResponse()

        route = HttpRoute(method="GET", path="/console", handler=show, summary="")
        assert "\nConsole: http://a/console\n" in banner(self.application(route), "http://a")
