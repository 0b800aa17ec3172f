"""Check the question set: `python specs/retrieval/check.py`. Print how far its two halves are from
the documents' words; end with what is wrong, if anything is.

A question's words are cut to their first two letters, a crude stem of Korean that survives
particles and endings. Its *overlap* is the share of these stems that stand in the section it asks
for; words of the document's title are names of what is asked about, and do not count.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, quantiles
from typing import TypeAlias

FOLDER = Path(__file__).parent
KINDS = {"plain": 160, "paraphrased": 160, "cross": 20}
"""The least number of questions of each kind."""
OVERLAP_MOST = {"paraphrased": 0.2}
NOISY = {"typo", "spacing"}
NOISY_SHARE = (0.08, 0.12)
"""Between these lies the share of Korean questions with a mistake in typing."""
WORD = re.compile(r"[\uac00-\ud7a3]{2,}|[A-Za-z]{2,}|\d+")
HANGUL = re.compile(r"[\uac00-\ud7a3]")
HEADING = re.compile(r"## (.+)")
FUNCTION_WORDS = frozenset((FOLDER / "function_words.txt").read_text(encoding="utf-8").split())
"""Stems that ask, join or point, and tell nothing of what is asked about."""

Question: TypeAlias = dict[str, str]


def main() -> None:
    """Print the figures and what is wrong."""
    lines = (FOLDER / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines]
    texts = {
        file.relative_to(FOLDER).as_posix(): file.read_text(encoding="utf-8")
        for file in sorted(FOLDER.glob("documents/*.md"))
    }
    documents = {name: sections(text) for name, text in texts.items()}
    passages = [text for headings in documents.values() for _, text in headings]
    print(f"{len(documents)} documents, {len(passages)} sections, {len(questions)} questions")
    faults = [*structural(documents, questions), *totals(questions)]
    if not faults:
        faults = list(wording(texts, questions))
    sys.exit("\n".join(faults) or None)


def sections(markdown: str) -> list[tuple[str, str]]:
    """Cut a document at its headings of the second level, each with the text it heads."""
    found: list[tuple[str, str]] = []
    fenced = False
    for line in markdown.splitlines():
        fenced ^= line.startswith("```")
        if not fenced and (heading := HEADING.fullmatch(line)):
            found.append((heading[1], line))
        elif found:
            found[-1] = found[-1][0], f"{found[-1][1]}\n{line}"
    return found


def structural(
    documents: dict[str, list[tuple[str, str]]], questions: list[Question]
) -> Iterator[str]:
    """Yield what points nowhere or stands there twice."""
    for name, found in documents.items():
        yield from (f"{name}: two sections {it!r}" for it in twice(heading for heading, _ in found))
        asked = {(each["kind"], each["section"]) for each in questions if each["document"] == name}
        yield from (
            f"{name}: nothing {kind} asks for {heading!r}"
            for heading, _ in found
            for kind in OVERLAP_MOST
            if (kind, heading) not in asked
        )
    yield from (f"two questions have the id {it}" for it in twice(q["id"] for q in questions))
    bare = (re.sub(r"\W", "", each["question"].casefold()) for each in questions)
    yield from (f"asked twice: {it}" for it in twice(bare))
    for each in questions:
        if each["section"] not in dict(documents.get(each["document"], [])):
            yield f"{each['id']}: no section {each['section']!r} in {each['document']}"


def twice(items: Iterator[str]) -> list[str]:
    """Return what is there more than once."""
    return [item for item, count in Counter(items).items() if count > 1]


def totals(questions: list[Question]) -> Iterator[str]:
    """Yield which kinds, languages or mistakes are too few or too many."""
    kinds = Counter(each["kind"] for each in questions)
    yield from (f"of a kind unknown: {kind}" for kind in kinds.keys() - KINDS.keys())
    yield from (
        f"{kinds[kind]} questions are {kind}, not {least}"
        for kind, least in KINDS.items()
        if kinds[kind] < least
    )
    korean = [each for each in questions if each["kind"] != "cross"]
    for each in questions:
        if bool(HANGUL.search(each["question"])) == (each["kind"] == "cross"):
            yield f"{each['id']}: in the wrong language"
    noisy = sum(each.get("notes") in NOISY for each in korean) / len(korean)
    print(", ".join(f"{count} {kind}" for kind, count in kinds.items()), f"({noisy:.1%} mistyped)")
    if not NOISY_SHARE[0] <= noisy <= NOISY_SHARE[1]:
        yield f"{noisy:.1%} of the Korean questions are mistyped"


def wording(texts: dict[str, str], questions: list[Question]) -> Iterator[str]:
    """Yield the paraphrases that are none, and the numbers of answers that no section has."""
    overlaps: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for each in questions:
        document = texts[each["document"]]
        title, text = document.splitlines()[0], dict(sections(document))[each["section"]]
        stems = {
            word
            for word in words(each["question"])
            if word not in FUNCTION_WORDS and word not in title.casefold()
        }
        shared = {stem for stem in stems if stem in text.casefold()}
        overlap = len(shared) / max(len(stems), 1)
        overlaps[each["kind"]].append(overlap)
        if overlap > OVERLAP_MOST.get(each["kind"], 1):
            yield f"{each['id']}: shares {' '.join(sorted(shared))} with its section"
        if lost := set(re.findall(r"\d+", each["answer"])) - set(re.findall(r"\d+", text)):
            yield f"{each['id']}: its answer's {' '.join(lost)} is not in the section"
    for kind, found in overlaps.items():
        low, middle, high = quantiles(found, n=4)
        print(
            f"overlap with the section, {kind}: mean {mean(found):.2f}, "
            f"quartiles {low:.2f} {middle:.2f} {high:.2f}, most {max(found):.2f}"
        )


def words(text: str) -> Iterator[str]:
    """Yield the stem of each word: two letters of Korean, all of anything else."""
    for word in WORD.findall(text.casefold()):
        yield word[:2] if HANGUL.match(word) else word


if __name__ == "__main__":
    main()
