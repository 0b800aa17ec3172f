"""Models, what they cost, and what they send back."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal, TypeAlias

from attrs import field, frozen

from coe_core.message import Json
from coe_core.timeout import DEFAULTS, Timeouts

MILLION = Decimal(1_000_000)

Capability: TypeAlias = Literal["chat", "embedding"]


@frozen(kw_only=True)
class Usage:
    """Tokens that one attempt was billed for."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    """The part of `input_tokens` that was read from the provider's cache."""
    reasoning_tokens: int = 0
    """The part of `output_tokens` that the client does not see."""
    estimated: bool = False
    """True when the upstream reported nothing and the figures are ours."""

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        """Add up; a sum with an estimate in it is an estimate."""
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_input_tokens=self.cached_input_tokens + other.cached_input_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            estimated=self.estimated or other.estimated,
        )


NO_USAGE = Usage()


@frozen(kw_only=True)
class Price:
    """US dollars per million tokens."""

    input: Decimal = Decimal(0)
    output: Decimal = Decimal(0)
    cached_input: Decimal | None = None
    """None means the same as `input`."""

    @cached_property
    def version(self) -> str:
        """A hash of the figures, so that a cost can always be traced to its price."""
        cached = self.input if self.cached_input is None else self.cached_input
        figures = "/".join(str(x.normalize()) for x in (self.input, self.output, cached))
        return hashlib.sha256(figures.encode()).hexdigest()[:12]

    def cost_usd(self, usage: Usage) -> Decimal:
        """Return what the usage costs in US dollars, exact."""
        cached = self.input if self.cached_input is None else self.cached_input
        fresh_tokens = usage.input_tokens - usage.cached_input_tokens
        return (
            fresh_tokens * self.input
            + usage.cached_input_tokens * cached
            + usage.output_tokens * self.output
        ) / MILLION


FREE = Price()


@frozen(kw_only=True)
class Model:
    """A model under its alias: `[models.ALIAS]`, or one that a provider offers by itself."""

    alias: str
    provider: str
    """The name of the provider that serves it."""
    name: str
    """The provider's own name for it."""
    options: Any = None
    """An instance of the provider's `options` class."""
    capability: Capability = "chat"
    price: Price | None = None
    """None means unknown, which is reported and never counted as zero."""
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    timeouts: Timeouts = DEFAULTS
    """How long a call may take; the provider is given those in force for the turn."""


@frozen(kw_only=True)
class ToolCallDelta:
    """A piece of a tool call. Pieces with the same `index` belong together; `arguments` is text
    to append; `id` and `name` come once.
    """

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    extra: Mapping[str, Json] = field(factory=dict)


@frozen(kw_only=True)
class Chunk:
    """One piece of an answer, as a provider decoded it from one upstream frame.

    A plain answer is a single chunk. The last chunk of each choice has `finish_reason`; `usage`,
    cumulative for the whole answer, may come with any chunk or alone, and the last one counts.
    """

    content: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    index: int = 0
    """Which choice, when the client asked for several."""
    delta_extra: Mapping[str, Json] = field(factory=dict)
    """Unknown fields of the delta or message: `reasoning_content`, `refusal`, `audio`, ..."""
    choice_extra: Mapping[str, Json] = field(factory=dict)
    """Unknown fields of the choice: `logprobs`, ..."""
    extra: Mapping[str, Json] = field(factory=dict)
    """Unknown fields of the frame: `system_fingerprint`, `service_tier`, ..."""


@frozen(kw_only=True)
class Vectors:
    """Embeddings: `data` is float32, little-endian, row-major, `len(data) / 4 / dimensions` rows,
    in the order of the input.
    """

    data: bytes
    dimensions: int
    usage: Usage = NO_USAGE

    @classmethod
    def of(cls, rows: Sequence[Sequence[float]], usage: Usage | None = None) -> Vectors:
        """Pack rows of floats."""
        flat = array("f", (number for row in rows for number in row))
        dimensions = len(rows[0]) if rows else 0
        return cls(data=flat.tobytes(), dimensions=dimensions, usage=usage or NO_USAGE)

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.data) // (4 * self.dimensions) if self.dimensions else 0

    def row_bytes(self, row: int) -> bytes:
        """Return the bytes of one row."""
        width = 4 * self.dimensions
        return self.data[row * width : (row + 1) * width]

    def rows(self) -> list[list[float]]:
        """Every row as a list of floats."""
        flat = array("f")
        flat.frombytes(self.data)
        return [
            flat[start : start + self.dimensions].tolist()
            for start in range(0, len(flat), self.dimensions or 1)
        ]
