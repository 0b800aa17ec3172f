"""Syncs that the kernel makes by itself. What it says of a failing disk, see `tests/faults`."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from coe_records.disk import APPENDING, Disk, TimedDisk
from coe_records.kernel_sync import KernelSync
from coe_records.window import Window


@pytest.fixture
async def kernel() -> AsyncIterator[KernelSync]:
    try:
        kernel = KernelSync()
    except OSError as error:
        pytest.skip(f"the kernel makes no syncs by itself here: {error}")
    yield kernel
    kernel.close()


async def test_syncs_one_file_after_the_other(kernel: KernelSync, tmp_path: Path) -> None:
    for number in range(20):
        fd = os.open(tmp_path / f"{number % 3}", APPENDING | os.O_CREAT)
        os.write(fd, b"what is to be on the disk")
        done = kernel.sync(fd)
        assert not done.done()
        assert await done is None
        os.close(fd)


async def test_says_what_cannot_be_synced(kernel: KernelSync, tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", APPENDING | os.O_CREAT)
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        kernel.sync(fd)
    reading, writing = os.pipe()
    with pytest.raises(OSError, match="Invalid argument"):
        kernel.sync(writing)
    os.close(reading)
    os.close(writing)


async def test_leaves_no_file_open(kernel: KernelSync) -> None:
    gc.collect()  # It closes what others left.
    before = count_files()
    for _ in range(3):
        KernelSync().close()
    assert count_files() == before


def count_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


async def test_is_measured_unless_it_cannot_be_begun(kernel: KernelSync, tmp_path: Path) -> None:
    syncs = Window()
    disk = TimedDisk(syncs)
    fd = disk.create(tmp_path / "file")
    done = disk.begin_sync(kernel, fd)
    assert done is not None
    assert syncs.quantiles(0.5) == {}
    await done
    await asyncio.sleep(0)
    assert syncs.quantiles(0.5)[0.5] > 0
    os.close(fd)
    assert disk.begin_sync(kernel, fd) is None
    assert Disk().begin_sync(kernel, fd) is None
