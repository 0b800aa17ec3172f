"""Which route a request means, and how likely that is: kernel ridge regression, numpy alone.

A request is compared with every example: the cosine of their embeddings, each embedder's, and of
their letters, mixed and taken through exp. The weights of the examples have a closed form, and so
has what the classifier would say of an example that it had not seen (leave one out), or of one
whose whole route it had not seen (leave a class out: what a request out of scope looks like). On
these two the confidence is calibrated, without a further set of requests. See ADR 0019.

Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), 5.4.2, has the closed form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from attrs import field, frozen

from coe_routing.array import Array
from coe_routing.lexicon import Lexicon

SHARPNESS = 2.0
"""How quickly likeness fades with distance. Which route is meant is told best by many examples,
near and far; whether any is, by the nearest: for that, likeness is squared and fades twice as
quickly.
"""
LETTERS = 0.25
"""How much the cosine of the letters weighs, that of the embeddings together being 1."""
RIDGE = 0.05
"""How far the fit may miss an example that counts whole."""
STRANGERS = 0.5
"""How many requests out of scope are expected for each one in scope."""
USUAL_SCOPE, USUAL_CERTAINTY = (3.0, 0.0), (8.0, -0.5)
"""What calibration comes to on sets with many examples, slope and offset: few say little."""
PULL = 0.3
"""How strongly calibration is drawn to that."""
LEAST = 0.2
"""A fit whose slope is less than this share of the usual one is not believed."""
NARROWEST = 0.02
"""The least distance at which requests in and out of scope are told apart."""
Curve: TypeAlias = tuple[float, float]
"""Slope and offset of a logistic curve."""
NEWTON_STEPS, LONGEST_STEP = 40, 1.0
NOTHING = -1
"""The label of an example that belongs to no route."""


@frozen(kw_only=True)
class Lesson:
    """An example to learn from: `weight` 1 counts whole, 0.5 half."""

    text: str
    label: int
    weight: float = 1.0


@frozen(kw_only=True, eq=False)
class Verdict:
    """What the classifier says of a request."""

    scores: Array
    """One number a label: near 1 for its examples' like, near 0 for others."""
    scope: float
    """How likely it is, 0 to 1, that any of the labels is right."""
    confidence: float
    """How likely it is, 0 to 1, that the label with the highest score is right."""

    @property
    def best(self) -> int:
        """The label with the highest score."""
        import numpy as np

        return int(np.argmax(self.scores))

    def shares(self) -> Array:
        """Return the scores as shares of 1."""
        import numpy as np

        rising = np.exp((self.scores - self.scores.max()) / SPREAD)
        shares: Array = rising / rising.sum()
        return shares


SPREAD = 0.12
"""How far apart scores lie whose shares differ by a factor of e."""


@frozen(eq=False)
class View:
    """One embedder's picture of the examples: the rows' mean, and unit rows from there."""

    mean: Array
    rows: Array

    @classmethod
    def of(cls, vectors: Array) -> View:
        """Centre and scale."""
        mean = vectors.mean(axis=0)
        return cls(mean, _unit(vectors - mean))

    def similarity(self, vectors: Array) -> Array:
        """Return the cosine of each vector with each example."""
        units = _unit(vectors - self.mean)
        # One request at a time is the common case, and a matrix times a vector then twice as fast.
        likeness: Array = (self.rows @ units[0])[None] if len(units) == 1 else units @ self.rows.T
        return likeness


@frozen(eq=False)
class Fit:
    """Kernel ridge regression on the examples' labels, with what it would have said of them."""

    weights: Array
    """One row an example, one column a label."""
    guess: float
    """What is said of a request that is like nothing."""
    left_out: Array = field(repr=False)
    """What it would say of each example, had it not seen it."""
    class_left_out: Array = field(repr=False)
    """What it would say of each example, had it seen none with its label."""

    @classmethod
    def of(cls, kernel: Array, slack: Array, label: Array, labels: int) -> Fit:
        """Fit."""
        import numpy as np

        inverse = np.linalg.inv(kernel + np.diag(slack))
        targets, guess = _targets(label, labels), 1 / (labels + 1)
        weights = inverse @ targets
        left_out = targets - weights / np.diag(inverse)[:, None] + guess
        class_left_out = _without_own_class(inverse, weights, targets, label) + guess
        return cls(weights.astype(np.float32), guess, left_out, class_left_out)

    def scores(self, likeness: Array) -> Array:
        """Return one number a label for a request, by how like it is to each example."""
        import numpy as np

        scores: Array = likeness @ self.weights + np.float32(self.guess)
        return scores


@frozen(eq=False)
class Classifier:
    """A fitted classifier."""

    labels: int
    views: tuple[View, ...]
    lexicon: Lexicon
    choice: Fit
    """Tells the label."""
    scope: Fit
    """Tells whether there is one."""
    calibration: tuple[Curve, Curve]
    """By which scope and certainty follow from the scores."""

    @classmethod
    def fit(cls, lessons: Sequence[Lesson], vectors: Sequence[Array], labels: int) -> Classifier:
        """Learn: `vectors` has one array an embedder, one row a lesson. 300 lessons take some
        hundredths of a second, 1,500 about one.
        """
        import numpy as np

        texts = [lesson.text for lesson in lessons]
        views = tuple(View.of(np.asarray(each, np.float32)) for each in vectors)
        lexicon = Lexicon.of(texts)
        label = np.array([lesson.label for lesson in lessons])
        slack = np.array([RIDGE / lesson.weight for lesson in lessons])
        kernel = _kernel_of(views, lexicon, texts, vectors).astype(np.float64)
        choice = Fit.of(kernel, slack, label, labels)
        scope = Fit.of(kernel**2, slack, label, labels)
        return cls(labels, views, lexicon, choice, scope, _calibrate(choice, scope, label))

    def kernel_of(self, texts: Sequence[str], vectors: Sequence[Array]) -> Array:
        """Return how alike each of some texts, with their vectors, and each example are, 0 to 1."""
        return _kernel_of(self.views, self.lexicon, texts, vectors)

    def judge(self, text: str, vectors: Sequence[Array], allowed: Array | None = None) -> Verdict:
        """Judge a request by its text and its embeddings, one vector a view; of the labels, only
        those that `allowed`, an array of bool, has.
        """
        import numpy as np

        (kernel,) = self.kernel_of([text], [vector[None] for vector in vectors])
        scores, near = self.choice.scores(kernel), self.scope.scores(kernel**2)
        if allowed is not None:
            scores, near = (np.where(allowed, each, np.float32(-1)) for each in (scores, near))
        scope = _likely(float(_presence(near)), self.calibration[0])
        certainty = _likely(float(_distance(scores)), self.calibration[1])
        return Verdict(scores=scores, scope=scope, confidence=scope * certainty)


def _kernel_of(
    views: Sequence[View], lexicon: Lexicon, texts: Sequence[str], vectors: Sequence[Array]
) -> Array:
    import numpy as np

    pairs = zip(views, vectors, strict=True)
    meaning = sum(view.similarity(each) for view, each in pairs) / len(views)
    letters = np.stack([lexicon.similarity(text) for text in texts])
    kernel: Array = np.exp(SHARPNESS * ((meaning + LETTERS * letters) / (1 + LETTERS) - 1))
    return kernel


def _unit(rows: Array) -> Array:
    import numpy as np

    scaled: Array = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return scaled


def _targets(label: Array, labels: int) -> Array:
    """Return 1 for the own label, 0 for the others, less what a guess would get that may be
    nothing too; for an example that belongs nowhere, 0 for all.
    """
    import numpy as np

    return np.equal(label[:, None], np.arange(labels)[None]) - 1 / (labels + 1)


def _without_own_class(inverse: Array, weights: Array, targets: Array, label: Array) -> Array:
    """Return what would be said of each example, had no example of its label been seen."""
    import numpy as np

    said = np.empty_like(targets)
    for each in np.unique(label):
        own = np.flatnonzero(label == each)
        said[own] = targets[own] - np.linalg.solve(inverse[np.ix_(own, own)], weights[own])
    return said


def _presence(scores: Array) -> Array:
    """Return what speaks for a request in scope: how high the scores are, the best above all."""
    import numpy as np

    best = scores.max(axis=-1)
    height: Array = best + SPREAD * np.log(np.exp((scores - best[..., None]) / SPREAD).sum(axis=-1))
    return height


def _distance(scores: Array) -> Array:
    """Return what speaks for the best label: how far the next is behind."""
    import numpy as np

    if scores.shape[-1] == 1:
        alone: Array = np.abs(scores[..., 0])
        return alone
    top = np.partition(scores, -2, axis=-1)
    ahead: Array = top[..., -1] - top[..., -2]
    return ahead


def _likely(feature: float, curve: Curve) -> float:
    """Read a logistic curve."""
    slope, offset = curve
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, slope * feature + offset))))


def _calibrate(choice: Fit, scope: Fit, label: Array) -> tuple[Curve, Curve]:
    """Fit how likely a request is in scope, by examples left out against those whose class was;
    and how likely its best label is right, by whether the examples left out were.
    """
    import numpy as np

    known = label != NOTHING
    inside = scope.left_out[known]
    outside = np.vstack([scope.class_left_out[known], scope.left_out[~known]])
    heights = _presence(np.vstack([inside, outside]))
    is_inside = np.concatenate([np.ones(len(inside)), np.zeros(len(outside))])
    share = np.where(is_inside == 1, 1.0, STRANGERS * len(inside) / max(1, len(outside)))
    # How far the two lie apart depends on how many routes and examples there are: in units of that
    # distance what is usual can be said.
    high, low = (float(heights[is_inside == side].mean()) for side in (1, 0))
    middle, unit = (high + low) / 2, max((high - low) / 2, NARROWEST)
    slope, offset = _logistic((heights - middle) / unit, is_inside, share, USUAL_SCOPE)
    said = choice.left_out[known]
    right = (said.argmax(axis=1) == label[known]).astype(np.float64)
    return (
        (slope / unit, offset - slope * middle / unit),
        _logistic(_distance(said), right, np.ones(len(right)), USUAL_CERTAINTY),
    )


def _logistic(feature: Array, targets: Array, share: Array, usual: Curve) -> Curve:
    """Fit a logistic regression by Newton's method, drawn to what is usual as by a few examples."""
    import numpy as np

    features, found = np.stack([feature, np.ones(len(feature))], axis=1), np.array(usual)
    for _ in range(NEWTON_STEPS):
        likely = _risen(features @ found)
        rise = features.T @ (share * (targets - likely)) - PULL * (found - np.array(usual))
        bend = (features * (share * likely * (1 - likely))[:, None]).T @ features
        step = np.linalg.solve(bend + PULL * np.eye(len(found)), rise)
        # Where the curve is flat, Newton's step would lead far beyond the best point.
        found = found + step / max(1.0, float(np.abs(step).max()) / LONGEST_STEP)
    # Where examples have nothing in common, a fit may say that likeness speaks against a route.
    slope, offset = map(float, found)
    return (slope, offset) if slope >= LEAST * usual[0] else usual


def _risen(logits: Array) -> Array:
    import numpy as np

    share: Array = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
    return share
