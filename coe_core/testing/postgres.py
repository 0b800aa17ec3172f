"""A Postgres to test with: the one that `COE_TEST_POSTGRES_URL` names, or else a throwaway one."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from attrs import define, field

ADDRESS = "COE_TEST_POSTGRES_URL"

SETTINGS = {
    "fsync": "off",  # Nobody pulls the plug on a test.
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "autovacuum": "off",
}


class NoPostgres(Exception):
    """There is none to test with; the message says what to install or to set."""


@define
class Cluster:
    """A Postgres of our own, in a folder of its own, reached through a socket there."""

    _folder: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """Where it is; the user may do everything."""
        return f"postgresql:///postgres?host={quote(str(self._folder), safe='')}&user=coe"

    def make(self) -> None:
        """Make the cluster; Postgres refuses to run as root."""
        if os.geteuid() == 0:
            shutil.chown(self._folder, _unprivileged())
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        self._run("initdb", "-D", self._folder / "data", "-U", "coe", *options).wait()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        settings = {**SETTINGS, "unix_socket_directories": str(self._folder)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        # With whoever runs the tests, however that ends; setpriv is util-linux's.
        tied = ["setpriv", "--pdeathsig", "QUIT"] if shutil.which("setpriv") else []
        log = self._folder / "server.log"  # Not a pipe: once one is full, the server waits.
        with log.open("w") as file:
            self._process = self._run(
                "postgres", "-D", self._folder / "data", *options, before=tied, log=file.fileno()
            )
        while "ready to accept connections" not in log.read_text(encoding="utf-8"):
            if self._process.poll() is not None:
                said = log.read_text(encoding="utf-8")
                raise NoPostgres(f"the Postgres for tests did not start: {said}")
            time.sleep(0.02)

    def stop(self, *, at_once: bool = False) -> None:
        """Stop the server, as for a restart, or as if its machine had failed."""
        if self._process is not None:
            self._run(
                "pg_ctl",
                "-D",
                self._folder / "data",
                "-m",
                "immediate" if at_once else "fast",
                "stop",
            ).wait()
            self._process.wait()
            self._process = None

    def _run(
        self,
        name: str,
        *arguments: str | Path,
        before: Sequence[str] = (),
        log: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 one of Postgres's own commands
            [*before, _binary(name), *arguments],
            stdout=subprocess.DEVNULL,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd=self._folder,
            user=_unprivileged() if os.geteuid() == 0 else None,
        )


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Run a cluster of one's own, to stop and start. Raises `NoPostgres`."""
    _binary("initdb")
    # Not below a test's folder: a socket's path may have a hundred characters.
    with tempfile.TemporaryDirectory(prefix="coe-postgres-") as name:
        made = Cluster(Path(name))
        made.make()
        made.start()
        try:
            yield made
        finally:
            made.stop(at_once=True)


@contextmanager
def server() -> Iterator[str]:
    """Yield the address of a Postgres to make schemas in. Raises `NoPostgres`."""
    if given := os.environ.get(ADDRESS):
        yield given
        return
    with cluster() as ours:
        yield ours.url


def new_schema(url: str) -> str:
    """Make an empty schema, and return the address by which nothing else is seen."""
    import psycopg

    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{name}"


def _binary(name: str) -> Path:
    """Find one of Postgres's commands, which Debian does not put on the path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    for folder in (Path(shutil.which(name) or "/nowhere").parent, *folders):
        if os.access(folder / name, os.X_OK):
            return folder / name
    raise NoPostgres(f"there is no {name}: install postgresql, or set {ADDRESS}")


def _version(folder: Path) -> float:
    return float(folder.parent.name)


def _unprivileged() -> str:
    """Name whoever may run a server: Postgres's own user, where there is one."""
    known = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"
