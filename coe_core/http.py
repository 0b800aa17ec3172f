"""HTTP routes as values: what a plugin returns from `coe_http_routes`.

Nothing here knows ASGI; the server plugin does the wire.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen

from coe_core.access import AccessRole, Principal
from coe_core.codec import decode, encode, shape_errors, structure
from coe_core.error import BodyTooLarge, InvalidField, MalformedBody

if TYPE_CHECKING:
    from coe_core.application import Application


DEEPEST = 128
"""How many levels a body may nest: far above any real one, far below what recursion can bear."""
ITEMS_LIMIT = 20_000
"""How many lists and objects a body may hold: a thousand messages that call tools have 7,000."""
VALUES_PER_ITEM = 25
"""So many other values, numbers of tokens say, take as long to structure as one object."""
MANY = 1_000
"""A body with more is structured in a thread: others would wait for it for milliseconds."""

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
"""A JSON string, or one without its end: were that no match, each quote in it would be tried."""


KEY_COOKIE = "coe_key"
"""In which a browser that has signed in sends its key. Set it HttpOnly and SameSite=Strict."""


@frozen(kw_only=True)
class HttpRequest:
    """One request, authenticated, its body read whole and below the limit."""

    method: str
    path: str
    path_params: Mapping[str, str] = field(factory=dict)
    query: Mapping[str, str] = field(factory=dict)
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    """In lower case, credentials left out."""
    body: bytes = field(default=b"", repr=False)
    principal: Principal
    application: Application = field(repr=False)
    """The one in force when the request came in; held until the response has ended."""
    request_id: str
    items_limit: int = ITEMS_LIMIT
    """How many lists and objects the body may hold."""

    async def read(self, cls: type[Any]) -> Any:
        """Structure the body as `json` does; a large one in a thread."""
        if _items(self.body) > MANY:
            return await asyncio.to_thread(self.json, cls)
        return self.json(cls)

    def json(self, cls: type[Any]) -> Any:
        """Structure the body, or raise `MalformedBody`, `BodyTooLarge` or, with the field's path,
        `InvalidField`.
        """
        items, limit = _items(self.body), self.items_limit
        if items > limit and _items(_STRING.sub(b"", self.body)) > limit:
            raise BodyTooLarge(
                f"the body holds more than {limit} lists and objects, or {VALUES_PER_ITEM} times "
                "as many other values; send less"
            )
        try:
            value = decode(self.body)
        except (ValueError, RecursionError) as error:
            msg = f"the body is not valid JSON in UTF-8: {error}"
            raise MalformedBody(msg) from error
        if items > DEEPEST and _nests(value, DEEPEST):
            raise MalformedBody(f"the body nests more than {DEEPEST} levels deep")
        try:
            return structure(value, cls)
        except Exception as error:
            path, text = shape_errors(error)[0]
            raise InvalidField(f"{path}: {text}" if path else text, param=path or None) from error


def _items(text: bytes) -> int:
    """Count lists and objects, and other values for what they weigh beside them."""
    return text.count(b"[") + text.count(b"{") + text.count(b",") // VALUES_PER_ITEM


def _nests(value: Any, levels: int) -> bool:
    """Whether lists and objects lie in each other more than so many levels deep."""
    level = [value]
    for _ in range(levels):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return bool(level)


@frozen(kw_only=True)
class HttpResponse:
    """A response. `body` is bytes, or an iterator whose pieces are sent as they come."""

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(factory=dict)


def json_response(value: Any, *, status: int = 200, **headers: str) -> HttpResponse:
    """Answer with JSON. Underscores in the names of `headers` become hyphens."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return HttpResponse(status=status, body=encode(value), headers=named)


Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]


@frozen(kw_only=True)
class HttpRoute:
    """A route: `{name}` in `path` takes one segment. `request` and `response` are attrs classes
    of the bodies, from which `/openapi.json` is made; `role` None means that no key is asked for.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    handler: Handler
    role: AccessRole | None = "member"
    summary: str
    request: type[Any] | None = None
    response: type[Any] | None = None
    streams: bool = False
    """Whether the response may also be `text/event-stream`."""
    creates: bool = False
    """Whether a success may also be 201: something new was made."""
    turns: bool = False
    """Whether it runs turns: while the server has more of them than it can run, such a request
    waits, fairly between groups, or is refused with `Overloaded`.
    """
    query: type[Any] | None = None
    """An attrs class of the query parameters that the route reads."""
    headers: type[Any] | None = None
    """An attrs class of the headers that the route reads; `x_name` stands for `x-name`."""
    response_headers: type[Any] | None = None
    """An attrs class of the headers that a successful response carries."""
    page: bool = False
    """Whether it is for browsers, and so not in `/openapi.json`: the key may then come in the
    cookie `coe_core.http.KEY_COOKIE`, whoever has no good one comes in as `NOBODY` for the page
    to ask for one, and what changes something must come from a page of this same server.
    """
    name: str = ""

    def __attrs_post_init__(self) -> None:
        """Name the route after its method and path, unless it has a name."""
        if not self.name:
            object.__setattr__(self, "name", f"{self.method} {self.path}")
