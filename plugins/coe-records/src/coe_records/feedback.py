"""Feedback: what people say of a turn once it is over, over HTTP and on the command line."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import click
from attrs import field, frozen
from attrs.validators import ge, le, min_len, optional

from coe_core.access import DEFAULT_GROUP
from coe_core.application import Application
from coe_core.cli import Frame, echo_json, pass_frame
from coe_core.error import InvalidField, NotFound
from coe_core.http import HttpRequest, HttpResponse, HttpRoute, json_response
from coe_core.identity import TurnId, uuid7
from coe_core.record import Feedback
from coe_core.service import Clock, RecordReader

WITHOUT_KEY = "local"
"""The actor where no keys exist."""

ANSWER = re.compile(r"^(chatcmpl-|resp_)")
"""What comes before the turn's id in the id of an answer."""


@frozen(kw_only=True)
class Opinion:
    """What is said of a turn: one of `rating`, `label`, `route` and `text` at least."""

    turn_id: str
    """The turn's id, or that of the completion or response that it answered with."""
    rating: int | None = field(default=None, validator=optional([ge(-1), le(1)]))
    """1 for a good answer, -1 for a bad one, 0 for neither."""
    label: str | None = field(default=None, validator=optional(min_len(1)))
    """A word of your own, to count by."""
    route: str | None = field(default=None, validator=optional(min_len(1)))
    """The alias or the agent that should have answered, or the name of the right route."""
    text: str | None = field(default=None, validator=optional(min_len(1)))


async def keep(application: Application, opinion: Opinion, group: str, actor: str) -> Feedback:
    """Record an opinion. Raises `NotFound` unless the turn is one of the group's."""
    from coe_core.engine import keep as keep_record

    at = application.need(Clock).now()
    feedback = _feedback(opinion, group=group, actor=actor, id=uuid7(), at=at)
    if await application.need(RecordReader).interaction(group, feedback.turn_id) is None:
        raise NotFound(f"no turn has the id {opinion.turn_id!r}", param="turn_id")
    await keep_record(application, feedback)
    return feedback


def _feedback(opinion: Opinion, **fields: Any) -> Feedback:
    turn_id = TurnId(ANSWER.sub("", opinion.turn_id))
    said = {name: getattr(opinion, name) for name in ("rating", "label", "route", "text")}
    try:
        return Feedback(turn_id=turn_id, **said, **fields)
    except ValueError as error:
        raise InvalidField(str(error)) from error


async def give_feedback(request: HttpRequest) -> HttpResponse:
    """Answer `POST /coe/v1/feedback`."""
    principal = request.principal
    opinion = request.json(Opinion)
    actor = principal.key_id or WITHOUT_KEY
    feedback = await keep(request.application, opinion, principal.group, actor)
    return json_response(feedback, status=201)


ROUTE = HttpRoute(
    method="POST",
    path="/coe/v1/feedback",
    handler=give_feedback,
    summary="Say what a turn was worth",
    request=Opinion,
    response=Feedback,
    creates=True,
)


@click.command("feedback")
@click.argument("turn")
@click.option("--group", default=DEFAULT_GROUP, show_default=True, help="The turn's group.")
@click.option("--rating", type=click.IntRange(-1, 1), help="1 good, -1 bad, 0 neither.")
@click.option("--label", help="A word of your own, to count by.")
@click.option("--route", help="The alias, the agent or the route that was right.")
@click.option("--text", help="What else there is to say.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_frame
def command(
    frame: Frame,
    *,
    turn: str,
    group: str,
    rating: int | None,
    label: str | None,
    route: str | None,
    text: str | None,
    as_json: bool,
) -> None:
    """Say what a turn was worth. TURN is its id, of the header `x-coe-turn`, or its answer's."""
    try:
        opinion = Opinion(turn_id=turn, rating=rating, label=label, route=route, text=text)
    except ValueError as error:
        raise InvalidField(str(error)) from error
    feedback = asyncio.run(_give(frame, opinion, group))
    if as_json:
        echo_json(feedback)
    else:
        click.echo(f"recorded as {feedback.id}")


async def _give(frame: Frame, opinion: Opinion, group: str) -> Feedback:
    from coe_records.records import refuse_unopened

    async with frame.host() as host:
        refuse_unopened(host.application)
        return await keep(host.application, opinion, group, frame.actor)
