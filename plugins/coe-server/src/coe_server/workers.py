"""Several processes on one listening socket, forked from one that watches over them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from attrs import define, field
from loguru import logger

from coe_core.error import CoeError, StartRefused

READY, REFUSED = "+", "-"
"""What a worker's first and only word to its parent begins with."""
PAUSE_S = 1.0
"""Between the end of a worker and the start of the next in its place."""


@define
class Workers:
    """Keeps `count` workers alive until a signal ends them all.

    `work` serves until its process gets SIGTERM; as soon as it does it calls what it is given with
    a text, and `tell` gets the first worker's.
    """

    count: int
    work: Callable[[Callable[[str], None]], None]
    tell: Callable[[str], None]
    _pids: set[int] = field(factory=set, init=False)
    _lifeline: tuple[int, int] = field(factory=os.pipe, init=False)
    """A pipe that nobody writes to: its end tells the workers that the parent is gone."""
    _stopping: bool = field(default=False, init=False)

    def run(self) -> None:
        """Start them one after the other, and wait. Raises `StartRefused` if the first fails."""
        if not hasattr(os, "fork"):
            raise StartRefused("this system has no fork: serve with --workers 1")
        previous = {s: signal.signal(s, self._stop) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            if word := self._start():
                self.tell(word)
            self._watch()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _watch(self) -> None:
        self._fill()
        while self._pids:
            pid, status = os.wait()
            if pid not in self._pids:
                continue
            self._pids.discard(pid)
            if not self._stopping:
                logger.bind(pid=pid, status=status).error("a worker died; another takes its place")
                time.sleep(PAUSE_S)
                self._fill()

    def _fill(self) -> None:
        while len(self._pids) < self.count and not self._stopping:
            try:
                self._start()
            except StartRefused as error:
                logger.bind(error=error.message).error("a worker did not start; trying again")
                time.sleep(PAUSE_S)

    def _start(self) -> str:
        """Fork a worker, wait until it serves, and return what it says of itself."""
        reader, writer = os.pipe()
        if (pid := os.fork()) == 0:
            os.close(reader)
            self._live(writer)
        os.close(writer)
        self._pids.add(pid)
        if self._stopping:
            os.kill(pid, signal.SIGTERM)
        with os.fdopen(reader, encoding="utf-8") as pipe:
            word = pipe.read()
        if word.startswith(READY) or self._stopping:
            return word.removeprefix(READY)
        self._pids.discard(pid)
        _, status = os.waitpid(pid, 0)
        ended = f"a worker ended with status {status} while it started"
        raise StartRefused(word.removeprefix(REFUSED) or ended)

    def _live(self, writer: int) -> NoReturn:
        """Be a worker."""
        watched, parents_end = self._lifeline
        os.close(parents_end)
        threading.Thread(target=_end_with_parent, args=(watched,), daemon=True).start()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = 1
        try:
            self.work(lambda text: _say(writer, READY + text))
            code = 0
        except CoeError as error:
            _say(writer, REFUSED + error.message)
        except KeyboardInterrupt:
            pass
        except BaseException as error:
            logger.opt(exception=error).error("a worker failed")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._stopping = True
        for pid in self._pids:
            os.kill(pid, signal.SIGTERM)


def _end_with_parent(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _say(writer: int, word: str) -> None:
    with os.fdopen(writer, "w", encoding="utf-8") as pipe:
        pipe.write(word)
