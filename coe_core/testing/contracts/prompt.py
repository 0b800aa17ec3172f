"""The laws of prompt packs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from attrs import evolve, field, frozen

from coe_core.contract import Effect, PromptPack, ToolContext
from coe_core.message import Json, user
from coe_core.testing.contracts.component import ComponentContract, untouched
from coe_core.testing.contracts.law import law
from coe_core.testing.strategies import turns
from coe_core.turn import Turn

MARKUP = "{name} {0} {{ turn }} {% if %} %s %(name)d ${name} <b>"


@frozen
class Lookup:
    """A tool to write a guide for."""

    name: str = "lookup"
    description: str = "Look a word up."
    input_schema: Mapping[str, Json] = field(factory=lambda: {"type": "object"})
    output_schema: Mapping[str, Json] = field(factory=lambda: {"type": "string"})
    effects: frozenset[Effect] = frozenset({"none"})

    async def call(self, arguments: Json, context: ToolContext) -> Json:
        """Find nothing."""
        return ""


class PromptPackContract(ComponentContract[PromptPack]):
    """What holds of every prompt pack, whatever a turn says."""

    contract = PromptPack

    @law()
    async def test_has_a_version(self, pack: PromptPack) -> None:
        """The version is a text: it goes into the record of each turn."""
        assert isinstance(pack.version, str), f"version is {pack.version!r}; make it a text"
        assert pack.version.strip(), "version is empty; change it whenever a template changes"

    @law(turn=turns())
    async def test_renders_for_any_turn(self, pack: PromptPack, turn: Turn) -> None:
        """Both sizes of every template are a text or None; braces, percent signs and markup that
        a user wrote do no harm.
        """
        odd = evolve(turn, request=evolve(turn.request, messages=(user(MARKUP),)))
        for said, light in product((turn, odd), (False, True)):
            system = pack.system(said, light=light)
            guide = pack.tool_guide(said, Lookup(), light=light)
            for text in (system, guide):
                assert text is None or (isinstance(text, str) and text.strip()), (
                    f"rendered {text!r}; return a text, or None for none"
                )

    @law(turn=turns())
    async def test_is_shorter_when_light(self, pack: PromptPack, turn: Turn) -> None:
        """The light form is no longer than the full one."""
        full = pack.system(turn, light=False) or ""
        light = pack.system(turn, light=True) or ""
        assert len(light) <= len(full), (
            f"light has {len(light)} letters, full {len(full)}; light is for small models"
        )

    @law(turn=turns())
    async def test_renders_alike(self, pack: PromptPack, turn: Turn) -> None:
        """The same turn gets the same text, and is left alone: a turn can be replayed."""
        with untouched(turn):
            first, second = (pack.system(turn, light=False) for _ in range(2))
        assert first == second, f"rendered {first!r}, then {second!r}"
