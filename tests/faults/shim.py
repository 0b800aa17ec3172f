"""What stands between a process and the C library (`disk.c`), as seen from within the process."""

import ctypes
import enum
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("disk.c")


class Fault(enum.IntEnum):
    """What happens to a call that is struck."""

    FAILS = 0
    TEARS = 1
    """Half of the bytes are written, then it fails."""
    IS_SHORT = 2
    """Half of the bytes are written, and it says so."""
    FAILS_LATE = 3
    """All is done, and it says that it failed."""
    DIES = 4
    """The process is killed in place of the call."""
    DIES_TORN = 5
    """The process is killed when half of the bytes are written."""


def build(folder: Path) -> Path:
    """Compile it, to be named in LD_PRELOAD."""
    library = folder / "disk.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*command, "-o", library, SOURCE, "-ldl", "-lpthread"], check=True)
    return library


class Shim:
    """The one that is loaded into this process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.disk_fail.argtypes = [
            ctypes.c_long,
            ctypes.c_long,
            ctypes.c_int,
            ctypes.c_int,
        ]
        self._library.disk_calls.restype = ctypes.c_long

    def watch(self, folder: Path) -> None:
        """Look at what is opened below a folder from now on."""
        self._library.disk_watch(str(folder.resolve()).encode())

    def watch_server(self) -> None:
        """Look from now on at what is asked of any server that is connected to; what is struck
        there fails with ECONNRESET.
        """
        self._library.disk_watch_sockets()

    def record(self, fd: int) -> None:
        """Write every change to a file."""
        self._library.disk_record(fd)

    def mark(self, text: str) -> None:
        """Write that something happened."""
        self._library.disk_mark(text.encode())

    def strike(self, first: int, last: int, error: int, fault: Fault) -> None:
        """Count calls from 0 on, and let something happen to those."""
        self._library.disk_fail(first, last, error, fault)

    @property
    def calls(self) -> int:
        """How many calls there were."""
        return int(self._library.disk_calls())
