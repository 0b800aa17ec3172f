"""Give models a calculator: the worked example of a tool plugin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from attrs.validators import ge, le

from coe_calculator.expression import Arithmetic, BadExpression
from coe_core import ToolContext, hookimpl
from coe_core.compose import Context
from coe_core.error import ToolFailed


@frozen(kw_only=True)
class Settings:
    digits: int = field(default=28, validator=[ge(1), le(1000)])
    """Results are rounded to so many significant digits."""


@frozen
class Calculator:
    arithmetic: Arithmetic = field(factory=Arithmetic)
    name: str = "calculator"
    description: str = (
        "Compute an arithmetic expression exactly, such as 19.9 * 3 + sqrt(2). "
        "Use it for every calculation instead of doing it in your head."
    )
    effects = frozenset({"none"})

    @property
    def input_schema(self) -> Mapping[str, Any]:
        expression = {
            "type": "string",
            "description": "Numbers, + - * / **, parentheses, pi, e, abs, sqrt, exp, ln, log10, "
            "max, min.",
            "minLength": 1,
            "maxLength": self.arithmetic.longest,
        }
        return {
            "type": "object",
            "properties": {"expression": expression},
            "required": ["expression"],
            "additionalProperties": False,
        }

    @property
    def output_schema(self) -> Mapping[str, Any]:
        # Text, because a JSON number is a float to most who read it.
        value = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?(E[+-]?[0-9]+)?$"}
        return {"type": "object", "properties": {"value": value}, "required": ["value"]}

    async def call(self, arguments: Any, context: ToolContext) -> Any:
        try:
            return {"value": str(self.arithmetic.compute(arguments["expression"]))}
        except BadExpression as error:
            raise ToolFailed(f"{arguments['expression']!r} cannot be computed: {error}") from error


@frozen
class CalculatorPlugin:
    settings: Settings

    @hookimpl
    def coe_tools(self, ctx: Context) -> list[Calculator]:
        return [Calculator(Arithmetic(self.settings.digits))]
