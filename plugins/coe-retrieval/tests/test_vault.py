"""The vault gives back what it was given, whatever ended the process that wrote."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from coe_retrieval.vault import Vault, table_name
from moto.server import ThreadedMotoServer

from coe_core.identity import uuid7

WRITER = """
import sys
import numpy as np
from coe_retrieval.vault import Vault

vault, number = Vault(sys.argv[1]), 0
while True:
    vault.save("layer", "embedder", [f"{number:064x}"], np.full((1, 4), number, np.float32))
    print(number, flush=True)
    number += 1
"""


@pytest.fixture(params=["folder", "bucket"])
def vault(request: pytest.FixtureRequest, tmp_path: Path) -> Vault:
    """Return an empty one: in a folder, and in an object storage on loopback."""
    if request.param == "folder":
        return Vault(str(tmp_path / "vectors"))
    uri, options = request.getfixturevalue("object_storage")
    return Vault(f"{uri}/{uuid7()}", options)


@pytest.fixture(scope="module")
def object_storage() -> Iterator[tuple[str, dict[str, str]]]:
    """Run one on loopback, with a bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    request = urllib.request.Request(f"{endpoint}/vectors", method="PUT")
    urllib.request.urlopen(request).close()
    options = {
        "endpoint": endpoint,
        "region": "us-east-1",
        "allow_http": "true",
        "access_key_id": "nobody",
        "secret_access_key": "nothing",
    }
    yield "s3://vectors", options
    server.stop()


def digests(*numbers: int) -> list[str]:
    return [f"{number:064x}" for number in numbers]


def rows(count: int, width: int = 4) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(count).normal(size=(count, width)).astype(np.float32)


def test_gives_back_what_is_wanted(vault: Vault) -> None:
    kept = rows(3)
    vault.save("layer", "embedder", digests(1, 2, 3), kept)
    vault.save("layer", "embedder", digests(2), rows(1))  # Known: the first stays.
    found = vault.load("layer", "embedder", digests(2, 3, 4))
    assert set(found) == set(digests(2, 3))
    np.testing.assert_array_equal(found[digests(2)[0]], kept[1])
    assert not vault.load("another", "embedder", digests(1))
    assert not vault.load("layer", "another", digests(1))


def test_nothing_is_lost_by_asking_for_nothing(vault: Vault) -> None:
    vault.save("layer", "embedder", digests(1), rows(1))
    assert vault.load("layer", "embedder", []) == {}
    assert set(vault.load("layer", "embedder", digests(1))) == set(digests(1))


def test_vectors_of_another_length_replace_the_table(vault: Vault) -> None:
    vault.save("layer", "embedder", digests(1), rows(1))
    vault.save("layer", "embedder", digests(2), rows(1, 8))
    assert set(vault.load("layer", "embedder", digests(1, 2))) == set(digests(2))


def test_forgets_what_is_not_used(vault: Vault) -> None:
    vault.save("layer", "embedder", digests(*range(10)), rows(10))
    vault.tidy("layer", "embedder", set(digests(3)))
    assert set(vault.load("layer", "embedder", digests(*range(10)))) == set(digests(3))


def test_tells_what_it_keeps(vault: Vault) -> None:
    assert vault.digests("layer", "embedder") == set()
    vault.save("layer", "embedder", digests(*range(20)), rows(20))
    assert vault.digests("layer", "embedder") == set(digests(*range(20)))
    vault.tidy("layer", "embedder", set())
    assert vault.digests("layer", "embedder") == set()
    vault.tidy("layer", "embedder", set())


def test_an_empty_vault_needs_no_lancedb(tmp_path: Path) -> None:
    look = (
        "import sys; from coe_retrieval.vault import Vault; "
        "assert not Vault(sys.argv[1]).load('layer', 'embedder', ['0']); "
        "assert 'lancedb' not in sys.modules and 'pyarrow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", look, tmp_path / "none"], check=True)


def _kill_after(folder: Path, count: int) -> int:
    """Let a process write until it has told of some writes, kill it, and return how many."""
    command = [sys.executable, "-c", WRITER, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [int(next(writer.stdout)) for _ in range(count)]
        os.kill(writer.pid, signal.SIGKILL)
    return told[-1] + 1


@pytest.mark.parametrize(
    "count", [3, *(pytest.param(count, marks=pytest.mark.faults) for count in range(4, 24))]
)
def test_a_killed_writer_loses_nothing_that_it_told_of(tmp_path: Path, count: int) -> None:
    written = _kill_after(tmp_path / "vectors", count)
    again = Vault(str(tmp_path / "vectors"))
    found = again.load("layer", "embedder", digests(*range(written)))
    assert set(found) == set(digests(*range(written)))
    again.save("layer", "embedder", digests(1000), rows(1))
    assert again.load("layer", "embedder", digests(1000))


def test_what_one_worker_keeps_another_finds(vault: Vault) -> None:
    elsewhere = Vault(vault.uri, vault.storage_options)
    vault.save("layer", "embedder", digests(1, 2, 3), rows(3))
    assert set(elsewhere.load("layer", "embedder", digests(1, 2, 3))) == set(digests(1, 2, 3))
    elsewhere.tidy("layer", "embedder", set(digests(1, 2)))
    assert set(vault.load("layer", "embedder", digests(1, 2, 3))) == set(digests(1, 2))


def test_what_cannot_be_read_is_given_up(vault: Vault) -> None:
    import lancedb

    vault.save("layer", "embedder", digests(1), rows(1))
    options = dict(vault.storage_options) or None
    table = lancedb.connect(vault.uri, storage_options=options).open_table(
        table_name("layer", "embedder")
    )
    table.drop_columns(["vector"])
    assert not vault.load("layer", "embedder", digests(1))
    assert not vault.digests("layer", "embedder")
    vault.save("layer", "embedder", digests(1), rows(1))
    assert set(vault.load("layer", "embedder", digests(1))) == set(digests(1))
