"""The limit of this approach: the same stack as CoE's server, passing bytes on and nothing else.

Run as a script with the port to listen on and the upstream's: raw ASGI on uvicorn with httptools
and uvloop, aiohttp above.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import uvicorn

PASSED = {b"content-type", b"content-length"}


class PassThrough:
    """An ASGI application that asks the upstream the same, and answers with what it says."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client: aiohttp.ClientSession | None = None

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Pass one request on."""
        if self.client is None:
            self.client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {"content-type": "application/json"}
        async with self.client.post(self.url + scope["path"], data=body, headers=headers) as answer:
            kept = [(name.lower(), value) for name, value in answer.raw_headers]
            head = [(name, value) for name, value in kept if name in PASSED]
            await send({"type": "http.response.start", "status": answer.status, "headers": head})
            async for piece in answer.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    port, upstream_port = map(int, sys.argv[1:])
    uvicorn.run(
        PassThrough(f"http://127.0.0.1:{upstream_port}"),  # type: ignore[arg-type]
        port=port,
        lifespan="off",
        log_level="critical",
        access_log=False,
    )
