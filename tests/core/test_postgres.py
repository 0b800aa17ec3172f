"""The Postgres for tests."""

import signal
import subprocess
import sys
import time

import psycopg
import pytest

from coe_core.testing.postgres import NoPostgres, _binary

RUN = """
import time
from coe_core.testing.postgres import cluster
with cluster() as server:
    print(server.url, flush=True)
    time.sleep(600)
"""


def test_does_not_outlive_who_started_it() -> None:
    """A test run that is killed cleans nothing up."""
    try:
        _binary("initdb")
    except NoPostgres as reason:
        pytest.skip(str(reason))
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
