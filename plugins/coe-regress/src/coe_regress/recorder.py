"""From a turn's record to what its far sides gave back.

The record has who was called, how each call went, and the answer; it has not the frames. So calls
that went well are given the messages that the turn has, in order; one that broke off after its
first word is given the first half of what the client saw.
"""

from __future__ import annotations

from collections.abc import Iterator

from coe_core.codec import structure, unstructure
from coe_core.ledger import Attempt
from coe_core.message import Message
from coe_core.record import Interaction
from coe_core.turn import Passage
from coe_regress.case import Fault, ModelCall, Recording, ToolAnswer
from coe_regress.mask import Mask, masked_json, masked_message

OTHERWISE = "Understood."
LEFT_ALONE = "it was left alone, as it had failed before"


def recording_of(turn: Interaction, mask: Mask) -> Recording:
    """Make the recording of a turn, masked."""
    return Recording(
        models=tuple(_calls(turn, mask)),
        tools=tuple(
            ToolAnswer(
                tool=run.tool,
                arguments=masked_json(run.arguments, mask),
                result=masked_json(run.result, mask),
                error=None if run.error is None else mask(run.error),
            )
            for run in turn.tool_runs
        ),
        passages=structure(masked_json(unstructure(turn.passages), mask), tuple[Passage, ...]),
        otherwise=OTHERWISE,
    )


def _calls(turn: Interaction, mask: Mask) -> Iterator[ModelCall]:
    attempts = [attempt for attempt in turn.attempts if attempt.purpose == "chat"]
    if _was_left_out(turn, attempts):
        fault = Fault(code="upstream_error", message=LEFT_ALONE)
        yield ModelCall(model=str(turn.route and turn.route.target), error=fault)
    said = _said(turn)
    for attempt in attempts:
        if attempt.outcome == "ok":
            yield _answered(attempt, said.pop(0) if said else Message(role="assistant"), mask)
        else:
            half = _half(said[0].text) if said and attempt.first_token_s is not None else ""
            yield ModelCall(
                model=attempt.model,
                says=mask(half),
                error=Fault(code=attempt.error_code or "upstream_cut"),
                took_s=attempt.duration_s,
            )


def _was_left_out(turn: Interaction, attempts: list[Attempt]) -> bool:
    """Whether the routed target was not called at all, another in its place."""
    if turn.route is None or turn.route.model is None or not attempts:
        return False
    return all(attempt.model != turn.route.model for attempt in attempts)


def _said(turn: Interaction) -> list[Message]:
    """List what models said in the turn: the calls of our tools, then the answer."""
    between = [message for message in turn.exchange if message.role == "assistant"]
    return [*between, *(() if turn.pending else turn.answer[:1])]


def _answered(attempt: Attempt, said: Message, mask: Mask) -> ModelCall:
    masked = masked_message(said, mask)
    return ModelCall(
        model=attempt.model,
        says=masked.text,
        calls=masked.tool_calls,
        usage=attempt.usage,
        took_s=attempt.duration_s,
    )


def _half(text: str) -> str:
    return text[: len(text) // 2]
