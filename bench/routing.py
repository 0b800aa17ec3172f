"""How well requests are routed: the semantic router and the tally of outcomes, on labelled sets.

Run with `python3 noxfile.py bench routing`, or with the folder of the public sets as an argument
(default: ../shared/data, beside the repository). Without that folder only our own set is measured.
Deterministic; vectors are kept in the system's temporary folder, for to embed takes the most time.
What the figures mean, what was missed and what was tried: docs/explanation/routing.md.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
import statistics
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve, frozen
from coe_models_local.embedder import load_fast, load_quality
from coe_routing.classifier import NOTHING, Classifier, Lesson, Verdict
from coe_routing.embedding import clipped
from coe_routing.tally import Tally
from numpy.typing import NDArray

Array = NDArray[Any]

ROOT = Path(__file__).parents[1]
DATA = ROOT / ".." / "shared" / "data"
CACHE = Path(tempfile.gettempdir()) / "coe-bench-routing"
DRAWS = 3
SHOTS = 10
BATCH = 64
FAST, BOTH = ("fast",), ("fast", "quality")
LOADERS = {"fast": load_fast, "quality": load_quality}


def vectors(embedder: str, texts: Sequence[str]) -> Array:
    """Embed texts, or take their vectors from the cache."""
    key = hashlib.sha256("\0".join((embedder, *texts)).encode()).hexdigest()[:24]
    file = CACHE / f"{embedder}-{key}.npy"
    if file.exists():
        return np.asarray(np.load(file))
    print(f"  embedding {len(texts)} texts with embed-{embedder}", file=sys.stderr)
    encode = LOADERS[embedder](1)
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    parts = [order[at : at + BATCH] for at in range(0, len(order), BATCH)]
    rows = np.concatenate([encode([texts[i] for i in part], "query")[0] for part in parts])
    found = np.empty_like(rows)
    found[order] = rows
    CACHE.mkdir(parents=True, exist_ok=True)
    np.save(file, found)
    return found


@frozen(kw_only=True)
class Sample:
    """What a classifier learns from, and what it is tried on; label -1 is out of scope."""

    lessons: list[Lesson]
    learnt: dict[str, Array]
    texts: list[str]
    asked: dict[str, Array]
    label: Array


@frozen(kw_only=True)
class Result:
    """What came out."""

    accuracy: float
    centroid: float
    """Of the nearest centroid of one embedder, the best of those there are."""
    auroc: float | None
    cpu_ms: float
    verdicts: list[Verdict]


def tried(sample: Sample, embedders: Sequence[str], labels: int) -> Result:
    """Learn and judge."""
    fitted = Classifier.fit(sample.lessons, [sample.learnt[e] for e in embedders], labels)
    rows = list(zip(*(sample.asked[e] for e in embedders), strict=True))
    started_s = time.process_time()
    verdicts = [fitted.judge(t, row) for t, row in zip(sample.texts, rows, strict=True)]
    cpu_ms = (time.process_time() - started_s) / len(rows) * 1000
    inside = sample.label != NOTHING
    best = np.array([verdict.best for verdict in verdicts])
    scope = np.array([verdict.scope for verdict in verdicts])
    return Result(
        accuracy=float((best == sample.label)[inside].mean()),
        centroid=max(centroid(sample, e, labels) for e in embedders),
        auroc=None if inside.all() else auroc(scope[inside], scope[~inside]),
        cpu_ms=cpu_ms,
        verdicts=verdicts,
    )


def centroid(sample: Sample, embedder: str, labels: int) -> float:
    """Score the nearest centroid, the simplest router by meaning."""
    label = np.array([lesson.label for lesson in sample.lessons])
    rows = sample.learnt[embedder]
    means = np.stack([rows[label == n].mean(axis=0) for n in range(labels)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    inside = sample.label != NOTHING
    best = (sample.asked[embedder] @ means.T).argmax(axis=1)
    return float((best == sample.label)[inside].mean())


def auroc(inside: Array, outside: Array) -> float:
    """Return how often a request in scope scores above one that is not."""
    both = np.concatenate([inside, outside])
    ranks = both.argsort(kind="stable").argsort(kind="stable") + 1.0
    beyond = ranks[: len(inside)].sum() - len(inside) * (len(inside) + 1) / 2
    return float(beyond / (len(inside) * len(outside)))


def show(name: str, results: Sequence[Result], trivial: float, target: str) -> None:
    """Print one line, the mean over draws."""
    mean = statistics.mean
    out = [f"{name:34} {mean(r.accuracy for r in results):.3f}"]
    out.append(
        f"largest class {trivial:.3f}, nearest centroid {mean(r.centroid for r in results):.3f}"
    )
    if results[0].auroc is not None:
        out.append(f"out-of-scope AUROC {mean(r.auroc or 0 for r in results):.3f}")
    out.append(f"{min(r.cpu_ms for r in results):.2f} ms CPU beyond the embedding")
    print(", ".join(out) + f"; {target}")


def clinc(folder: Path) -> None:
    """CLINC150, ten shots."""
    sets = json.loads((folder / "clinc150" / "data_full.json").read_text(encoding="utf-8"))
    by_label: dict[str, list[str]] = {}
    for text, name in sets["train"]:
        by_label.setdefault(name, []).append(text)
    names = sorted(by_label)
    draws = []
    for seed in range(DRAWS):
        dice = random.Random(seed)  # noqa: S311 for draws
        draws.append([(t, n) for n in names for t in dice.sample(by_label[n], SHOTS)])
    shots = sorted({text for draw in draws for text, _ in draw})
    at = {text: n for n, text in enumerate(shots)}
    texts = [text for text, _ in (*sets["test"], *sets["oos_test"])]
    label = [names.index(name) for _, name in sets["test"]] + [NOTHING] * len(sets["oos_test"])
    asked = {e: vectors(e, texts) for e in BOTH}
    known = {e: vectors(e, shots) for e in BOTH}
    samples = [
        Sample(
            lessons=[Lesson(text=t, label=names.index(n)) for t, n in draw],
            learnt={e: known[e][[at[t] for t, _ in draw]] for e in BOTH},
            texts=texts,
            asked=asked,
            label=np.array(label),
        )
        for draw in draws
    ]
    described = [with_names(sample, names) for sample in samples]
    wanted = {
        FAST: "target .905, floor .888",
        BOTH: "targets .925 and .965, floors .913 and .956",
    }
    for embedders, target in wanted.items():
        name = f"CLINC150 10-shot, {'+'.join(embedders)}"
        for title, made in (name, samples), ("  and the intents' names", described):
            results = [tried(sample, embedders, len(names)) for sample in made]
            show(title, results, 1 / len(names), target)


def with_names(sample: Sample, names: Sequence[str]) -> Sample:
    """Add each route's name, in words, as the description that a route has."""
    texts = [name.replace("_", " ") for name in names]
    lessons = [Lesson(text=text, label=n, weight=0.5) for n, text in enumerate(texts)]
    return evolve(
        sample,
        lessons=[*sample.lessons, *lessons],
        learnt={e: np.concatenate([rows, vectors(e, texts)]) for e, rows in sample.learnt.items()},
    )


def parakqc(folder: Path) -> None:
    """ParaKQC, topic x act, ten shots; no set of paraphrases is on both sides."""
    file = folder / "parakqc" / "parakqc_dev.tsv"
    rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    texts = [row[2] for row in rows]
    label = np.array([2 * int(row[0]) + int(row[1]) for row in rows])
    known = {e: vectors(e, texts) for e in BOTH}
    for embedders in FAST, BOTH:
        results = []
        for seed in range(DRAWS):
            dice = random.Random(seed)  # noqa: S311 for draws
            sets = list(range(len(rows) // 10))
            dice.shuffle(sets)
            half = len(sets) // 2
            shots = []
            for each in range(8):
                own = [s for s in sets[:half] if label[10 * s] == each][:SHOTS]
                shots += [10 * s + dice.randrange(10) for s in own]
            rest = np.array([10 * s + n for s in sets[half:] for n in range(10)])
            sample = Sample(
                lessons=[Lesson(text=texts[i], label=int(label[i])) for i in shots],
                learnt={e: known[e][shots] for e in BOTH},
                texts=[texts[i] for i in rest],
                asked={e: known[e][rest] for e in BOTH},
                label=label[rest],
            )
            results.append(tried(sample, embedders, 8))
        trivial = float(np.bincount(label).max() / len(label))
        target = "target .68, stretch .75, floor .64"
        show(f"ParaKQC 10-shot, {'+'.join(embedders)}", results, trivial, target)


def own_set() -> None:
    """Our own set, with the routes' examples as they are published."""
    folder = ROOT / "specs" / "routing"
    routes = tomllib.loads((folder / "routes.toml").read_text(encoding="utf-8"))
    phrases = tomllib.loads((folder / "phrases.toml").read_text(encoding="utf-8"))
    lines = (folder / "requests.jsonl").read_text(encoding="utf-8").splitlines()
    asked = [json.loads(line) for line in lines]
    names = list(routes)
    lessons = [
        Lesson(text=t, label=n) for n, r in enumerate(routes.values()) for t in r["examples"]
    ]
    described = enumerate(routes.values())
    lessons += [Lesson(text=r["description"], label=n, weight=0.5) for n, r in described]
    lessons += [Lesson(text=t, label=NOTHING) for t in phrases["out_of_scope"]["examples"]]
    texts = [request["text"] for request in asked]
    label = [NOTHING if r["route"] is None else names.index(r["route"]) for r in asked]
    sample = Sample(
        lessons=lessons,
        learnt={e: vectors(e, [lesson.text for lesson in lessons]) for e in BOTH},
        texts=texts,
        asked={e: vectors(e, texts) for e in BOTH},
        label=np.array(label),
    )
    for embedders in FAST, BOTH:
        result = tried(sample, embedders, len(names))
        name = f"own set, all tiers, {'+'.join(embedders)}"
        show(name, [result], 1 / len(names), "see the tiers")
        for tier in "ordinary", "oblique":
            print(f"  {tier:9} {tier_of(asked, sample.label, result, tier)}")
        decided = [v.confidence >= 0.5 for v in result.verdicts]  # noqa: PLR2004 the default
        strange = [d for d, n in zip(decided, label, strict=True) if n == NOTHING]
        print(f"  false accepts {statistics.mean(strange):.3f}; target at most .020")


def tier_of(asked: list[dict[str, str]], label: Array, result: Result, tier: str) -> str:
    """Say how a tier went, by language, and how much of it was decided."""
    rows = [
        (request["language"], bool(verdict.best == own), verdict.confidence)
        for request, own, verdict in zip(asked, label, result.verdicts, strict=True)
        if request["tier"] == tier and own != NOTHING
    ]
    parts = [f"{len(rows)} requests, accuracy {statistics.mean(right for _, right, _ in rows):.3f}"]
    for each in "en", "ko":
        share = statistics.mean(right for spoken, right, _ in rows if spoken == each)
        parts.append(f"{each} {share:.3f}")
    sure = [right for _, right, confidence in rows if confidence >= 0.5]  # noqa: PLR2004 the default
    parts.append(f"decided {len(sure) / len(rows):.3f}, of these right {statistics.mean(sure):.3f}")
    return ", ".join(parts) + "; target .950, 2 points"


def routellm(folder: Path) -> None:
    """RouteLLM's tables: which questions deserve the strong model. What ships counts outcomes by
    the kind of request, here the subject; what the questions' own words would add is measured too.
    """
    rows, texts = [], []
    for file in sorted((folder / "routellm_mmlu_dev").glob("*.csv")):
        with file.open(encoding="utf-8", newline="") as opened:
            body = list(csv.reader(opened))[1:]
        rows += [(file.stem, row[1] == "True", row[2] == "True") for row in body]
        texts += [clipped(row[0]) for row in body]
    weak, strong = (np.array([row[n] for row in rows], float) for n in (1, 2))
    asked = vectors("fast", texts)
    asked = asked - asked.mean(axis=0)
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)

    def prior(learnt: Array, rest: Array) -> Array:
        tally = counted(rows, learnt)
        return np.array([expected(tally, rows[i][0]) for i in rest])

    def with_words(learnt: Array, rest: Array) -> Array:
        surprise = (strong - weak)[learnt] - prior(learnt, learnt)
        return prior(learnt, rest) + asked[rest] @ ridge(asked[learnt], surprise)

    subjects = len({subject for subject, *_ in rows})
    line = f"weak alone {weak.mean():.3f}, strong alone {strong.mean():.3f} right"
    print(f"RouteLLM MMLU, {len(rows)} questions of {subjects} of the 57 subjects: {line}")
    for name, method in ("by subject, as shipped", prior), ("  and by the question", with_words):
        five, few = cross_validated(method, weak, strong), from_few(method, weak, strong)
        print(f"  {name:24} APGR five-fold {five:.3f}, from {FEW} outcomes {few:.3f}")
    chance = apgr(np.random.default_rng(1).random(len(rows)), weak, strong)
    known = apgr(prior(np.arange(len(rows)), np.arange(len(rows))), weak, strong)
    print(f"  random {chance:.3f}, subjects whose outcomes are all known beforehand {known:.3f}")
    print(
        f"  oracle {apgr(strong - weak, weak, strong):.3f}; targets .72 and .62 on all 57 subjects"
    )


Method = Callable[[Array, Array], Array]
"""From the numbers of questions with known outcomes, and of others, to scores of the others."""
FEW = 500
STIFFNESS = 50.0
"""The ridge: as if so many questions in every direction had shown nothing."""


def ridge(rows: Array, targets: Array) -> Array:
    """Fit a linear function of vectors."""
    inner = rows.T @ rows + STIFFNESS * np.eye(rows.shape[1])
    found: Array = np.linalg.solve(inner, rows.T @ targets)
    return found


def cross_validated(method: Method, weak: Array, strong: Array) -> float:
    """Score every question by what is known of the other four fifths."""
    fold = np.random.default_rng(0).integers(0, 5, len(weak))
    scores = np.zeros(len(weak))
    for each in range(5):
        scores[fold == each] = method(np.flatnonzero(fold != each), np.flatnonzero(fold == each))
    return apgr(scores, weak, strong)


def from_few(method: Method, weak: Array, strong: Array) -> float:
    """Score by few outcomes, the mean of some draws."""
    dice = np.random.default_rng(1)
    found = []
    for _ in range(DRAWS):
        learnt = dice.permutation(len(weak))[:FEW]
        rest = np.setdiff1d(np.arange(len(weak)), learnt)
        found.append(apgr(method(learnt, rest), weak[rest], strong[rest]))
    return statistics.mean(found)


def counted(rows: Sequence[tuple[str, bool, bool]], at: Iterable[int]) -> Tally:
    """Count outcomes as the router does."""
    tally = Tally(10)
    for i in at:
        subject, weak, strong = rows[i]
        tally.add("bench", subject, "weak", good=weak)
        tally.add("bench", subject, "strong", good=strong)
    return tally


def expected(tally: Tally, subject: str) -> float:
    """Return how much more likely the strong model is to succeed."""
    return (
        tally.expect("bench", subject, "strong").mean - tally.expect("bench", subject, "weak").mean
    )


def apgr(scores: Array, weak: Array, strong: Array) -> float:
    """Return the mean share of the gap between the models that is won, over all shares of calls
    that go to the strong one, those with the highest scores first (Ong et al., RouteLLM, 2024).
    """
    won = np.cumsum((strong - weak)[np.argsort(-scores, kind="stable")])
    curve = np.concatenate([[0.0], won]) / (strong.sum() - weak.sum())
    return float(((curve[:-1] + curve[1:]) / 2).mean())


def main() -> None:
    """Measure everything there is data for."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA
    own_set()
    sets: tuple[tuple[str, Callable[[Path], None]], ...] = (
        ("clinc150", clinc),
        ("parakqc", parakqc),
        ("routellm_mmlu_dev", routellm),
    )
    for name, measure in sets:
        if (folder / name).is_dir():
            measure(folder)
        else:
            print(f"{name}: not measured, {folder / name} is missing; name the folder of the sets")


if __name__ == "__main__":
    main()
