"""Findings: which turns of the record failed, how, and what should have been."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import evolve, frozen

from coe_core.record import Feedback, Interaction
from coe_core.turn import Route
from coe_regress.case import Expectation, Failed

REPLAYED_BY = "coe regress"
"""The user of turns that a live run made: they are no traffic."""


@frozen(kw_only=True)
class Finding:
    """A turn that failed."""

    turn: Interaction
    failure: Failed
    expect: Expectation
    said: tuple[Feedback, ...] = ()


def findings(
    turns: Sequence[Interaction], feedback: Iterable[Feedback], unsure_below: float
) -> Iterator[Finding]:
    """Judge turns, oldest first, by their outcome, by what was said of them, and by whether they
    were asked again of somebody else. A decision whose confidence is below `unsure_below` was
    unsure.
    """
    said: dict[str, list[Feedback]] = {}
    for each in feedback:
        said.setdefault(each.turn_id, []).append(each)
    asked_again = _asked_again(turns)
    for turn in turns:
        if turn.provenance is None and turn.user != REPLAYED_BY:
            opinions = tuple(said.get(turn.id, ()))
            found = _judge(turn, opinions, asked_again.get(turn.id), unsure_below)
            if found is not None:
                yield found


def _judge(
    turn: Interaction, said: tuple[Feedback, ...], asked_again: str | None, unsure_below: float
) -> Finding | None:
    outcome = turn.outcome
    objections = [each for each in said if _objects(each, turn.route)]
    named = [each.route for each in objections if each.route is not None]
    right = named[-1] if named else asked_again
    if outcome.failure is not None and outcome.status in ("success", "failed"):
        expect = Expectation(goes_to=right)
        if outcome.failure == "fallback_used":
            expect = evolve(expect, ends="succeeded")
        return Finding(turn=turn, failure=outcome.failure, expect=expect, said=said)
    if outcome.status != "success" or turn.route is None or not (objections or asked_again):
        return None
    unsure = turn.route.router != "explicit" and turn.route.confidence < unsure_below
    return Finding(
        turn=turn,
        failure="low_confidence" if unsure else "wrong_route",
        expect=Expectation(goes_to=right, not_to=None if right else turn.route.target),
        said=said,
    )


def _objects(said: Feedback, route: Route | None) -> bool:
    """Whether feedback says that a turn was no success, as `specs/kpis` has it."""
    if said.rating == -1 or said.label == "wrong_route":
        return True
    taken = (route.target, route.name) if route is not None else ()
    return said.route is not None and said.route not in taken


def _asked_again(turns: Sequence[Interaction]) -> Mapping[str, str]:
    """Find the turns that their user asked again, word for word, of another target by its name:
    that is a correction too. Returns turn to that target.
    """
    latest: dict[tuple[str, str], Interaction] = {}
    corrected: dict[str, str] = {}
    for turn in turns:
        before = latest.get((turn.group, turn.session))
        latest[turn.group, turn.session] = turn
        if before is None or before.route is None or turn.route is None:
            continue
        is_named = turn.route.router == "explicit" and before.route.router != "explicit"
        differs = turn.route.target != before.route.target
        if is_named and differs and _asked(turn) and _asked(turn) == _asked(before):
            corrected[before.id] = turn.route.name or turn.route.target
    return corrected


def _asked(turn: Interaction) -> str:
    said = [message.text for message in turn.new_messages if message.role == "user"]
    return said[-1].strip() if said else ""
