"""Make the routing set from its phrases: `python specs/routing/generate.py [--check]`.

Deterministic: the same phrases give the same files. `--check` only compares.
"""

from __future__ import annotations

import json
import random
import re
import sys
import tomllib
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

FOLDER = Path(__file__).parent
SEED = 20261122
LOST = 0.7
"""Of the blanks of a Korean request that is badly spaced, the share that is left out."""
Slots: TypeAlias = dict[str, list[str]]
HANGUL = re.compile(r"[\uac00-\ud7a3]")
SLOT = re.compile(r"\{(\w+)\}")

FRAMES = {
    "en": (
        "hi, {}",
        "{}, thanks",
        "quick question: {}",
        "hello there! {}",
        "{} asap please",
        "{}??",
    ),
    "ko": ("안녕하세요, {}", "{} 감사합니다", "저기 {}", "문의드립니다. {}", "{} 급해요", "{}ㅠㅠ"),
}
MIXED = {
    "en": {
        "please": "부탁해요",
        "tomorrow": "내일",
        "office": "사무실",
        "team": "팀",
        "customer": "고객",
    },
    "ko": {
        "메일": "email",
        "팀": "team",
        "컴퓨터": "PC",
        "파일": "file",
        "고객": "client",
        "회사": "company",
        "카드": "card",
        "화면": "screen",
        "예약": "booking",
        "다음 주": "next week",
        "내일": "tomorrow",
        "사무실": "office",
    },
}
"""Words that people mix into a request in the other language."""
MISTAKEN = str.maketrans("ㅐㅔㅙㅚㅞ", "ㅔㅐㅚㅙㅙ")
VOWELS = {chr(0x1161 + n): c for n, c in enumerate("ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ")}
LETTERS = {c: jamo for jamo, c in VOWELS.items()}


def language(text: str) -> str:
    """Tell the language a template is written in."""
    return "ko" if HANGUL.search(SLOT.sub("", text)) else "en"


def fill(template: str, slots: Slots, dice: random.Random) -> str:
    """Put words into the slots."""
    return SLOT.sub(lambda slot: dice.choice(slots[slot[1]]), template)


def typo(text: str, dice: random.Random) -> str:
    """Make a slip of the finger in the longest words: a letter dropped, doubled or swapped; in
    Korean a vowel that sounds alike, or the final consonant lost.
    """
    words = text.split(" ")
    at = max(range(len(words)), key=lambda i: (len(words[i]), dice.random()))
    slip = korean_slip if HANGUL.search(words[at]) else latin_slip
    words[at] = slip(words[at], dice)
    return " ".join(words)


def latin_slip(word: str, dice: random.Random) -> str:
    """Drop, double or swap a letter."""
    if len(word) < 4:  # noqa: PLR2004 of a shorter word nothing would be left
        return word
    at = dice.randrange(1, len(word) - 2)
    kind = dice.choice(("drop", "double", "swap"))
    if kind == "drop":
        return word[:at] + word[at + 1 :]
    if kind == "double":
        return word[:at] + word[at] + word[at:]
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def korean_slip(word: str, dice: random.Random) -> str:
    """Write a vowel that sounds alike, or leave out a final consonant."""
    jamo = list(unicodedata.normalize("NFD", word))
    alike = [i for i, c in enumerate(jamo) if VOWELS.get(c, "") in "ㅐㅔㅙㅚㅞ" and c in VOWELS]
    finals = [i for i, c in enumerate(jamo) if "\u11a8" <= c <= "\u11c2"]
    if alike:
        at = dice.choice(alike)
        jamo[at] = LETTERS[VOWELS[jamo[at]].translate(MISTAKEN)]
    elif finals:
        del jamo[dice.choice(finals)]
    return unicodedata.normalize("NFC", "".join(jamo))


def misspaced(text: str, dice: random.Random) -> str:
    """Leave out blanks: in Korean most of them, in English one."""
    if HANGUL.search(text):
        return "".join("" if c == " " and dice.random() < LOST else c for c in text)
    blanks = [i for i, c in enumerate(text) if c == " "]
    at = dice.choice(blanks) if blanks else len(text)
    return text[:at] + text[at + 1 :]


def mixed(text: str, words: dict[str, str]) -> str:
    """Say some words in the other language."""
    for own, other in words.items():
        text = text.replace(own, other)
    return text


Variant: TypeAlias = tuple[str, str]
"""What was done to a template, and the request that came of it."""


def plain(template: str, slots: Slots, dice: random.Random) -> Iterator[Variant]:
    """Yield a request as it stands, and one with something before or after it."""
    yield "plain", fill(template, slots, dice)
    frame = dice.choice(FRAMES[language(template)])
    yield "framed", frame.format(fill(template, slots, dice))


def noisy(template: str, slots: Slots, dice: random.Random) -> Iterator[Variant]:
    """Yield one with a typo, and one with blanks left out or words of the other language."""
    yield "typo", typo(fill(template, slots, dice), dice)
    text = fill(template, slots, dice)
    blended = mixed(text, MIXED[language(template)])
    if blended != text and dice.random() < 0.5:  # noqa: PLR2004 half of those that have such words
        yield "mixed", blended
    else:
        yield "spacing", misspaced(text, dice)


def requests(phrases: dict[str, Any]) -> Iterator[dict[str, str | None]]:
    """Yield every held-out request: four of an ordinary template, two of an oblique one."""
    slots = phrases["slots"]
    tables = {**phrases["routes"], None: phrases["out_of_scope"]}
    for name, table in tables.items():
        for tier in "ordinary", "oblique":
            for template in table.get(tier, ()):
                dice = random.Random(f"{SEED} {template}")  # noqa: S311 for variety, not for secrets
                made = list(plain(template, slots, dice))
                more = list(noisy(template, slots, dice))
                chosen = [*made, *more] if tier == "ordinary" else [made[0], dice.choice(more)]
                for kind, text in chosen:
                    yield {
                        "text": text,
                        "route": name,
                        "language": language(template),
                        "tier": tier,
                        "kind": kind,
                    }


def routes(phrases: dict[str, Any]) -> str:
    """Write the routes as `[plugins.routing] routes_file` reads them."""
    lines = ["# Written by generate.py from phrases.toml: routes and the examples to learn from."]
    for name, table in phrases["routes"].items():
        lines += ["", f"[{name}]", f"description = {quoted(table['description'])}"]
        lines += ['model = "local"', "examples = ["]
        lines += [f"    {quoted(example)}," for example in table["examples"]]
        lines += ["]"]
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """Write a TOML string."""
    return json.dumps(text, ensure_ascii=False)


def main() -> None:
    """Write the files, or compare them."""
    phrases = tomllib.loads((FOLDER / "phrases.toml").read_text(encoding="utf-8"))
    lines = [json.dumps(request, ensure_ascii=False) for request in requests(phrases)]
    files = {"requests.jsonl": "\n".join(lines) + "\n", "routes.toml": routes(phrases)}
    for name, text in files.items():
        file = FOLDER / name
        if "--check" not in sys.argv:
            file.write_text(text, encoding="utf-8")
        elif file.read_text(encoding="utf-8") != text:
            sys.exit(f"{name} is not what generate.py makes: run it")


if __name__ == "__main__":
    main()
