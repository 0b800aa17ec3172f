"""The formats that can be imported: OpenAI's chat lines, and what LiteLLM and Langfuse export.

- `openai`: https://platform.openai.com/docs/guides/supervised-fine-tuning, with members of our own.
- `litellm`: the table `LiteLLM_SpendLogs` of https://github.com/BerriAI/litellm (schema.prisma).
- `langfuse`: observations, as the API, the pages' export and the export to blob storage write them:
  https://langfuse.com/docs/api-and-data-platform/features/blob-storage-export-fields

All as read in November 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from coe_core.codec import decode, shape_errors
from coe_core.message import user
from coe_core.model import Usage
from coe_records.dialogue import (
    Call,
    Dialogue,
    Unreadable,
    choices,
    count,
    dollars,
    instant,
    messages,
    unfolded,
)

Row = Mapping[str, Any]

AUTO = "auto"


def read(line: bytes, form: str = AUTO) -> Dialogue:
    """Read a line. Raises `Unreadable`."""
    try:
        row = decode(line)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"it is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise Unreadable("it is not a JSON object")
    try:
        return FORMATS[_recognised(row) if form == AUTO else form](row)
    except Unreadable:
        raise
    except Exception as error:
        path, text = shape_errors(error)[0]
        raise Unreadable(f"{path}: {text}" if path else text) from error


def _recognised(row: Row) -> str:
    if "request_id" in row or "call_type" in row:
        return "litellm"
    if "traceId" in row or "trace_id" in row:
        return "langfuse"
    if "messages" in row:
        return "openai"
    if isinstance(row.get("observations"), list):
        raise Unreadable(
            "it is a trace; `jq -c '.observations[] + {sessionId}'` makes lines of its observations"
        )
    raise Unreadable("it has the shape of no known format")


OPENAI = frozenset({"messages", "session_id", "id", "model", "user", "started_at", "ended_at"})
"""The members of a line that are read as such; `usage` and `cost_usd` besides."""


def openai(row: Row) -> Dialogue:
    """Read a whole conversation."""
    # Our own export says whose it was, and which turn; whose it becomes is told to the import.
    known = OPENAI | {"usage", "cost_usd", "metadata", "group", "coe_turn_id"}
    metadata = dict(row.get("metadata") or {})
    return Dialogue(
        format="openai",
        messages=messages(row.get("messages")),
        session=_text(row.get("session_id")),
        source=_text(row.get("id")) or "",
        turn=_text(row.get("coe_turn_id")) or "",
        model=_text(row.get("model")) or "",
        user=_text(row.get("user")),
        started_at=instant(row.get("started_at")),
        ended_at=instant(row.get("ended_at")),
        call=_call(usage=_usage(row.get("usage")), cost_usd=dollars(row.get("cost_usd"))),
        metadata=metadata | {name: row[name] for name in row.keys() - known},
    )


def litellm(row: Row) -> Dialogue:
    """Read one call; its messages are there only if LiteLLM was told to keep them."""
    if "completion" not in (row.get("call_type") or "completion"):
        raise Unreadable(f"{row['call_type']!r} is no chat completion")
    request = unfolded(row.get("proxy_server_request"))
    asked = unfolded(row.get("messages")) or (request or {}).get("messages")
    if not asked:
        raise Unreadable("it has no messages; LiteLLM keeps them with store_prompts_in_spend_logs")
    has_failed = row.get("status") == "failure"
    return Dialogue(
        format="litellm",
        messages=messages(asked),
        answer=choices(row.get("response")) if not has_failed else (),
        session=_text(row.get("session_id")),
        source=_text(row.get("request_id")) or "",
        model=_text(row.get("model_group")) or _text(row.get("model")) or "",
        user=_text(row.get("end_user")) or _text(row.get("user")),
        started_at=instant(row.get("startTime")),
        ended_at=instant(row.get("endTime")),
        call=_call(
            provider=_text(row.get("custom_llm_provider")) or "",
            name=_text(row.get("model")) or "",
            usage=_usage({**_more_of_usage(row.get("metadata")), **row}),
            cost_usd=dollars(row.get("spend")),
        ),
        error="the call failed" if has_failed else None,
        metadata={n: row[n] for n in ("request_tags", "team_id") if row.get(n)},
    )


def langfuse(row: Row) -> Dialogue:
    """Read one generation, in either spelling of the members' names."""
    told = {_snake(name): value for name, value in row.items()}
    get = {name: unfolded(value) for name, value in told.items()}.get
    if get("type", "GENERATION") != "GENERATION":
        raise Unreadable(f"a {get('type')} is no call of a model")
    asked = get("input")
    asked = asked.get("messages") if isinstance(asked, dict) else asked
    has_failed = get("level") == "ERROR"
    name = _text(told.get("provided_model_name")) or _text(told.get("model")) or ""
    costs = get("cost_details") or {}
    return Dialogue(
        format="langfuse",
        messages=(user(asked),) if isinstance(asked, str) and asked else messages(asked),
        answer=choices(get("output")),
        session=_text(told.get("session_id")) or _text(told.get("trace_id")),
        source=_text(told.get("id")) or "",
        model=name,
        user=_text(told.get("user_id")),
        started_at=instant(get("start_time")),
        ended_at=instant(get("end_time")),
        call=_call(
            name=name,
            usage=_details(get("usage_details")) or _old_usage(get("usage")),
            cost_usd=dollars(costs.get("total", get("total_cost", get("calculated_total_cost")))),
        ),
        error=(_text(told.get("status_message")) or "the call failed") if has_failed else None,
        metadata={n: get(n) for n in ("name", "environment", "tags", "metadata") if get(n)},
    )


FORMATS: Mapping[str, Callable[[Row], Dialogue]] = {
    "openai": openai,
    "litellm": litellm,
    "langfuse": langfuse,
}


def _text(value: Any) -> str | None:
    """Read a name, or a number that serves as one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _call(**said: Any) -> Call | None:
    call = Call(**said)
    return call if call.usage is not None or call.cost_usd is not None else None


def _usage(row: Any) -> Usage | None:
    """Read OpenAI's figures, which LiteLLM has beside the rest."""
    if not isinstance(row, dict) or row.get("prompt_tokens") is None:
        return None
    cached = (row.get("prompt_tokens_details") or {}).get("cached_tokens")
    reasoning = (row.get("completion_tokens_details") or {}).get("reasoning_tokens")
    return Usage(
        input_tokens=count([row["prompt_tokens"]]),
        output_tokens=count([row.get("completion_tokens")]),
        cached_input_tokens=count([row.get("cache_read_input_tokens") or cached]),
        reasoning_tokens=count([reasoning]),
    )


def _more_of_usage(metadata: Any) -> Row:
    """Find what LiteLLM keeps of the usage besides the columns: tokens that are part of others."""
    told = unfolded(metadata)
    more = told.get("additional_usage_values") if isinstance(told, dict) else None
    return more if isinstance(more, dict) else {}


def _details(details: Any) -> Usage | None:
    """Add up Langfuse's figures: each name says in which direction, and none is part of another."""
    if not isinstance(details, dict) or not details:
        return None
    if "prompt_tokens" in details:  # OpenAI's, as a client of Langfuse may pass them on.
        return _usage(details)

    def of(*words: str) -> int:
        return count(n for name, n in details.items() if all(word in name for word in words))

    return Usage(
        input_tokens=of("input"),
        output_tokens=of("output"),
        cached_input_tokens=of("input", "cache") - of("input", "cache", "creation"),
        reasoning_tokens=of("output", "reasoning"),
    )


def _old_usage(usage: Any) -> Usage | None:
    """Read what Langfuse had before `usageDetails`, where a call without usage has zeros."""
    if not isinstance(usage, dict) or not any(map(usage.get, ("input", "output"))):
        return None
    return _details({name: usage.get(name) for name in ("input", "output")})
