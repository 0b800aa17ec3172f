"""A Dockerfile, read as far as the tests need it."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from attrs import field, frozen


@frozen
class Step:
    """One instruction."""

    word: str
    text: str

    @property
    def arguments(self) -> list[str]:
        """The arguments of an instruction in exec form (a JSON list), or split as a shell would."""
        if self.text.startswith("["):
            return list(json.loads(self.text))
        return shlex.split(self.text)


@frozen
class Stage:
    """What follows a FROM."""

    image: str
    name: str
    steps: list[Step] = field(factory=list)

    def all(self, word: str) -> list[Step]:
        """Return the instructions of a kind."""
        return [step for step in self.steps if step.word == word]

    def last(self, word: str) -> Step:
        """Return the instruction that counts."""
        return self.all(word)[-1]

    @property
    def environment(self) -> dict[str, str]:
        """What the ENV instructions set."""
        pairs = (pair for step in self.all("ENV") for pair in step.arguments)
        return dict(pair.split("=", 1) for pair in pairs)


def stages(path: Path) -> list[Stage]:
    """Read the stages."""
    found: list[Stage] = []
    for step in _steps(path.read_text(encoding="utf-8")):
        if step.word == "FROM":
            image, _, name = step.text.partition(" AS ")
            found.append(Stage(image, name))
        elif found:
            found[-1].steps.append(step)
    return found


def _steps(text: str) -> Iterator[Step]:
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    for line in filter(None, joined.splitlines()):
        word, _, rest = line.partition(" ")
        yield Step(word, rest.strip())
