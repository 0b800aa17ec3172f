"""A response: what the Responses API answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import evolve, field, frozen

from coe_core.identity import TurnId
from coe_core.message import Json
from coe_core.turn import Outcome
from coe_server.responses.item import OutputItem
from coe_server.responses.request import (
    ID_PREFIX,
    FunctionTool,
    ReasoningOptions,
    ResponseRequest,
    TextOptions,
    ToolChoice,
)


@frozen(kw_only=True)
class ResponseError:
    """Why a response failed."""

    code: str
    message: str

    @classmethod
    def of(cls, outcome: Outcome) -> ResponseError | None:
        """Take it from a recorded outcome, if that has one."""
        if outcome.error_code is None:
            return None
        return cls(code=outcome.error_code, message=outcome.error or "")


@frozen(kw_only=True)
class IncompleteDetails:
    """Why a response is not whole."""

    reason: Literal["max_output_tokens", "content_filter"]


@frozen(kw_only=True)
class InputTokens:
    """Of the input tokens."""

    cached_tokens: int
    cache_write_tokens: int = 0
    """Not told apart here."""


@frozen(kw_only=True)
class OutputTokens:
    """Of the output tokens."""

    reasoning_tokens: int


@frozen(kw_only=True)
class ResponseUsage:
    """The tokens of the attempts that made the answer."""

    input_tokens: int
    input_tokens_details: InputTokens
    output_tokens: int
    output_tokens_details: OutputTokens
    total_tokens: int


@frozen(kw_only=True)
class Response:
    """A response. What the client asked for is repeated when it is made, and left out when it is
    read again later.
    """

    id: str
    object: Literal["response"] = "response"
    created_at: int
    """In Unix seconds."""
    status: Literal["in_progress", "completed", "incomplete", "failed", "cancelled"] = "in_progress"
    model: str
    output: tuple[OutputItem, ...] = field(factory=tuple)
    usage: ResponseUsage | None
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    previous_response_id: str | None
    instructions: str | None = None
    tools: tuple[FunctionTool, ...] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    truncation: Literal["disabled"] | None = None
    metadata: Mapping[str, Json] | None = None
    user: str | None = None
    store: bool | None = None


def begin(turn_id: TurnId, created_at: int, model: str, follows: TurnId | None) -> Response:
    """Make a response of which nothing is there yet."""
    return Response(
        id=ID_PREFIX + turn_id,
        created_at=created_at,
        model=model,
        usage=None,
        error=None,
        incomplete_details=None,
        previous_response_id=follows and ID_PREFIX + follows,
    )


def echo(response: Response, request: ResponseRequest) -> Response:
    """Add what the client asked for, with the API's defaults for what it left open."""
    return evolve(
        response,
        previous_response_id=request.previous_response_id,
        instructions=request.instructions,
        tools=request.tools,
        tool_choice=request.tool_choice or "auto",
        parallel_tool_calls=request.parallel_tool_calls is not False,
        text=request.text,
        reasoning=request.reasoning,
        max_output_tokens=request.max_output_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        truncation="disabled",
        metadata=request.metadata or {},
        user=request.user,
        store=request.store is not False,
    )
