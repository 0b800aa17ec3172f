"""The Postgres for tests."""

import signal
import subprocess
import sys
import time

import psycopg
import pytest

from coe_core.testing.postgres import NoPostgres, _binary, cluster

RUN = """
import time
from coe_core.testing.postgres import cluster
with cluster() as server:
    print(server.url, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def postgres() -> None:
    """Skip where there is none."""
    try:
        _binary("initdb")
    except NoPostgres as reason:
        pytest.skip(str(reason))


def test_goes_on_however_much_it_says() -> None:
    """It logs each statement that fails: more, in time, than a pipe holds that nobody reads."""
    with cluster() as server, psycopg.connect(server.url, autocommit=True) as session:
        for _ in range(20):
            with pytest.raises(psycopg.errors.UndefinedColumn):
                session.execute(f"SELECT nothing AS {10_000 * ' '} a")


def test_does_not_outlive_who_started_it() -> None:
    """A test run that is killed cleans nothing up."""
    started = subprocess.Popen([sys.executable, "-c", RUN], stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    url = started.stdout.readline().strip()
    psycopg.connect(url).close()
    started.send_signal(signal.SIGKILL)
    started.communicate()
    until_s = time.monotonic() + 30
    while time.monotonic() < until_s:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            return
        time.sleep(0.05)
    raise AssertionError("the server goes on")
