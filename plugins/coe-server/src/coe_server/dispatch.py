"""From a method and a path to a route."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import unquote

from attrs import define, field, frozen

from coe_core.error import MethodNotAllowed, NotFound
from coe_core.http import HttpRoute

Methods = dict[str, HttpRoute]


@frozen
class Match:
    """A route, and what its `{name}` segments took."""

    route: HttpRoute
    params: Mapping[str, str]


@define
class _Node:
    """One segment of the paths; a literal one wins over one that takes anything."""

    literal: dict[str, _Node] = field(factory=dict)
    capture: _Node | None = None
    methods: dict[str, tuple[HttpRoute, tuple[str, ...]]] = field(factory=dict)


@define
class RouteTable:
    """The routes of one application."""

    _exact: dict[str, Methods] = field(factory=dict, init=False)
    _root: _Node = field(factory=_Node, init=False)

    @classmethod
    def of(cls, routes: Iterable[HttpRoute]) -> RouteTable:
        """Build the table; of two equal routes the first stays."""
        table = cls()
        for route in routes:
            table._add(route)
        return table

    def match(self, method: str, raw_path: str) -> Match:
        """Find the route. Raises `NotFound` or `MethodNotAllowed`.

        `raw_path` is still quoted, so that a quoted slash stays within its segment. HEAD is GET
        whose body is left out.
        """
        wanted = "GET" if method == "HEAD" else method
        if (exact := self._exact.get(raw_path)) is not None and wanted in exact:
            return Match(exact[wanted], {})
        segments = [unquote(segment) for segment in raw_path.split("/")[1:]]
        found = [
            (wanted in node.methods, node, values) for node, values in _walk(self._root, segments)
        ]
        if not found:
            raise NotFound(
                f"there is nothing at {raw_path:.200}; /openapi.json lists what there is"
            )
        takes, node, values = max(found, key=lambda entry: entry[0])
        if not takes:
            allowed = {name for _, known, _ in found for name in known.methods}
            raise WrongMethod(method, raw_path, sorted(allowed))
        route, names = node.methods[wanted]
        return Match(route, dict(zip(names, values, strict=True)))

    def _add(self, route: HttpRoute) -> None:
        node = self._root
        names = []
        for segment in route.path.split("/")[1:]:
            if segment.startswith("{") and segment.endswith("}"):
                names.append(segment[1:-1])
                node.capture = node = node.capture or _Node()
            else:
                node = node.literal.setdefault(segment, _Node())
        node.methods.setdefault(route.method, (route, tuple(names)))
        if not names:
            self._exact.setdefault(route.path, {}).setdefault(route.method, route)


class WrongMethod(MethodNotAllowed):
    """Says which methods would do."""

    def __init__(self, method: str, path: str, allowed: list[str]) -> None:
        self.allow = ", ".join(allowed)
        super().__init__(f"{path:.200} does not take {method}; it takes {self.allow}")


def _walk(
    node: _Node, segments: list[str], taken: tuple[str, ...] = ()
) -> Iterable[tuple[_Node, tuple[str, ...]]]:
    """Yield the nodes that the segments lead to, literal ones first."""
    if not segments:
        if node.methods:
            yield node, taken
        return
    first, rest = segments[0], segments[1:]
    if first in node.literal:
        yield from _walk(node.literal[first], rest, taken)
    if node.capture is not None and first:
        yield from _walk(node.capture, rest, (*taken, first))
