"""Layers, and the groups that see them."""

from __future__ import annotations

from collections.abc import Sequence

from coe_core.error import InvalidField
from coe_core.service import EVERY_GROUP
from coe_core.turn import GLOBAL


def group_of(layer: str) -> str:
    """Return the group of a layer's rows. Raises `InvalidField` for what is no layer."""
    if layer == GLOBAL:
        return EVERY_GROUP
    if not _is_layer(layer):
        raise InvalidField(f"{layer!r:.200} is no layer: it is `global` or `group:NAME`")
    return layer.removeprefix("group:")


def groups_of(layers: Sequence[str]) -> set[str]:
    """Return the groups of some layers; what is no layer has nothing in it."""
    return {group_of(layer) for layer in layers if _is_layer(layer)}


def _is_layer(layer: str) -> bool:
    is_group = layer.startswith("group:") and layer != "group:" and "\x00" not in layer
    return layer == GLOBAL or is_group
