"""What is found, and what each part of the search brings: words, meaning, both, neighbours, a
second embedder as a reranker and, where kiwipiepy is installed, Korean morphemes.

Run with `python bench/retrieval.py locomo [FOLDER]` or `korean [FOLDER]`; with nothing named, both.
There is no judge: gold passages are known, and the same run prints the same figures.

- `locomo`: FOLDER holds LoCoMo's conversations as JSON, by default ../shared/data/locomo_dev
  (https://github.com/snap-research/locomo, research use). A question is sought in its own
  conversation. Turns have their images' captions, as LoCoMo's own baselines do.
- `korean`: FOLDER holds `documents/*.md` and `questions.jsonl`, by default specs/retrieval.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from attrs import frozen
from coe_models_local.plugin import LocalPlugin
from coe_retrieval.array import Rows, Scores
from coe_retrieval.content import content, meant
from coe_retrieval.embedding import UNRELATED
from coe_retrieval.fusion import APART, JOINT, fuse, nearness
from coe_retrieval.lexical import ALONE, NOBODY, Kernel, LexicalIndex
from coe_retrieval.morpheme import words_and_morphemes
from coe_retrieval.period import Calendar, Period
from coe_retrieval.shelf import CONVERSATION
from coe_retrieval.speaker import Speakers
from coe_retrieval.term import terms

from coe_core.request import EmbeddingRequest
from coe_core.turn import Passage, Place

ROOT = Path(__file__).resolve().parent.parent
LOCOMO = ROOT.parent / "shared" / "data" / "locomo_dev"
KOREAN = ROOT / "specs" / "retrieval"
EMBEDDER, SECOND, SHARE, SHOWN = "embed-quality", "embed-fast", 0.3, 20
"""The embedder, the second one, its share of a score, and how many passages it is shown."""
TOP = 5
CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open", 4: "single-hop"}


@frozen
class Asked:
    """A question, and the numbers of the passages that answer it."""

    text: str
    kind: str
    gold: frozenset[int]


@frozen(eq=False)
class Collection:
    """Passages that are searched together, and questions to them."""

    passages: Sequence[Passage]
    behind: Sequence[int]
    """Of each passage of a conversation the number of the one before; NOBODY for none."""
    questions: Sequence[Asked]
    days: Sequence[date] = ()
    """Of a conversation, when each passage was said."""

    def lexical(self, split: Callable[[str], Sequence[str]], kernel: Kernel) -> Rows:
        """Score all passages for all questions by their words."""
        index = LexicalIndex(kernel)
        for passage, before in zip(self.passages, self.behind, strict=True):
            index.add(split(content(passage)), behind=before)
        return np.stack([index.scores(split(asked.text)) for asked in self.questions])

    def meant(self) -> Sequence[str]:
        """Return what is embedded of the turns of a conversation."""
        said = self.passages
        pairs = zip(said, self.behind, strict=True)
        return [meant(turn, None if b == NOBODY else said[b]) for turn, b in pairs]

    def by_speaker(self, scores: Rows) -> Rows:
        """Favour what the one said whom a question names."""
        speakers = Speakers()
        for number, passage in enumerate(self.passages):
            speakers.add(passage.title, number)
        pairs = zip(scores, self.questions, strict=True)
        return np.stack([speakers.favour(row, terms(asked.text)) for row, asked in pairs])

    def by_period(self, scores: Rows) -> Rows:
        """Favour what was said when a question names."""
        calendar = Calendar()
        for number, day in enumerate(self.days):
            calendar.add(day, number)
        pairs = zip(scores, self.questions, strict=True)
        return np.stack([calendar.favour(row, Period.named(asked.text)) for row, asked in pairs])


def plain_words(text: str) -> list[str]:
    """Take a text apart as plain BM25 does."""
    return re.findall(r"\w+", text.casefold())


class Embedder:
    """A bundled embedder."""

    def __init__(self, alias: str) -> None:
        """Find it."""
        (self.provider,) = LocalPlugin().coe_model_providers(None)  # type: ignore[arg-type]
        (self.model,) = [m for m in self.provider.models() if m.alias == alias]

    def rows(self, texts: Sequence[str], purpose: str) -> Rows:
        """Embed texts, a unit vector each."""
        return np.concatenate(
            [self._batch(texts[at : at + 32], purpose) for at in range(0, len(texts), 32)]
        )

    def _batch(self, texts: Sequence[str], purpose: str) -> Rows:
        request = EmbeddingRequest(model=self.model.alias, input=tuple(texts), purpose=purpose)
        vectors = asyncio.run(self.provider.embed(self.model, request, group="bench"))
        found = np.frombuffer(vectors.data, "<f4").reshape(-1, vectors.dimensions)
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


def variants(
    collection: Collection, embedder: Embedder, second: Embedder
) -> Iterator[tuple[str, Rows]]:
    """Yield the scores of each way to search, one row a question."""
    yield "plain BM25", collection.lexical(plain_words, ALONE)
    alone = collection.lexical(terms, ALONE)
    yield "lexical", alone
    passages = embedder.rows([content(p) for p in collection.passages], "passage")
    questions = embedder.rows([asked.text for asked in collection.questions], "query")
    similar = questions @ passages.T
    yield "dense", similar
    unrelated = (questions @ embedder.rows(UNRELATED, "passage").T).mean(axis=1)

    def fused(words: Rows, overlap: float, similar: Rows = similar) -> Rows:
        triples = zip(words, similar, unrelated.tolist(), strict=True)
        return np.stack([fuse(*each, overlap).scores for each in triples])

    yield "rank fusion", np.stack([_by_rank(*pair) for pair in zip(alone, similar, strict=True)])
    yield "sum", fused(alone, APART)
    yield "joint", (joint := fused(alone, JOINT))
    if set(collection.behind) != {NOBODY}:
        near = collection.lexical(terms, CONVERSATION)
        yield "lexical + neighbours", near
        yield "sum + neighbours", fused(near, APART)
        yield "joint + neighbours", fused(near, JOINT)
        answers = questions @ embedder.rows(collection.meant(), "passage").T
        yield "dense, answers", answers
        yield "sum + near + answers", (summed := fused(near, APART, answers))
        yield "... + speaker", (favoured := collection.by_speaker(summed))
        yield "... + period", collection.by_period(favoured)
        return
    yield "joint, reranked", reranked(collection, joint, second)
    if find_spec("kiwipiepy") is not None:
        morphemes = collection.lexical(words_and_morphemes, ALONE)
        yield "lexical + morphemes", morphemes
        yield "joint + morphemes", fused(morphemes, JOINT)


def reranked(collection: Collection, scores: Rows, second: Embedder) -> Rows:
    """Let a second embedder have its share in the scores of the best, as `second-embedder` does."""
    passages = second.rows([content(p) for p in collection.passages], "passage")
    questions = second.rows([asked.text for asked in collection.questions], "query")
    unrelated = (questions @ second.rows(UNRELATED, "passage").T).mean(axis=1)
    mixed = scores - 1  # What it is not shown stays behind what it is.
    for row, before, question, far in zip(mixed, scores, questions, unrelated, strict=True):
        best = np.argsort(-before, kind="stable")[:SHOWN]
        near = nearness(passages[best] @ question, float(far))
        row[best] = (1 - SHARE) * before[best] + SHARE * near
    return mixed


def _by_rank(*several: Scores) -> Scores:
    """Fuse by reciprocal rank, for comparison."""
    ranks = [np.argsort(np.argsort(-scores, kind="stable"), kind="stable") for scores in several]
    return np.asarray(sum(1.0 / (60 + 1 + rank) for rank in ranks), np.float32)


def conversation(path: Path) -> Collection:
    """Read one of LoCoMo's conversations."""
    told = json.loads(path.read_text(encoding="utf-8"))
    passages: list[Passage] = []
    behind: list[int] = []
    days: list[date] = []
    for name, said in told.items():
        if not re.fullmatch(r"session_\d+", name) or not isinstance(said, list):
            continue
        at = told[f"{name}_date_time"]
        day = datetime.strptime(at, "%I:%M %p on %d %B, %Y").date()  # noqa: DTZ007 it has no zone
        for position, turn in enumerate(said):
            days.append(day)
            behind.append(len(passages) - 1 if position else NOBODY)
            shown = f" [shares {turn['blip_caption']}]" if turn.get("blip_caption") else ""
            passages.append(
                Passage(
                    id=turn["dia_id"],
                    text=turn["text"] + shown,
                    layer="group:bench",
                    source=f"session {name}, {at}",
                    item=name,
                    kind="turn",
                    title=turn["speaker"],
                    position=position,
                )
            )
    numbers = {passage.id: number for number, passage in enumerate(passages)}
    questions = [
        Asked(q["question"], CATEGORIES[q["category"]], gold)
        for q in told["qa"]
        if q["category"] in CATEGORIES and (gold := _gold(q["evidence"], numbers))
    ]
    return Collection(passages, behind, questions, days)


def _gold(evidence: Sequence[str], numbers: dict[str, int]) -> frozenset[int]:
    ids = [id_ for each in evidence for id_ in re.findall(r"D\d+:\d+", each)]
    return frozenset(numbers[id_] for id_ in ids if id_ in numbers)


def locomo(folder: Path = LOCOMO) -> None:
    """Print recall of turns and sessions over LoCoMo's conversations."""
    files = sorted(folder.glob("*.json"))
    if not files:
        print(f"locomo: nothing measured, there are no conversations in {folder}")
        return
    collections = [conversation(file) for file in files]
    embedder, second = Embedder(EMBEDDER), Embedder(SECOND)
    asked = [question for collection in collections for question in collection.questions]
    kinds = Counter(question.kind for question in asked)
    print(f"LoCoMo: {len(files)} conversations, {len(asked)} questions ({_counts(kinds)})")
    columns = "".join(f"{kind:>12}" for kind in kinds)
    print(f"{'turn recall@10':22}{'all':>8}{columns}{'session@1':>12}")
    for ways in zip(*(variants(each, embedder, second) for each in collections), strict=True):
        recalls: list[tuple[str, float]] = []
        sessions: list[bool] = []
        for collection, (_, scores) in zip(collections, ways, strict=True):
            for question, row in zip(collection.questions, scores, strict=True):
                best = np.argsort(-row, kind="stable")[:10].tolist()
                recalls.append((question.kind, len(question.gold & set(best)) / len(question.gold)))
                of = {collection.passages[number].item for number in question.gold}
                sessions.append(collection.passages[best[0]].item in of)
        by_kind = "".join(f"{mean(r for k, r in recalls if k == kind):12.3f}" for kind in kinds)
        total = mean(recall for _, recall in recalls)
        print(f"{ways[0][0]:22}{total:8.3f}{by_kind}{mean(sessions):12.3f}")


def handbook(folder: Path) -> Collection:
    """Read a folder of documents, cut at their headings, and the questions to them."""
    passages: list[Passage] = []
    for file in sorted(folder.glob("documents/*.md")):
        passages += sections(file.relative_to(folder).as_posix(), file.read_text("utf-8"))
    numbers: dict[tuple[str, str], set[int]] = {}
    for number, passage in enumerate(passages):
        numbers.setdefault((passage.item, passage.place.headings[-1]), set()).add(number)
    lines = (folder / "questions.jsonl").read_text("utf-8").splitlines()
    questions = [
        Asked(q["question"], q["kind"], frozenset(numbers[q["document"], q["section"]]))
        for q in map(json.loads, lines)
    ]
    return Collection(passages, [NOBODY] * len(passages), questions)


def sections(name: str, text: str) -> Iterator[Passage]:
    """Cut a document at its headings of the second level."""
    head, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
    title = head.partition("\n")[0].removeprefix("# ").strip()
    for position, part in enumerate(parts):
        heading, _, body = part.partition("\n")
        yield Passage(
            id=f"{name}#{position}",
            text=body.strip(),
            layer="group:bench",
            source=name,
            item=name,
            kind="document",
            title=title,
            position=position,
            place=Place(headings=(heading.strip(),)),
        )


def korean(folder: Path = KOREAN) -> None:
    """Print how often the right passage comes first or in the top five, and the right document."""
    if not (folder / "questions.jsonl").is_file():
        print(f"korean: nothing measured, there is no questions.jsonl in {folder}")
        return
    collection, embedder, second = handbook(folder), Embedder(EMBEDDER), Embedder(SECOND)
    kinds = Counter(question.kind for question in collection.questions)
    print(
        f"Korean: {len(collection.passages)} passages, {len(collection.questions)} questions "
        f"({_counts(kinds)})"
    )
    columns = "".join(f"{kind + ' R@1':>17}{'R@5':>7}" for kind in ("all", *kinds))
    print(f"{'':22}{columns}{'document R@1':>15}")
    for name, scores in variants(collection, embedder, second):
        ranks = [_rank(row, q.gold) for q, row in zip(collection.questions, scores, strict=True)]
        pairs = list(zip(collection.questions, ranks, strict=True))
        line = ""
        for kind in ("all", *kinds):
            some = [rank for question, rank in pairs if kind in ("all", question.kind)]
            line += f"{mean(r < 1 for r in some):17.3f}{mean(r < TOP for r in some):7.3f}"
        tops = scores.argmax(axis=1).tolist()
        items = [passage.item for passage in collection.passages]
        right = mean(
            items[top] in {items[number] for number in question.gold}
            for question, top in zip(collection.questions, tops, strict=True)
        )
        print(f"{name:22}{line}{right:15.3f}")


def _rank(row: Scores, gold: frozenset[int]) -> int:
    order = np.argsort(-row, kind="stable").tolist()
    return min(order.index(number) for number in gold)


def _counts(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items())


def main(what: str = "", *arguments: Any) -> None:
    """Measure what is named."""
    started = time.process_time()
    match what:
        case "locomo":
            locomo(*map(Path, arguments))
        case "korean":
            korean(*map(Path, arguments))
        case _:
            locomo()
            korean()
    print(f"{time.process_time() - started:.0f} s CPU, {os.cpu_count()} cores")


if __name__ == "__main__":
    main(*sys.argv[1:])
