"""The laws of tools."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, get_args

import jsonschema_rs
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy

from coe_core.contract import CompensatedTool, Effect, Tool, ToolContext
from coe_core.error import ToolFailed
from coe_core.message import Json
from coe_core.testing.contracts.component import (
    ComponentContract,
    is_json,
    survives_cancellation,
    untouched,
)
from coe_core.testing.contracts.law import law
from coe_core.testing.strategies import values_of
from coe_core.testing.turn import make_turn

EFFECTS = frozenset(get_args(Effect))
MODELS_TAKE = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class ToolContract(ComponentContract[Tool]):
    """What holds of every tool, called with any arguments that its input schema allows."""

    contract = Tool

    def arguments(self, tool: Tool) -> SearchStrategy[Json]:
        """Return a strategy of arguments; override it to try more meaningful ones."""
        return values_of(tool.input_schema)

    @law()
    async def test_can_be_offered_to_models(self, tool: Tool) -> None:
        """The name is one that models take, and the description says what the tool does."""
        assert MODELS_TAKE.fullmatch(tool.name), (
            f"name is {tool.name!r}; models take up to 64 letters, digits, _ and -"
        )
        assert tool.description.strip(), "description is empty; models choose a tool by it"

    @law()
    async def test_has_valid_schemas(self, tool: Tool) -> None:
        """Both schemas are JSON Schema 2020-12, the one of the arguments for an object."""
        for which in ("input_schema", "output_schema"):
            schema: Mapping[str, Json] = getattr(tool, which)
            assert is_json(schema), f"{which} is not JSON: {schema!r}"
            try:
                jsonschema_rs.Draft202012Validator(dict(schema))
            except ValueError as error:
                raise AssertionError(f"{which} is no JSON Schema 2020-12: {error}") from error
        assert tool.input_schema.get("type") == "object", (
            'input_schema has no "type": "object"; models send arguments by name'
        )

    @law()
    async def test_declares_its_effects(self, tool: Tool) -> None:
        """The effects are some of those that policies know; `none` stands alone."""
        unknown = set(tool.effects) - EFFECTS
        assert not unknown, f"effects {sorted(unknown)} are unknown; there are {sorted(EFFECTS)}"
        assert tool.effects, 'effects is empty; a tool that only computes says {"none"}'
        assert tool.effects == {"none"} or "none" not in tool.effects, (
            f'effects {sorted(tool.effects)} say "none" and others'
        )

    @law(data=st.data())
    async def test_keeps_its_output_schema(self, tool: Tool, data: DataObject) -> None:
        """A call returns JSON that the output schema allows, or raises `ToolFailed` with a text
        for the model.
        """
        arguments = data.draw(self.arguments(tool))
        try:
            result = await tool.call(arguments, context())
        except ToolFailed as failure:
            assert failure.message.strip(), "ToolFailed has no text; the model reads it"
            return
        except Exception as error:
            raise AssertionError(
                f"call({arguments!r}) raised {error!r}; raise ToolFailed with a text that tells "
                "the model what to do"
            ) from error
        assert is_json(result), f"call() returned {result!r}, which is not JSON"
        allows = jsonschema_rs.Draft202012Validator(dict(tool.output_schema))
        broken = [each.message for each in allows.iter_errors(result)]
        assert not broken, f"call() returned {result!r}; its output_schema says: {broken}"

    @law(data=st.data())
    async def test_leaves_its_arguments_alone(self, tool: Tool, data: DataObject) -> None:
        """The arguments go into the record after the call, as they were."""
        arguments = data.draw(self.arguments(tool))
        with untouched(arguments):
            await attempted(tool, arguments, context())

    @law(data=st.data())
    async def test_computes_alike(self, tool: Tool, data: DataObject) -> None:
        """A tool whose effects are `none` gives the same result for the same arguments, also
        when it is called twice at once.
        """
        if tool.effects != {"none"}:
            return
        arguments = data.draw(self.arguments(tool))
        results = await asyncio.gather(*(attempted(tool, arguments, context()) for _ in range(2)))
        assert results[0] == results[1], (
            f"{arguments!r} gave {results[0]!r}, then {results[1]!r}; a tool that reads the world "
            'declares it: effects {"read"}'
        )

    @law(data=st.data())
    async def test_repeats_nothing(self, tool: Tool, data: DataObject) -> None:
        """The same call with the same idempotency key may come twice, and gives the same."""
        if tool.effects.isdisjoint({"write", "network"}):
            return
        arguments, once = data.draw(self.arguments(tool)), context()
        first = await attempted(tool, arguments, once)
        second = await attempted(tool, arguments, once)
        assert first == second, (
            f"one idempotency key gave {first!r}, then {second!r}; a call that is repeated after "
            "a crash must not act twice: remember the result under the key"
        )

    @law(data=st.data())
    async def test_can_be_undone(self, tool: Tool, data: DataObject) -> None:
        """A tool with `compensate` undoes any call of its own without raising."""
        if not isinstance(tool, CompensatedTool):
            return
        arguments, once = data.draw(self.arguments(tool)), context()
        try:
            result = await tool.call(arguments, once)
        except ToolFailed:
            return
        await tool.compensate(arguments, result, once)

    @law(data=st.data(), steps=st.integers(0, 3))
    async def test_lets_itself_be_cancelled(self, tool: Tool, data: DataObject, steps: int) -> None:
        """A client that goes away cancels the call."""
        arguments = data.draw(self.arguments(tool))
        await survives_cancellation(attempted(tool, arguments, context()), steps)


def context() -> ToolContext:
    """Make a context with a key of its own."""
    turn = make_turn()
    return ToolContext(turn=turn, idempotency_key=f"{turn.id}/call_1")


async def attempted(tool: Tool, arguments: Any, told: ToolContext) -> Json:
    """Call a tool; the text of `ToolFailed` is a result too."""
    try:
        return await tool.call(arguments, told)
    except ToolFailed as failure:
        return {"failed": failure.message}
