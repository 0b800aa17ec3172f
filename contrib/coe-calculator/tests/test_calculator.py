from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal, localcontext

import pytest
from coe_calculator.expression import Arithmetic, BadExpression
from coe_calculator.plugin import Calculator, CalculatorPlugin
from hypothesis import example, given
from hypothesis import strategies as st

from coe_core import Application, ToolContext, Turn
from coe_core.contract import Tool
from coe_core.error import ToolFailed
from coe_core.testing import PluginContract, ToolContract, make_turn
from coe_core.testing.strategies import texts

Compose = Callable[..., AbstractAsyncContextManager[Application]]
NUMBERS = st.decimals(-(10**6), 10**6, places=3)


def expressions() -> st.SearchStrategy[str]:
    """Sums, products, powers and calls, and sometimes what is none of these."""
    leaves = st.one_of(NUMBERS.map(str), st.sampled_from(["pi", "e", "-1", "0", "1e400"]))
    joined = st.sampled_from([" + ", "-", "*", " / ", "**"])
    names = st.sampled_from(["abs({})", "sqrt({})", "({})", "-{}", "max({0}, {0})", "ln({})"])
    composed = st.recursive(
        leaves,
        lambda inner: (
            st.builds("{}{}{}".format, inner, joined, inner)
            | st.builds(lambda name, value: name.format(value), names, inner)
        ),
        max_leaves=6,
    )
    return composed | texts()


class TestCalculator(ToolContract):
    def make(self) -> Calculator:
        return Calculator()

    def arguments(self, tool: Tool) -> st.SearchStrategy[dict[str, str]]:
        return expressions().map(lambda text: {"expression": text})


class TestPlugin(PluginContract):
    name = "calculator"
    settings = "[plugins.calculator]\ndigits = 12\n"

    def make(self) -> type[CalculatorPlugin]:
        return CalculatorPlugin


class TestArithmetic:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("0.1 + 0.2", "0.3"),
            ("2 ** 10", "1024"),
            ("-(3 - 5) * 4 / 8", "1"),
            ("sqrt(2) * sqrt(2)", "1.999999999999999999999999999"),
            ("max(1, 7) + min(2, 3) + abs(-1)", "10"),
            ("log10(1000) + ln(e)", "4.000000000000000000000000000"),
            (" 12 * (3 + 4) ", "84"),
            ("0.12345678901234567890123 + 1e400 / 1e400", "1.12345678901234567890123"),
        ],
    )
    def test_computes(self, text: str, value: str) -> None:
        assert Arithmetic().compute(text) == Decimal(value)

    @given(NUMBERS, NUMBERS)
    def test_adds_and_multiplies_exactly(self, one: Decimal, other: Decimal) -> None:
        with localcontext(prec=28):
            assert Arithmetic().compute(f"{one} + ({other})") == one + other
            assert Arithmetic().compute(f"({one}) * ({other})") == one * other

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("", "not arithmetic"),
            ("two plus two", "not arithmetic"),
            ("2 ^ 3", "not arithmetic"),
            ("__import__('os').getcwd()", "not arithmetic"),
            ("(lambda: 1)()", "not arithmetic"),
            ("[1 for _ in (1, 2)]", "not arithmetic"),
            ("'a' * 10", "not arithmetic"),
            ("True + 1", "InvalidOperation"),
            ("0x10", "InvalidOperation"),
            ("1 < 2", "not arithmetic"),
            ("round(1.5)", "not arithmetic"),
            ("1 / 0", "DivisionByZero"),
            ("sqrt(-1)", "InvalidOperation"),
            ("9 ** 9 ** 9", "Overflow"),
            ("ln(0)", "infinite"),
            ("exp(log10(0.0))", "infinite"),
            ("sqrt(1, 2)", "does not take 2 numbers"),
            ("-" * 499 + "1", "not arithmetic"),
            ("(" * 250 + "1" + ")" * 249, "not arithmetic"),
            ("1" * 501, "longer than 500"),
            ("1\x00", "not arithmetic"),
        ],
    )
    def test_says_why_not(self, text: str, why: str) -> None:
        with pytest.raises(BadExpression, match=why):
            Arithmetic().compute(text)

    @given(expressions())
    @example("0 ** 0")
    def test_computes_or_says_why_not(self, text: str) -> None:
        try:
            value = Arithmetic(digits=5).compute(text)
        except BadExpression:
            return
        assert value.is_finite()


class TestCall:
    async def test_gives_the_value_as_text(self, turn: Turn) -> None:
        context = ToolContext(turn=turn, idempotency_key="1")
        assert await Calculator().call({"expression": "1/4"}, context) == {"value": "0.25"}

    async def test_tells_the_model_what_was_wrong(self, turn: Turn) -> None:
        context = ToolContext(turn=turn, idempotency_key="1")
        with pytest.raises(ToolFailed, match=r"'1/0' cannot be computed: .*DivisionByZero"):
            await Calculator().call({"expression": "1/0"}, context)

    async def test_rounds_as_its_settings_say(self, application: Compose) -> None:
        settings = "[plugins.calculator]\ndigits = 3\n"
        async with application(settings, calculator=CalculatorPlugin) as app:
            (tool,) = app.tools.values()
            context = ToolContext(turn=make_turn(application=app), idempotency_key="1")
            assert await tool.tool.call({"expression": "2/3"}, context) == {"value": "0.667"}

    async def test_refuses_settings_out_of_range(self, application: Compose) -> None:
        settings = "[plugins.calculator]\ndigits = 0\n"
        async with application(settings, calculator=CalculatorPlugin) as app:
            (problem,) = (p for p in app.problems if p.plugin == "calculator")
        assert problem.stage == "configure"
        assert "digits" in problem.text
