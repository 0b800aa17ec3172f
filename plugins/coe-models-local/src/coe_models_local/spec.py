"""What a model's process is started with."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Spec:
    """A model and how to run it. Equal specs share a process."""

    path: str
    context_tokens: int
    """Of each slot."""
    slots: int
    threads: int
    batch_tokens: int
    """How much of a prompt is read between two looks at whether anyone still waits for it."""
