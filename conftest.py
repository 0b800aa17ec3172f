"""What all tests share: how they are judged, and what they leave alone.

Under CI a skipped test is a failure: there, everything a test may need is installed.
"""

import os
import signal
import tempfile
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")  # A test is no benchmark, and the machine has more to do.


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """Take Ctrl-C as in a terminal: a shell's background job ignores it, and so would the processes
    that tests start and interrupt.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def runtime() -> Iterator[None]:
    """Have a folder for sockets, whose path is short: a model process that a server on this machine
    runs, or tests beside these, is none of ours.
    """
    with tempfile.TemporaryDirectory(prefix="coe") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", folder)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge a test that skipped itself."""
    report = yield
    fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Judge a file that skipped itself."""
    report = yield
    fail_if_skipped(report)
    return report


def fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure under CI.

    An expected failure is reported as skipped too; it stays what it is.
    """
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
