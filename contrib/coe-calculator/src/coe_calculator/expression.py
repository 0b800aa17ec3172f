"""Arithmetic as people write it, read without `eval` and computed in decimals, so that 0.1 + 0.2
is 0.3.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from decimal import Context, Decimal, DecimalException, DivisionByZero, InvalidOperation, Overflow
from typing import TypeAlias

from attrs import field, frozen

Operation: TypeAlias = Callable[..., Decimal]

LARGEST_EXPONENT = 9999
CONSTANTS: Mapping[str, Decimal] = {
    "pi": Decimal("3.141592653589793238462643383279502884197169399375"),
    "e": Decimal("2.718281828459045235360287471352662497757247093700"),
}


class BadExpression(Exception):
    """The text cannot be computed; the message says why."""


@frozen
class Arithmetic:
    """Computes expressions to so many digits. A power or a root costs no more than its digits:
    nothing that a model writes can keep the processor busy.
    """

    digits: int = 28
    longest: int = 500
    """In characters."""
    _context: Context = field(init=False, eq=False, repr=False)

    @_context.default
    def _make_context(self) -> Context:
        traps = [DivisionByZero, InvalidOperation, Overflow]
        largest = LARGEST_EXPONENT
        return Context(prec=self.digits, Emax=largest, Emin=-largest, traps=traps)

    def compute(self, text: str) -> Decimal:
        """Compute `text`. Raises `BadExpression`."""
        text = text.strip()
        if len(text) > self.longest:
            raise BadExpression(f"it is longer than {self.longest} characters; do it in steps")
        try:
            return self._context.plus(self._value(ast.parse(text, mode="eval").body, text))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise BadExpression(
                "it is not arithmetic: write numbers, + - * / **, parentheses, and the functions "
                f"{', '.join(self._functions)}"
            ) from None
        except DecimalException as error:
            raise BadExpression(f"it has no value: {type(error).__name__}") from None

    def _value(self, node: ast.expr, text: str) -> Decimal:
        match node:
            case ast.Constant(value=int() | float()):
                # As it is written: a float would have lost digits by now.
                return self._context.create_decimal(ast.get_source_segment(text, node) or "")
            case ast.Name(id=name) if name in CONSTANTS:
                return CONSTANTS[name]
            case ast.UnaryOp(op=op, operand=operand):
                return self._apply(self._signs.get(type(op)), text, operand)
            case ast.BinOp(op=op, left=left, right=right):
                return self._apply(self._operators.get(type(op)), text, left, right)
            case ast.Call(func=ast.Name(id=name), args=[*operands], keywords=[]):
                return self._apply(self._functions.get(name), text, *operands)
            case _:
                raise ValueError(ast.dump(node))

    def _apply(self, operation: Operation | None, text: str, *operands: ast.expr) -> Decimal:
        if operation is None:
            raise ValueError("no such operation")
        try:
            value = operation(*(self._value(operand, text) for operand in operands))
        except TypeError:
            raise BadExpression(f"a function does not take {len(operands)} numbers") from None
        if not value.is_finite():  # the logarithm of zero, which decimal does not signal
            raise BadExpression("it has no value: a step of it is infinite")
        return value

    @property
    def _signs(self) -> Mapping[type[ast.unaryop], Operation]:
        return {ast.UAdd: self._context.plus, ast.USub: self._context.minus}

    @property
    def _operators(self) -> Mapping[type[ast.operator], Operation]:
        return {
            ast.Add: self._context.add,
            ast.Sub: self._context.subtract,
            ast.Mult: self._context.multiply,
            ast.Div: self._context.divide,
            ast.Pow: self._context.power,
        }

    @property
    def _functions(self) -> Mapping[str, Operation]:
        return {
            "abs": self._context.abs,
            "sqrt": self._context.sqrt,
            "exp": self._context.exp,
            "ln": self._context.ln,
            "log10": self._context.log10,
            "max": self._context.max,
            "min": self._context.min,
        }
