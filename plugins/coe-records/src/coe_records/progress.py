"""Progress of long work, for who waits at a terminal; a pipe or a file hears nothing of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from coe_records.log import Tell

STEPS = 1000
"""How often a bar is drawn at most: more often cannot be seen, and takes time."""


@contextmanager
def progress(label: str, length: int) -> Iterator[Tell]:
    """Show a bar on the error output; it is told how much more is done."""
    with click.progressbar(
        length=length,
        label=label,
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
        update_min_steps=max(1, length // STEPS),
    ) as bar:
        yield bar.update
