"""Tools as the engine runs them: arguments validated before the call, results after."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from attrs import frozen
from loguru import logger

from coe_core.codec import decode, encode
from coe_core.contract import Tool, ToolContext
from coe_core.error import BudgetExceeded, ToolFailed
from coe_core.message import Json, Message, ToolCall
from coe_core.patience import left_s
from coe_core.request import FunctionDefinition, ToolDefinition
from coe_core.service import Clock
from coe_core.turn import ToolRun, Turn


@frozen
class CheckedTool:
    """A plugin's tool with its compiled schemas. Made at composition: raises `ValueError` when a
    schema is not valid JSON Schema (2020-12).
    """

    tool: Tool
    _input: Any
    _output: Any

    @classmethod
    def compile(cls, tool: Tool) -> CheckedTool:
        """Compile both schemas."""
        import jsonschema_rs

        return cls(
            tool,
            jsonschema_rs.Draft202012Validator(dict(tool.input_schema)),
            jsonschema_rs.Draft202012Validator(dict(tool.output_schema)),
        )

    @property
    def name(self) -> str:
        """The tool's name."""
        return self.tool.name

    def definition(self, guide: str | None = None) -> ToolDefinition:
        """Describe the tool to a model, with a prompt pack's guide if there is one."""
        return ToolDefinition(
            function=FunctionDefinition(
                name=self.tool.name,
                description=guide or self.tool.description,
                parameters=self.tool.input_schema,
            )
        )

    async def run(self, call: ToolCall, turn: Turn, clock: Clock) -> ToolRun:
        """Run one call. A failure is a result too: the model is told what was wrong."""
        started_s = clock.monotonic_s()
        arguments: Json = call.function.arguments
        try:
            arguments = self._arguments(call)
            context = ToolContext(turn=turn, idempotency_key=f"{turn.id}/{call.id}")
            async with asyncio.timeout(left_s(turn, clock)):
                result = await self.tool.call(arguments, context)
            self._check(self._output, result, "the tool's own result")
        except BudgetExceeded:
            raise
        except Exception as error:
            failure = self._failure(error)
            return ToolRun(
                id=call.id,
                tool=self.name,
                arguments=arguments,
                error_code=failure.code,
                error=failure.message,
                duration_s=clock.monotonic_s() - started_s,
            )
        return ToolRun(
            id=call.id,
            tool=self.name,
            arguments=arguments,
            result=result,
            duration_s=clock.monotonic_s() - started_s,
        )

    def _arguments(self, call: ToolCall) -> Json:
        try:
            arguments = decode(call.function.arguments or "{}")
        except (msgspec.DecodeError, RecursionError) as error:
            raise ToolFailed(f"the arguments are not valid JSON: {error}") from error
        self._check(self._input, arguments, "the arguments")
        return arguments

    def _check(self, validator: Any, value: Json, what: str) -> None:
        if (error := next(validator.iter_errors(value), None)) is not None:
            path = "/".join(map(str, error.instance_path))
            raise ToolFailed(f"{what} at /{path}: {error.message}")

    def _failure(self, error: Exception) -> ToolFailed:
        match error:
            case ToolFailed():
                return error
            case TimeoutError():
                return ToolFailed("the tool did not end within its time")
            case _:
                logger.bind(tool=self.name).opt(exception=error).error("a tool raised")
                return ToolFailed(f"the tool failed: {type(error).__name__}")


def answer_message(run: ToolRun) -> Message:
    """Tell a model how a call went."""
    content = {"error": run.error} if run.error is not None else run.result
    text = content if isinstance(content, str) else encode(content).decode()
    return Message(role="tool", tool_call_id=run.id, content=text)
