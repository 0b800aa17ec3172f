"""`POST /v1/responses` and `GET /v1/responses/{id}`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from coe_core.admission import Ask
from coe_core.codec import encode
from coe_core.error import NotFound
from coe_core.event import Admitted, TurnFailed
from coe_core.http import HttpRequest, HttpResponse, json_response
from coe_core.record import Interaction
from coe_core.service import RecordReader
from coe_server import idempotency
from coe_server.chat import answered, session_id
from coe_server.replay import deltas, ended
from coe_server.responses.output import ResponseEvent
from coe_server.responses.request import ResponseRequest, chat_request, turn_id
from coe_server.responses.response import Response, ResponseError, begin, echo
from coe_server.responses.story import Story
from coe_server.wire import SSE, dumps, turn_headers


async def create_response(request: HttpRequest) -> HttpResponse:
    """Answer, streaming if the client asks for it."""
    body: ResponseRequest = await request.read(ResponseRequest)
    events = idempotency.run(request, _ask(request, body))
    admitted = await anext(events)
    if not isinstance(admitted, Admitted):
        raise TypeError(admitted)
    turn = admitted.turn
    created_at = int(turn.started_at.timestamp())
    story = Story(echo(begin(turn.id, created_at, body.model, turn.session.follows), body))
    headers = turn_headers(turn, admitted.limits)
    if body.stream:
        return HttpResponse(content_type=SSE, body=_frames(story, events), headers=headers)
    return await answered(request, headers, _whole(story, events))


async def read_response(request: HttpRequest) -> HttpResponse:
    """Show a response again: to its group alone, and without what was asked for."""
    response_id = request.path_params["id"]
    reader = request.application.need(RecordReader)
    record = await reader.interaction(request.principal.group, turn_id(response_id))
    if record is None:
        raise NotFound(f"there is no response {response_id!r:.200}", param="id")
    return json_response(_recalled(record))


def _ask(request: HttpRequest, body: ResponseRequest) -> Ask:
    previous = body.previous_response_id
    return Ask(
        request=chat_request(body),
        principal=request.principal,
        session_id=session_id(request.headers, body.metadata),
        follows=None if previous is None else turn_id(previous),
        headers=request.headers,
        params=body.coe.params if body.coe is not None else {},
    )


async def _whole(story: Story, events: idempotency.Events) -> bytes:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, TurnFailed):
                raise event.error
            story.tell(event)
    return encode(story.response)


async def _frames(story: Story, events: idempotency.Events) -> AsyncIterator[bytes]:
    async with aclosing(events):
        yield _framed(story.begin())
        async for event in events:
            if told := story.tell(event):
                yield _framed(told)


def _framed(told: list[ResponseEvent]) -> bytes:
    frames = (b"event: %b\ndata: %b\n\n" % (one["type"].encode(), dumps(one)) for one in told)
    return b"".join(frames)


def _recalled(record: Interaction) -> Response:
    created_at = int(record.started_at.timestamp())
    story = Story(begin(record.id, created_at, record.requested_model, record.follows))
    for delta in deltas(record):
        story.tell(delta)
    match record.outcome.status:
        case "success":
            story.tell(ended(record))
        case "waiting":
            pass
        case status:
            story.break_off(status, ResponseError.of(record.outcome))
    return story.response
