"""`fdatasync` by Linux itself, which tells the event loop when it is done (`io_submit(2)`).

A thread that waits for the disk has to get the interpreter back afterwards, and until it has, wakes
at each system call of the busy loop: some thirty times for one sync. Here no thread waits.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import platform
import struct
import sys

_CALLS = {"x86_64": (206, 207, 209, 208), "aarch64": (0, 1, 2, 4)}
"""The numbers of io_setup, io_destroy, io_submit and io_getevents."""

_IOCB = struct.Struct("=QIIHhIQQqQII")
"""data, key, flags of reading, opcode, priority, file, buffer, bytes, offset, nothing, flags, the
eventfd to tell.
"""
_EVENT = struct.Struct("=QQqq")
"""data, iocb, result, second result."""

_FDSYNC = 3
_TELLS = 1


class KernelSync:
    """Syncs one file at a time. Made on the event loop that it tells. Raises `OSError` where the
    kernel has no such thing, or does not let us.
    """

    def __init__(self) -> None:
        """Set up what completed calls are read from."""
        numbers = _CALLS.get(platform.machine())
        if numbers is None or sys.platform != "linux" or sys.maxsize < 1 << 32:
            raise OSError("no such thing is known here")
        self._setup, self._destroy, self._submit, self._getevents = map(ctypes.c_long, numbers)
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.restype = ctypes.c_long
        self._context = ctypes.c_ulong(0)
        self._iocb = ctypes.create_string_buffer(_IOCB.size)
        self._iocbs = ctypes.pointer(ctypes.pointer(self._iocb))
        self._event = ctypes.create_string_buffer(_EVENT.size)
        self._waiting: asyncio.Future[None]
        self._loop = asyncio.get_running_loop()
        self._told = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            self._call(self._setup, ctypes.c_uint(1), ctypes.byref(self._context))
        except OSError:
            os.close(self._told)
            raise
        self._loop.add_reader(self._told, self._is_done)

    def sync(self, fd: int) -> asyncio.Future[None]:
        """Begin to sync a file; the result comes when it is on the disk, or is an `OSError`. Raises
        `OSError` if it could not be begun.
        """
        _IOCB.pack_into(
            self._iocb, 0, *(0, 0, 0), _FDSYNC, 0, fd, *(0, 0, 0, 0), _TELLS, self._told
        )
        self._waiting = self._loop.create_future()
        self._call(self._submit, self._context, ctypes.c_long(1), self._iocbs)
        return self._waiting

    def close(self) -> None:
        """Take it down. Nothing may be waited for."""
        self._loop.remove_reader(self._told)
        os.close(self._told)
        self._call(self._destroy, self._context)

    def _is_done(self) -> None:
        os.eventfd_read(self._told)
        one = ctypes.c_long(1)
        self._call(self._getevents, self._context, one, one, self._event, None)
        *_, result, _ = _EVENT.unpack(self._event)
        if result < 0:
            self._waiting.set_exception(OSError(-result, os.strerror(-result)))
        else:
            self._waiting.set_result(None)

    def _call(self, *arguments: object) -> None:
        if self._syscall(*arguments) < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
