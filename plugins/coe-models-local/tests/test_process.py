"""The process of the chat model: shared, mortal, replaced."""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import attrs
import pytest
from coe_models_local.folder import runtime_folder
from coe_models_local.frame import Frame, read
from coe_models_local.process import ChatProcess
from coe_models_local.spec import Spec

from coe_core.error import ModelCrashed, SettingsError

STORY = {"messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": 1000}
WORD = {**STORY, "max_tokens": 1}

WORKER = """
import asyncio, json, sys
from coe_models_local.process import ChatProcess
from coe_models_local.spec import Spec

async def main():
    process = ChatProcess(Spec(**json.loads(sys.argv[1])))
    async with process.line() as line:
        print(line.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


PATIENT_CHILD = """
import asyncio, json, socket, sys
from coe_models_local import child
from coe_models_local.spec import Spec

child.LINGER_S = 3600
listener = socket.socket(fileno=int(sys.argv[2]))
asyncio.run(child._main(Spec(**json.loads(sys.argv[1])), listener))
"""


@pytest.fixture
def spec(gguf: Path, tmp_path: Path) -> Spec:
    """A model that no other test has a process for."""
    path = tmp_path / "model.gguf"
    path.symlink_to(gguf)
    return Spec(path=str(path), context_tokens=256, slots=1, threads=1, batch_tokens=8)


@pytest.fixture
async def process(spec: Spec) -> AsyncIterator[ChatProcess]:
    """A process, as one server has it."""
    made = ChatProcess(spec)
    yield made
    await made.close()


async def answer(process: ChatProcess) -> int:
    """Ask for a word; returns the pid of who gave it."""
    async with process.line() as line:
        assert [chunk async for chunk in line.ask("a", WORD)]
        return line.pid


async def end_of(pid: int) -> None:
    """Wait until a process has ended, ours or not."""
    descriptor = os.pidfd_open(pid)
    try:
        ended, _, _ = await asyncio.to_thread(select.select, [descriptor], [], [], 10)
        assert ended, f"process {pid} goes on"
    finally:
        os.close(descriptor)


async def test_a_killed_process_is_one_clear_error_and_then_replaced(process: ChatProcess) -> None:
    async with process.line() as line:
        chunks = line.ask("a", STORY)
        assert await anext(chunks)
        os.kill(line.pid, signal.SIGKILL)
        with pytest.raises(ModelCrashed, match="died while it answered; it is started again") as e:
            await _rest(chunks)
    assert e.value.retryable
    assert await answer(process) != line.pid


async def test_all_who_wait_for_a_killed_process_learn_of_it(process: ChatProcess) -> None:
    async with process.line() as first, process.line() as second:
        writes, waits = first.ask("a", STORY), second.ask("a", STORY)
        assert await anext(writes)
        waiting = asyncio.ensure_future(anext(waits))
        await asyncio.sleep(0)
        os.kill(first.pid, signal.SIGKILL)
        for chunks in (_rest(writes), waiting):
            with pytest.raises(ModelCrashed):
                await chunks


async def _rest(chunks: AsyncIterator[Frame]) -> None:
    async for _ in chunks:
        pass


async def test_a_process_that_died_idle_is_not_noticed(process: ChatProcess) -> None:
    pid = await answer(process)
    os.kill(pid, signal.SIGKILL)
    await end_of(pid)
    assert await answer(process) != pid


async def test_servers_share_a_process(process: ChatProcess, spec: Spec) -> None:
    others = [ChatProcess(spec) for _ in range(3)]
    pids = await asyncio.gather(*map(answer, [process, *others]))
    for other in others:
        await other.close()
    assert len(set(pids)) == 1


async def test_another_model_has_another_process(process: ChatProcess, spec: Spec) -> None:
    other = ChatProcess(attrs.evolve(spec, context_tokens=512))
    assert await answer(process) != await answer(other)
    await other.close()


async def test_a_replaced_file_is_another_model(
    process: ChatProcess, spec: Spec, gguf: Path
) -> None:
    before = await answer(process)
    os.remove(spec.path)  # noqa: PTH107
    shutil.copy(gguf, spec.path)
    assert await answer(process) != before


async def test_it_ends_after_its_last_client(process: ChatProcess, spec: Spec) -> None:
    other = ChatProcess(spec)
    pid = await answer(process)
    assert await answer(other) == pid
    await process.close()
    assert await answer(other) == pid
    await other.close()
    await end_of(pid)


async def test_it_ends_when_its_server_is_killed(spec: Spec) -> None:
    argument = json.dumps(attrs.asdict(spec))
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WORKER, argument), stdout=subprocess.PIPE
    )
    assert worker.stdout is not None
    pid = int(await worker.stdout.readline())
    worker.kill()
    await worker.wait()
    await end_of(pid)


async def test_a_process_whose_model_cannot_be_loaded_waits_for_nobody(
    gguf: Path, spec: Spec, tmp_path: Path
) -> None:
    half = tmp_path / "half.gguf"
    with gguf.open("rb") as whole:
        half.write_bytes(whole.read(100_000))
    broken = json.dumps(attrs.asdict(attrs.evolve(spec, path=str(half))))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        listener.listen()
        command = [sys.executable, "-c", PATIENT_CHILD, broken, str(listener.fileno())]
        child = await asyncio.create_subprocess_exec(*command, pass_fds=[listener.fileno()])
    reader, writer = await asyncio.open_unix_connection(tmp_path / "sock")
    told = await read(reader)
    assert told is not None
    assert told["error"]["type"] == "load_error"
    writer.close()
    try:
        await end_of(child.pid)
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def test_signals_for_the_service_leave_its_turns_alone(process: ChatProcess) -> None:
    async with process.line() as line:
        chunks = line.ask("a", {**STORY, "max_tokens": 5})
        assert await anext(chunks)
        os.kill(line.pid, signal.SIGTERM)
        os.kill(line.pid, signal.SIGINT)
        assert [chunk async for chunk in chunks][-1]["usage"]["completion_tokens"]
    assert await answer(process) == line.pid


async def test_only_the_same_group_reads_a_cache(process: ChatProcess) -> None:
    cached = []
    for group in ("a", "b", "b", "a"):
        async with process.line() as line:
            chunks = [chunk async for chunk in line.ask(group, WORD)]
        cached.append(chunks[-1]["usage"]["prompt_tokens_details"]["cached_tokens"] > 0)
    assert cached == [False, False, True, False]


async def test_a_folder_open_to_others_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "coe").mkdir(mode=0o777)
    (tmp_path / "coe").chmod(0o777)
    with pytest.raises(SettingsError, match="open to others"):
        runtime_folder()


async def test_a_folder_that_cannot_be_made_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere")
    with pytest.raises(SettingsError, match="Let XDG_RUNTIME_DIR name one"):
        runtime_folder()
