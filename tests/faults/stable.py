"""A process that has imported what `coe` needs, and forks: a program then starts in no time.

`python -m tests.faults.stable` reads lines from its standard input, a folder and the arguments of
`coe` each, runs the program there in a process group of its own, and prints the process id. What
the program prints goes to `out` and `err` in that folder. It has one thread only.
"""

import json
import os
import signal
import sys

import alembic.command
import coe_records.journal
import coe_records.reader
import coe_records.writer
import coe_server.gateway
import coe_server.server
import coe_server.workers

from coe_core.cli.program import run

LOADED = (
    alembic.command,
    coe_records.journal,
    coe_records.reader,
    coe_records.writer,
    coe_server.gateway,
    coe_server.server,
    coe_server.workers,
)


def be(folder: str, arguments: list[str]) -> None:
    """Be the program."""
    os.setsid()
    os.chdir(folder)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(name, flags, 0o600), number)
    sys.stdout.reconfigure(line_buffering=True)
    code = 1
    try:
        code = run(arguments)
    finally:
        sys.stdout.flush()
        os._exit(code)


def main() -> None:
    """Fork until the input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while line := sys.stdin.readline():
        folder, arguments = json.loads(line)
        if (pid := os.fork()) == 0:
            be(folder, arguments)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
