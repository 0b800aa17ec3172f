"""A turn, from the request to its record. Read `run` and `_work`: they are the story.

Everything that happens is yielded as an event; nothing is counted or logged on the side. The
finish reason leaves only with `TurnEnded`, after the journal has acknowledged the record.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from attrs import evolve
from loguru import logger

from coe_core import guard, prompt, resilience
from coe_core.access import Principal
from coe_core.admission import Ask, admit, check, in_order
from coe_core.answer import AnswerBuilder, is_empty, without_end
from coe_core.application import AUTO, Application
from coe_core.attempt import Attempts, rescue
from coe_core.caller import ModelCaller, closing
from coe_core.deadline import Deadline
from coe_core.error import (
    BudgetExceeded,
    CoeError,
    InvalidField,
    Unavailable,
    UpstreamTimeout,
)
from coe_core.event import (
    Admitted,
    Delta,
    Event,
    Retrieved,
    Routed,
    ToolEnded,
    ToolStarted,
    TurnEnded,
    TurnFailed,
)
from coe_core.ledger import answer_usage
from coe_core.message import ToolCall, user
from coe_core.model import Chunk, Model, Vectors
from coe_core.patience import in_time, left_s, to_the_end
from coe_core.progress import Progress
from coe_core.rate import RateMeter
from coe_core.record import Interaction, Record
from coe_core.request import ChatRequest, EmbeddingRequest
from coe_core.service import Clock, Journal
from coe_core.tool import CheckedTool, answer_message
from coe_core.turn import FailureClass, Outcome, Route, ToolRun, Turn
from coe_core.view import ClientView

Events = AsyncGenerator[Event, None]

END = Chunk()
"""Stands for the end of an agent's work."""


class NoRoute(Unavailable):
    """No router decided, and the default is no model that the group may use."""

    code = "no_route"


async def run(application: Application, ask: Ask) -> Events:
    """Run a turn. What is wrong with the request itself is raised before the first event; after
    `Admitted` the turn is recorded however it ends. Closing the iterator, or cancelling the task
    that reads it, ends the upstream call and records the turn as cancelled.
    """
    check(application, ask)
    async with in_order(ask):
        admission = await admit(application, ask)
        clock = application.need(Clock)
        progress = Progress.of(admission, clock, application.need(ModelCaller))
        ended: Event
        try:
            yield Admitted(turn=admission.turn, limits=admission.limits)
            async with aclosing(_work(progress)) as events:
                async for event in events:
                    for news in progress.news():
                        yield news
                    if isinstance(event, Delta):
                        progress.sent.add(event.chunk)
                    yield event
            for news in progress.news():
                yield news
            ended = await _end(progress)
        except Exception as error:
            ended = await _fail(progress, error)
        except BaseException:  # Cancelled, or the client has gone.
            await _cancel(progress)
            raise
        for happened in (*progress.news(), ended):
            yield happened


async def _work(progress: Progress) -> Events:
    """Answer; where that fails, in a plugin of ours even, the last resort answers if there is one.

    The request's guards come before it, and everything that it calls is guarded, paid for and
    recorded like any other call.
    """
    inspected = await guard.inspect_messages(
        progress.turn, "request", progress.turn.session.new_messages, progress.verdicts
    )
    progress.replace_messages(inspected)
    try:
        async with aclosing(_shown(progress, _answered(progress))) as events:
            async for event in events:
                yield event
    except Exception as error:
        verdict = await resilience.last_resort(progress, error)
        if verdict is None:
            raise
        progress.rescued_from = _known(progress, error)
        if not progress.sent.text:
            progress.passages = ()  # Who answers now is not shown them.
        async with aclosing(_shown(progress, rescue(progress, verdict))) as events:
            async for event in events:
                yield event


async def _answered(progress: Progress) -> Events:
    if (fault := progress.admission.fault) is not None:
        raise fault
    route = progress.route = await _route(progress.turn)
    yield Routed(route=route)
    if route.model is not None:
        progress.passages = await prompt.retrieve(progress.turn, route)
        if progress.passages:
            yield Retrieved(passages=progress.passages)
    answer = _answer if route.model is not None else _agent
    async with aclosing(answer(progress, route)) as events:
        async for event in events:
            yield event


def _shown(progress: Progress, events: Events) -> Events:
    """Let the client see what the guards of answers let pass."""
    is_guarded = any("answer" in guard.steps for guard in progress.turn.application.guards)
    return _guarded(progress, events) if is_guarded else events


async def _route(turn: Turn) -> Route:
    application = turn.application
    if turn.request.model != AUTO:
        return Route(model=turn.request.model, reason="the client named it", router="explicit")
    for router in application.routers:
        try:
            route = await in_time(application, router.name, router.route(turn))
        except BudgetExceeded:
            raise
        except Exception as error:
            logger.bind(router=router.name).opt(exception=error).error("a router raised")
            continue
        if route is not None and _reachable(turn, route):
            return evolve(route, router=router.name)
    default = application.settings.routing.default
    if default not in application.allowed_models(turn.principal):
        raise NoRoute(
            f"no router decided, and [routing] default = {default!r} is no model that the group "
            f"{turn.group!r} may use"
        )
    return Route(model=default, confidence=0.0, reason="no router decided", router="default")


def _reachable(turn: Turn, route: Route) -> bool:
    application = turn.application
    targets = application.agents if route.agent else application.allowed_models(turn.principal)
    if route.target not in targets:
        logger.bind(target=route.target).warning("a route leads nowhere; the next router is asked")
    return route.target in targets


async def _agent(progress: Progress, route: Route) -> Events:
    agent = progress.turn.application.agents[route.target]
    progress.answered_by = agent.name
    whole = AnswerBuilder()
    until_s = asyncio.get_running_loop().time() + left_s(progress.turn, progress.clock)
    with Deadline() as deadline:
        async with closing(agent.work(progress.turn)) as chunks:
            while (chunk := await deadline.wait(anext(chunks, END), until_s)) is not END:
                whole.add(chunk)
                if not is_empty(shown := without_end(chunk)):
                    yield Delta(chunk=shown)
    progress.finish_reasons = whole.finish_reasons()


async def _answer(progress: Progress, route: Route) -> Events:
    """Ask the model, run the tools of ours that it calls, and ask again, until it has answered."""
    turn = progress.turn
    tools = prompt.offered_tools(turn, route)
    pack = prompt.system_message(turn, progress.prompts)
    model = turn.application.models[route.target]
    written = prompt.write(turn, progress.passages, pack, model)
    messages = await guard.inspect_messages(turn, "egress", written, progress.verdicts)
    for rounds_left in range(turn.application.settings.coe.tool_rounds, -1, -1):
        offered = tools if rounds_left else {}
        builder = AnswerBuilder()
        definitions = prompt.definitions(turn, offered)
        request = turn.request
        if definitions or messages != request.messages:
            request = evolve(request, messages=messages, tools=(*request.tools, *definitions))
        target = progress.answered_by or route.target
        view = ClientView(tools, resilience.held(turn))
        work = Attempts(progress, target, request, builder, view)
        async with aclosing(work.run()) as events:
            async for event in events:
                yield event
        calls = builder.calls()
        ours = [call for call in calls if call.function.name in offered]
        if not ours:
            return
        progress.exchange.append(builder.messages()[0])
        async with aclosing(_act(progress, ours, tools)) as events:
            async for event in events:
                yield event
        if len(ours) < len(calls):
            return  # The client runs the others; what ours gave is put back when it answers.
        messages = (*messages, *progress.exchange[-1 - len(ours) :])


async def _act(progress: Progress, calls: list[ToolCall], tools: dict[str, CheckedTool]) -> Events:
    """Run our tools side by side; their results stand in the order of the calls."""
    turn = progress.turn
    for call in calls:
        yield ToolStarted(id=call.id, tool=call.function.name, arguments=call.function.arguments)
    runs = await asyncio.gather(
        *(_run_tool(progress, tools[call.function.name], call) for call in calls)
    )
    for run_of_tool in runs:
        progress.tool_runs.append(run_of_tool)
        progress.exchange.append(answer_message(run_of_tool))
    progress.exchange[-len(runs) :] = await guard.inspect_messages(
        turn, "egress", tuple(progress.exchange[-len(runs) :]), progress.verdicts
    )
    for run_of_tool in runs:
        yield ToolEnded(run=run_of_tool)


async def _run_tool(progress: Progress, tool: CheckedTool, call: ToolCall) -> ToolRun:
    arguments = await guard.inspect(
        progress.turn, "tool_call", call.function.arguments, progress.verdicts
    )
    allowed = evolve(call, function=evolve(call.function, arguments=arguments))
    return await tool.run(allowed, progress.turn, progress.clock)


async def _guarded(progress: Progress, events: Events) -> Events:
    """Hold the answer back until the guards have seen all of it."""
    held: list[Chunk] = []
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Delta):
                held.append(event.chunk)
            else:
                yield event
    whole = AnswerBuilder()
    for chunk in held:
        whole.add(chunk)
    for index, choice in whole.choices.items():
        text = await guard.inspect(progress.turn, "answer", choice.text, progress.verdicts)
        if text != choice.text:
            held = [evolve(c, content="") if c.index == index else c for c in held]
            held.insert(0, Chunk(content=text, index=index))
    for chunk in held:
        if not is_empty(chunk):
            yield Delta(chunk=chunk)


async def _end(progress: Progress) -> Event:
    reasons = progress.finish_reasons or ("stop",)
    rescued_from = progress.rescued_from
    went_elsewhere = progress.route is not None and progress.answered_by != progress.route.target
    outcome = Outcome(
        status="success",
        finish_reason=reasons[0],
        failure="fallback_used" if went_elsewhere or rescued_from is not None else None,
        error_code=rescued_from.code if rescued_from is not None else None,
        error=rescued_from.message if rescued_from is not None else None,
    )
    record = await _record(progress, outcome)
    return TurnEnded(
        record=record,
        finish_reasons=reasons,
        usage=answer_usage(progress.turn.ledger.attempts),
        model=progress.answered_by,
    )


async def _fail(progress: Progress, error: Exception) -> TurnFailed:
    known = _known(progress, error)
    outcome = Outcome(
        status="failed",
        failure=_failure_class(known),
        error_code=known.code,
        error=known.message,
    )
    try:
        record = await _record(progress, outcome)
    except CoeError as unrecorded:
        return TurnFailed(record=progress.interaction(outcome), error=unrecorded)
    return TurnFailed(record=record, error=known)


def _known(progress: Progress, error: Exception) -> CoeError:
    if not isinstance(error, CoeError):
        logger.bind(turn=progress.turn.id).opt(exception=error).error("a turn failed inside CoE")
    return resilience.known_error(error)


async def _cancel(progress: Progress) -> None:
    if progress.recorded:
        return
    try:
        await _record(progress, Outcome(status="cancelled"))
    except CoeError as error:
        logger.bind(turn=progress.turn.id, code=error.code).error("a cancelled turn is unrecorded")


def _failure_class(error: CoeError) -> FailureClass | None:
    match error:
        case NoRoute():
            return "no_route"
        case BudgetExceeded():
            return "budget_denied"
        case UpstreamTimeout():
            return "timeout"
        case _:
            return "target_error" if error.status >= 500 else None  # noqa: PLR2004 HTTP's own


async def _record(progress: Progress, outcome: Outcome) -> Interaction:
    """Write the record, and hand it to the sinks, to the end though the client goes meanwhile: a
    turn has one record. Raises `Unavailable` when it cannot be kept.
    """
    return await to_the_end(_write(progress, outcome))


async def _write(progress: Progress, outcome: Outcome) -> Interaction:
    turn = progress.turn
    application = turn.application
    turn.ledger.cancel_running()
    record = progress.interaction(outcome)
    tokens = turn.ledger.usage.total_tokens
    meter = application.need(RateMeter)
    await meter.book_tokens(turn.group, application.group(turn.group), tokens)
    await keep(application, record)
    progress.recorded = True
    return record


async def keep(application: Application, record: Record) -> None:
    """Write a record, and hand it to the sinks. Raises `Unavailable` when it cannot be kept."""
    await application.need(Journal).append(record)
    for sink in application.event_sinks:
        try:
            await in_time(application, sink.name, sink.receive(record))
        except Exception as error:
            logger.bind(sink=sink.name).opt(exception=error).error("a sink raised")


async def embed(
    application: Application, principal: Principal, request: EmbeddingRequest
) -> Vectors:
    """Embed for a client: a turn of its own, without an answer. Raises what `run` may raise or
    end with.
    """
    model = _embedder(application, principal, request.model)
    messages = tuple(user(text) for text in request.input) or (user(""),)
    ask = Ask(request=ChatRequest(model=request.model, messages=messages), principal=principal)
    admission = await admit(application, ask)
    clock = application.need(Clock)
    progress = Progress.of(admission, clock, application.need(ModelCaller))
    progress.answered_by = model.alias
    progress.route = Route(model=model.alias, reason="the client named it", router="explicit")
    try:
        inspected = await guard.inspect_messages(
            progress.turn, "egress", messages, progress.verdicts
        )
        if request.input:
            request = evolve(request, input=tuple(message.text for message in inspected))
        vectors = await progress.caller.embed(
            model.alias, request, purpose="embedding", parent=progress.turn
        )
        await _record(progress, Outcome(status="success"))
    except Exception as error:
        failed = await _fail(progress, error)
        raise failed.error from error
    except BaseException:
        await _cancel(progress)
        raise
    return vectors


def _embedder(application: Application, principal: Principal, alias: str) -> Model:
    model = None if alias == AUTO else application.model(alias, principal)
    if model is None or model.capability != "embedding":
        able = [
            name
            for name, known in application.allowed_models(principal).items()
            if known.capability == "embedding"
        ]
        hint = f"; these do: {', '.join(able)}" if able else ""
        raise InvalidField(f"the model {alias!r} makes no embeddings{hint}", param="model")
    return model
