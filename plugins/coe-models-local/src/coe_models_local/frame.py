"""Frames between the server and the model's process: one JSON object a line.

The client connects and is greeted with `{"hello": {...}}` once the model is loaded, or
`{"error": {...}}` when it cannot be. It sends one request, `{"group": ..., "body": {...}}`, and
gets `{"chunk": {...}}` any number of times, then `{"end": true}` or `{"error": {...}}`. Closing the
connection cancels. A connection that sends no request only keeps the process alive.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, TypeAlias

Frame: TypeAlias = dict[str, Any]

LIMIT_BYTES = 64 * 2**20
"""More than the largest body that the server takes."""


def pack(frame: Frame) -> bytes:
    """Write a frame. A lone surrogate, which no model can read, becomes a question mark."""
    return json.dumps(frame, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


async def read(reader: asyncio.StreamReader) -> Frame | None:
    """Read a frame; None when the other side is gone."""
    try:
        line = await reader.readline()
    except ConnectionError:
        return None
    if not line.endswith(b"\n"):
        return None
    frame: Frame = json.loads(line)
    return frame
