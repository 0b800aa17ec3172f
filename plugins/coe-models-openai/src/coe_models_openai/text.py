"""Text that comes in many pieces at once: what nobody saw apart goes on as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from coe_core.model import Chunk


def joined(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Join neighbouring chunks that bring nothing but text of the same choice.

    They are the frames of one read: none waits for another. So a process that has more to do than
    it can does less for each frame, and catches up. Whatever `chunks` raises comes after what it
    gave before.
    """
    run: list[Chunk] = []
    try:
        for chunk in chunks:
            if run and not _goes_on(run[-1], chunk):
                yield _one(run)
                run = []
            run.append(chunk)
    except Exception:
        if run:
            yield _one(run)
        raise
    if run:
        yield _one(run)


def _goes_on(chunk: Chunk, following: Chunk) -> bool:
    return (
        _is_text(chunk)
        and _is_text(following)
        and following.index == chunk.index
        and following.choice_extra == chunk.choice_extra
    )


def _is_text(chunk: Chunk) -> bool:
    """Whether it brings nothing else. Logprobs, null where none were asked for, are of each token,
    so that equal ones are not one.
    """
    others = chunk.tool_calls or chunk.finish_reason or chunk.usage or chunk.delta_extra
    return bool(chunk.content) and not others and not any(chunk.choice_extra.values())


def _one(run: list[Chunk]) -> Chunk:
    if len(run) == 1:
        return run[0]
    return Chunk(
        content="".join([chunk.content for chunk in run]),
        index=run[0].index,
        choice_extra=run[0].choice_extra,
        extra={name: value for chunk in run for name, value in chunk.extra.items()},
    )
