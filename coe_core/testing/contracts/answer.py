"""What holds of every answer, a provider's or an agent's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, cast

from coe_core.error import CoeError
from coe_core.model import Chunk
from coe_core.testing.contracts.law import PATIENCE_S


async def whole(stream: AsyncIterator[Chunk]) -> list[Chunk] | None:
    """Collect an answer; None when it was refused with one of our errors."""
    assert hasattr(stream, "__anext__"), (
        f"an answer is {stream!r}; write an `async def` with `yield Chunk(...)` in it"
    )
    chunks: list[Chunk] = []
    try:
        async with aclosing(cast("Any", stream)):
            async for chunk in stream:
                assert isinstance(chunk, Chunk), f"yielded {chunk!r}; yield coe_core.Chunk"
                chunks.append(chunk)
    except CoeError:
        return None
    except Exception as error:
        raise AssertionError(
            f"raised {error!r}; raise coe_core.UpstreamError or the subclass that says how it "
            "failed: the attempt policies decide by the class"
        ) from error
    return chunks


def check_end(chunks: Sequence[Chunk], choices: int) -> None:
    """See that each choice ends once, with a finish reason, and says nothing after it."""
    ended: set[int] = set()
    for chunk in chunks:
        speaks = chunk.content or chunk.tool_calls or chunk.finish_reason
        assert not (chunk.index in ended and speaks), (
            f"choice {chunk.index} went on after its finish reason: {chunk!r}"
        )
        if chunk.finish_reason is not None:
            ended.add(chunk.index)
    assert ended == set(range(choices)), (
        f"of {choices} choices those at {sorted(ended)} ended with a finish_reason; the last "
        'chunk of each says finish_reason="stop", "length" or "tool_calls": an answer without '
        "one is taken for cut"
    )


def check_calls(chunks: Sequence[Chunk]) -> None:
    """See that each tool call begins with its id and name, which come once."""
    named: dict[tuple[int, int], str] = {}
    for chunk in chunks:
        for piece in chunk.tool_calls:
            place = (chunk.index, piece.index)
            if place in named:
                assert piece.name in (None, named[place]), f"call {place} was renamed: {piece!r}"
                continue
            assert piece.id, f"the first piece of a tool call has no id: {piece!r}"
            assert piece.name, f"the first piece of a tool call has no name: {piece!r}"
            named[place] = piece.name


def check_usage(chunks: Sequence[Chunk]) -> None:
    """See that usage only grows, and that its parts are no more than the whole."""
    last = 0
    for usage in (chunk.usage for chunk in chunks if chunk.usage is not None):
        assert usage.total_tokens >= last, (
            f"usage fell from {last} to {usage.total_tokens} tokens; "
            "each report is of the whole answer so far"
        )
        assert 0 <= usage.cached_input_tokens <= usage.input_tokens, (
            f"{usage!r}: cached_input_tokens are a part of input_tokens"
        )
        assert 0 <= usage.reasoning_tokens <= usage.output_tokens, (
            f"{usage!r}: reasoning_tokens are a part of output_tokens"
        )
        last = usage.total_tokens


async def leave_early(stream: AsyncIterator[Chunk]) -> None:
    """Read one chunk and close the stream, as when a client goes away."""
    try:
        await anext(stream, None)
    except CoeError:
        return
    try:
        async with asyncio.timeout(PATIENCE_S):
            await cast("Any", stream).aclose()
    except TimeoutError:
        raise AssertionError(
            f"closing the answer took more than {PATIENCE_S:g} s; end the upstream call in a "
            "`finally` or an `async with`, without waiting for the rest"
        ) from None
