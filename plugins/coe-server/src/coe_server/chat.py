"""`POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import unquote

import attrs
from attrs import field, frozen

from coe_core.admission import Ask
from coe_core.answer import collect
from coe_core.codec import structure
from coe_core.error import CoeError, InvalidField
from coe_core.event import Admitted, AttemptStarted, Delta, Event, TurnEnded, TurnFailed
from coe_core.http import HttpRequest, HttpResponse
from coe_core.identity import SessionId, named_session
from coe_core.message import Json
from coe_core.model import Chunk
from coe_core.request import ChatRequest
from coe_core.settings import nearest
from coe_server import idempotency
from coe_server.citation import chat_annotations, remarks
from coe_server.wire import (
    DONE,
    SSE,
    completion_body,
    delta_body,
    dumps,
    error_response,
    event,
    head,
    turn_headers,
    usage_body,
)

Events = AsyncGenerator[Event, None]

SESSION_HEADER = "x-coe-session"


@frozen(kw_only=True)
class CoeOptions:
    """What a client asks of CoE itself, beside what it asks of the model."""

    params: Mapping[str, Json] = field(factory=dict)
    """Values of parameters for this request alone."""
    extra: Mapping[str, Json] = field(factory=dict, metadata={"schema": False})


@frozen(kw_only=True)
class ChatBody(ChatRequest):
    """A chat completion request, with CoE's own field beside OpenAI's."""

    coe: CoeOptions | None = None

    def request(self) -> ChatRequest:
        """Return what concerns the model."""
        if self.coe is None:
            return self
        return ChatRequest(**{name: getattr(self, name) for name in _REQUEST_FIELDS})

    def params(self) -> Mapping[str, Json]:
        """Return the values of parameters. Raises `InvalidField` for whatever else is asked."""
        if self.coe is None:
            return {}
        for name in self.coe.extra:
            hint = nearest(name, ["params"])
            raise InvalidField(f"coe has no field {name!r}{hint}", param=f"coe.{name}")
        return self.coe.params


_REQUEST_FIELDS = tuple(attribute.name for attribute in attrs.fields(ChatRequest))


async def complete_chat(request: HttpRequest) -> HttpResponse:
    """Answer, streaming if the client asks for it."""
    body: ChatBody = await request.read(ChatBody)
    ask = Ask(
        request=body.request(),
        principal=request.principal,
        session_id=session_id(request.headers, body.metadata),
        headers=request.headers,
        params=body.params(),
    )
    events = idempotency.run(request, ask)
    admitted = await anext(events)
    if not isinstance(admitted, Admitted):
        raise TypeError(admitted)
    headers = turn_headers(admitted.turn, admitted.limits)
    if body.stream:
        options = body.stream_options
        frames = Frames(admitted, include_usage=options is not None and options.include_usage)
        return HttpResponse(content_type=SSE, body=frames.of(events), headers=headers)
    return await answered(request, headers, _whole(admitted, events))


def session_id(headers: Mapping[str, str], metadata: Mapping[str, Json] | None) -> SessionId | None:
    """Read which session a request belongs to: the header, percent-encoded where it is not ASCII,
    else `metadata.session_id`.
    """
    try:
        if (header := headers.get(SESSION_HEADER)) is not None:
            param = f"header {SESSION_HEADER}"
            return named_session(unquote(header.encode("ascii").decode(), errors="strict"))
        param = "metadata.session_id"
        name = (metadata or {}).get("session_id")
        return None if name is None else named_session(structure(name, str))
    except UnicodeError as error:
        msg = f"{param}: what is not ASCII is written in percent-encoded UTF-8"
        raise InvalidField(msg, param=param) from error
    except (InvalidField, TypeError) as error:
        raise InvalidField(f"{param}: {error}", param=param) from error


async def answered(
    request: HttpRequest, headers: Mapping[str, str], body: Awaitable[bytes]
) -> HttpResponse:
    """Answer in one piece; a turn that fails is named in the headers, too."""
    try:
        return HttpResponse(body=await body, headers=headers)
    except CoeError as error:
        return error_response(error, request.request_id, headers)


async def _whole(admitted: Admitted, events: Events) -> bytes:
    async with aclosing(events):
        return dumps(completion_body(await collect(events, admitted)))


class Frames:
    """The frames of one streamed answer."""

    def __init__(self, admitted: Admitted, *, include_usage: bool) -> None:
        turn = admitted.turn
        self._head = head(turn, "chat.completion.chunk", turn.request.model)
        self._include_usage = include_usage
        if include_usage:
            self._head["usage"] = None
        self._opened: set[int] = set()

    async def of(self, events: Events) -> AsyncIterator[bytes]:
        """Write the events that concern the client. Raises the error of a turn that failed."""
        async with aclosing(events):
            async for happened in events:
                match happened:
                    case Delta(chunk=chunk):
                        yield self._delta(chunk)
                    case AttemptStarted(model=model) if not self._opened:
                        self._head["model"] = model
                    case TurnEnded():
                        yield self._end(happened)
                    case TurnFailed(error=error):
                        raise error

    def _delta(self, chunk: Chunk) -> bytes:
        choice = {
            "index": chunk.index,
            "delta": self._opening(chunk.index) | delta_body(chunk),
            **chunk.choice_extra,
            "finish_reason": None,
        }
        return event({**self._head, **chunk.extra, "choices": [choice]})

    def _opening(self, index: int) -> dict[str, Json]:
        if index in self._opened:
            return {}
        self._opened.add(index)
        return {"role": "assistant", "content": ""}

    def _end(self, ended: TurnEnded) -> bytes:
        frames = []
        for index, reason in enumerate(ended.finish_reasons):
            delta = self._opening(index) | chat_annotations(ended.record, index)
            choice = {"index": index, "delta": delta, "finish_reason": reason}
            frames.append(event({**self._head, "choices": [choice], **remarks(ended)}))
        if self._include_usage:
            usage: dict[str, Any] = {"choices": [], "usage": usage_body(ended.usage)}
            frames.append(event({**self._head, **usage}))
        return b"".join([*frames, DONE])
