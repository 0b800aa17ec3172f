"""Tool calls as upstreams send them, in pieces or whole."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec
from attrs import define, field

from coe_core.codec import encode
from coe_core.identity import uuid7
from coe_core.model import ToolCallDelta


class FunctionPiece(msgspec.Struct):
    """The function of a tool call, whole or in part."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class ToolCallPiece(msgspec.Struct):
    """A tool call, whole or in part."""

    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: FunctionPiece | None = None


FUNCTION_FIELDS = frozenset(FunctionPiece.__struct_fields__)
CALL_FIELDS = frozenset(ToolCallPiece.__struct_fields__)
NO_FUNCTION = FunctionPiece()


@define
class OpenCall:
    """A tool call of which some has come."""

    place: int
    id: str
    named: bool = False


@define
class ToolCalls:
    """Numbers the tool calls of one choice.

    Not every upstream does: some send whole calls without an index, or all of them with index 0;
    a call that comes without an id is given one, since the client needs it to answer.
    """

    _latest: dict[int | None, OpenCall] = field(factory=dict, init=False)
    """The call that goes on under the upstream's index, or without any."""
    _count: int = field(default=0, init=False)

    def delta(self, piece: ToolCallPiece, raw: Mapping[str, Any]) -> ToolCallDelta:
        """Decode a piece; `raw` is the same before it was checked."""
        function = piece.function or NO_FUNCTION
        call = self._latest.get(piece.index)
        begins = call is None or _is_another(call, piece, function)
        if call is None or begins:
            call = self._begin(piece)
        name = function.name if function.name and not call.named else None
        call.named |= name is not None
        return ToolCallDelta(
            index=call.place,
            id=call.id if begins else None,
            name=name,
            arguments=_arguments(function.arguments),
            extra=_extra(raw),
        )

    def _begin(self, piece: ToolCallPiece) -> OpenCall:
        call = OpenCall(self._count, piece.id or f"call_{uuid7()}")
        self._count += 1
        self._latest[piece.index] = call
        return call


def unknown(value: Mapping[str, Any], known: AbstractSet[str]) -> dict[str, Any]:
    """Return the fields that are not known."""
    if value.keys() <= known:
        return {}
    return {name: value[name] for name in value if name not in known}


def _is_another(call: OpenCall, piece: ToolCallPiece, function: FunctionPiece) -> bool:
    """Tell whether a named piece begins a new call under an index that is in use, or without."""
    if not function.name or not call.named:
        return False
    return piece.id != call.id if piece.id else piece.index is None


def _arguments(arguments: str | dict[str, Any] | None) -> str:
    """Return JSON text: some upstreams send the object itself."""
    return encode(arguments).decode() if isinstance(arguments, dict) else arguments or ""


def _extra(raw: Mapping[str, Any]) -> dict[str, Any]:
    extra = unknown(raw, CALL_FIELDS)
    if raw.get("type") not in (None, "function"):
        extra["type"] = raw["type"]
    if more := unknown(raw.get("function") or {}, FUNCTION_FIELDS):
        extra["function"] = more
    return extra
