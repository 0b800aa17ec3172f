"""What `coe doctor` asks about the port."""

from __future__ import annotations

import asyncio
import errno

from attrs import frozen

from coe_core.contract import Finding
from coe_core.error import StartRefused
from coe_server.settings import Settings

ANSWER_S = 2.0
"""How long whoever has the port may take to say who it is."""


@frozen
class PortCheck:
    """Whether `coe serve` could listen where the settings say, or does so already."""

    settings: Settings
    name: str = "port"

    async def check(self) -> Finding:
        from coe_server.server import listen  # uvicorn is heavy

        host, port = self.settings.host, self.settings.port
        try:
            listen(host, port).close()
        except StartRefused as error:
            in_use = getattr(error.__cause__, "errno", None) == errno.EADDRINUSE
            if in_use and await serves_coe(host, port):
                return Finding(ok=True, text=f"{host} port {port}: a CoE serves there")
            mend = "End what has it, or set host and port of [plugins.server] to what is free."
            return Finding(ok=False, text=error.message, mend=mend)
        if port == 0:
            return Finding(ok=True, text=f"{host}: the system chooses a free port")
        return Finding(ok=True, text=f"{host} port {port} is free")


async def serves_coe(host: str, port: int) -> bool:
    """Tell whether what listens there answers as our server does, also while it drains."""
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(
                    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                )
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return b"x-request-id: req_" in answer and answer.endswith(b'{"status":"ok"}')
