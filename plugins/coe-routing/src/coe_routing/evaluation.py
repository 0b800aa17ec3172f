"""How good the routes are: the semantic router against requests whose route is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from attrs import frozen

from coe_core.codec import decode, shape_errors, structure
from coe_core.error import InvalidField
from coe_routing.language import language
from coe_routing.semantic import Reading

BINS = 10
WORST = 20
"""How many confusions are listed."""


@frozen(kw_only=True)
class Labelled:
    """A request whose route is known: a line of the file."""

    text: str
    route: str | None = None
    """The right route; null when the request belongs to none."""
    language: str | None = None
    """By which results are grouped; told by the script if left out."""


@frozen(kw_only=True)
class Judged:
    """A labelled request, and how it was understood."""

    labelled: Labelled
    best: str
    confidence: float
    decides: bool

    @property
    def is_right(self) -> bool:
        """Whether the likeliest route is the right one."""
        return self.best == self.labelled.route


@frozen(kw_only=True)
class Score:
    """Results of some of the requests in scope."""

    requests: int
    accuracy: float
    """The share whose likeliest route is right, decided or not."""
    decided: float
    """The share that the router was sure enough of."""
    accuracy_decided: float | None
    """The share of those that is right; none when nothing was decided."""


@frozen(kw_only=True)
class Bin:
    """Requests whose confidence lies between two numbers."""

    low: float
    high: float
    requests: int
    confidence: float
    accuracy: float


@frozen(kw_only=True)
class Confusion:
    """How often one route was taken for another; `expected` is null out of scope."""

    expected: str | None
    got: str
    requests: int


@frozen(kw_only=True)
class Report:
    """The results of a file."""

    in_scope: Score
    out_of_scope: int
    false_accepts: float | None
    """The share of the requests out of scope that were decided; none when there are none."""
    by_route: dict[str, Score]
    by_language: dict[str, Score]
    confusion: tuple[Confusion, ...]
    """Of requests that were decided wrongly, the commonest first."""
    calibration: tuple[Bin, ...]
    calibration_error: float
    """How far confidence and accuracy lie apart, on average over the requests in scope."""


def read_labelled(file: Path, routes: Iterable[str]) -> list[Labelled]:
    """Read a file of JSON lines. Raises `InvalidField` with the line that is wrong."""
    known = set(routes)
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            labelled = structure(decode(line), Labelled)
        except Exception as error:
            raise InvalidField(f"{file}:{number}: {_why(error)}") from error
        if labelled.route is not None and labelled.route not in known:
            raise InvalidField(f"{file}:{number}: there is no route {labelled.route!r}")
        if labelled.text.strip():
            found.append(labelled)
    if not found:
        raise InvalidField(f'{file} holds no request: a line is {{"text": ..., "route": ...}}')
    return found


def _why(error: Exception) -> str:
    return shape_errors(error)[0][1] if isinstance(error, ExceptionGroup) else str(error)


def judge(labelled: Labelled, reading: Reading, threshold: float) -> Judged:
    """Put a request beside how it was understood."""
    confidence = reading.verdict.confidence
    return Judged(
        labelled=labelled,
        best=reading.best,
        confidence=confidence,
        decides=confidence >= threshold,
    )


def report(judged: Sequence[Judged]) -> Report:
    """Sum up."""
    inside = [each for each in judged if each.labelled.route is not None]
    outside = [each for each in judged if each.labelled.route is None]
    bins = _bins(inside)
    wrong = Counter((e.labelled.route, e.best) for e in judged if e.decides and not e.is_right)
    return Report(
        in_scope=_score(inside),
        out_of_scope=len(outside),
        false_accepts=_share(outside, lambda each: each.decides),
        by_route=_scores(inside, lambda each: str(each.labelled.route)),
        by_language=_scores(inside, _language),
        confusion=tuple(
            Confusion(expected=expected, got=got, requests=count)
            for (expected, got), count in wrong.most_common(WORST)
        ),
        calibration=bins,
        calibration_error=sum(b.requests * abs(b.confidence - b.accuracy) for b in bins)
        / max(1, len(inside)),
    )


def _language(judged: Judged) -> str:
    return judged.labelled.language or language(judged.labelled.text)


def _scores(judged: Sequence[Judged], key: Callable[[Judged], str]) -> dict[str, Score]:
    groups: dict[str, list[Judged]] = {}
    for each in judged:
        groups.setdefault(key(each), []).append(each)
    return {name: _score(groups[name]) for name in sorted(groups)}


def _score(judged: Sequence[Judged]) -> Score:
    decided = [each for each in judged if each.decides]
    return Score(
        requests=len(judged),
        accuracy=_share(judged, lambda each: each.is_right) or 0.0,
        decided=len(decided) / max(1, len(judged)),
        accuracy_decided=_share(decided, lambda each: each.is_right),
    )


def _share(judged: Sequence[Judged], holds: Callable[[Judged], bool]) -> float | None:
    return sum(map(holds, judged)) / len(judged) if judged else None


def _bins(judged: Sequence[Judged]) -> tuple[Bin, ...]:
    found = []
    for number in range(BINS):
        inside = [e for e in judged if min(int(e.confidence * BINS), BINS - 1) == number]
        if inside:
            found.append(
                Bin(
                    low=number / BINS,
                    high=(number + 1) / BINS,
                    requests=len(inside),
                    confidence=sum(each.confidence for each in inside) / len(inside),
                    accuracy=_share(inside, lambda each: each.is_right) or 0.0,
                )
            )
    return tuple(found)
