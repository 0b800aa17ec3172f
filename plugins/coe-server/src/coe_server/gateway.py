"""The ASGI application: every request gets the application in force, and keeps it to its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, TypeAlias

from attrs import define, field

from coe_core.application import Application
from coe_core.error import Unavailable
from coe_core.http import HttpRoute
from coe_server.dispatch import RouteTable
from coe_server.exchange import Exchange
from coe_server.gate import Gate
from coe_server.settings import Settings

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

ALWAYS = "/healthz"
"""What is answered while the server drains: the process is alive."""


@define(eq=False)
class Gateway:
    """Answers HTTP. `lease` gives the application in force and keeps it open: `Host.lease`."""

    lease: Callable[[], AbstractAsyncContextManager[Application]]
    settings: Settings = field(factory=Settings)
    draining: bool = field(default=False, init=False)
    """When set, running requests end and no new one is taken."""
    _running: set[Exchange] = field(factory=set, init=False)
    _application: Application | None = field(default=None, init=False)
    _routes: RouteTable = field(factory=RouteTable, init=False)
    _gate: Gate | None = field(default=None, init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, as ASGI 3 has it."""
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        exchange = Exchange(self, scope, receive, send)
        self._running.add(exchange)
        try:
            await exchange.run()
        finally:
            self._running.discard(exchange)

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return not self._running

    def abort(self) -> None:
        """End what still runs, each with an error of its own."""
        for exchange in self._running:
            exchange.abort(Unavailable("the server is stopping; send the request again"))

    def check_open(self, path: str) -> None:
        """Raise `Unavailable` while the server drains."""
        if self.draining and path != ALWAYS:
            raise Unavailable("the server is stopping; send the request again", retry_after_s=1)

    def routes(self, application: Application) -> RouteTable:
        """Return the routes of an application, compiled once."""
        if application is not self._application:
            self._routes = RouteTable.of(application.http_routes)
            self._gate = next((m for m in application.monitors if isinstance(m, Gate)), None)
            self._application = application
        return self._routes

    def passing(self, route: HttpRoute, group: str) -> AbstractAsyncContextManager[None]:
        """Let a request of a group in, of a route that was just found: where it runs turns,
        through the gate. Raises `Overloaded`.
        """
        gate = self._gate if route.turns else None
        return nullcontext() if gate is None else gate.passing(group)
