"""What a client asks for: a chat completion or embeddings.

The classes hold the fields that CoE itself reads; everything else a client sends is kept in
`extra` and reaches the upstream unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from attrs import field, frozen
from attrs.validators import ge, in_, le, min_len, optional

from coe_core.codec import unstructure
from coe_core.message import Json, Message


@frozen(kw_only=True)
class FunctionDefinition:
    """A function as a client or a plugin declares it to a model."""

    name: str = field(validator=min_len(1))
    description: str | None = None
    parameters: Mapping[str, Json] | None = None
    """JSON Schema of the arguments."""
    extra: Mapping[str, Json] = field(factory=dict)


@frozen(kw_only=True)
class ToolDefinition:
    """An entry of `tools`. Kinds other than `function` have no `function` and travel in `extra`."""

    type: str = "function"
    function: FunctionDefinition | None = None
    extra: Mapping[str, Json] = field(factory=dict)


@frozen(kw_only=True)
class StreamOptions:
    """How a streamed answer is sent."""

    include_usage: bool = False
    extra: Mapping[str, Json] = field(factory=dict)


@frozen(kw_only=True)
class ChatRequest:
    """A chat completion request.

    https://platform.openai.com/docs/api-reference/chat/create, as of 2026-11.
    """

    model: str = field(validator=min_len(1))
    messages: tuple[Message, ...] = field(validator=min_len(1))
    tools: tuple[ToolDefinition, ...] = ()
    tool_choice: str | Mapping[str, Json] | None = None
    parallel_tool_calls: bool | None = None
    response_format: Mapping[str, Json] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = field(default=None, validator=optional(ge(1)))
    max_completion_tokens: int | None = field(default=None, validator=optional(ge(1)))
    temperature: float | None = field(default=None, validator=optional([ge(0), le(2)]))
    top_p: float | None = field(default=None, validator=optional([ge(0), le(1)]))
    n: int | None = field(default=None, validator=optional([ge(1), le(128)]))
    stop: str | tuple[str, ...] | None = None
    seed: int | None = None
    user: str | None = None
    metadata: Mapping[str, Json] | None = None
    extra: Mapping[str, Json] = field(factory=dict)

    @cached_property
    def fields(self) -> Mapping[str, Json]:
        """The request as the client sent it, as JSON values."""
        fields: dict[str, Json] = unstructure(self)
        return fields

    @property
    def text(self) -> str:
        """The text of the last user message, "" when there is none."""
        for message in reversed(self.messages):
            if message.role == "user":
                return message.text
        return ""

    @property
    def output_limit_tokens(self) -> int | None:
        """How many tokens the client lets the model write, None when it does not say."""
        return self.max_completion_tokens or self.max_tokens


@frozen(kw_only=True)
class EmbeddingRequest:
    """An embedding request.

    https://platform.openai.com/docs/api-reference/embeddings/create, as of 2026-11. `input` holds
    texts; lists of token numbers travel in `tokens`, for upstreams that take them.
    """

    model: str = field(validator=min_len(1))
    input: tuple[str, ...] = ()
    tokens: tuple[tuple[int, ...], ...] = ()
    purpose: str = field(default="passage", validator=in_(("query", "passage")))
    """Whether the texts are sought or found: some embedders treat the two differently."""
    dimensions: int | None = field(default=None, validator=optional(ge(1)))
    user: str | None = None
    extra: Mapping[str, Json] = field(factory=dict)
