"""The folder of the cases: one YAML file each, and the vectors that they share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from attrs import fields, frozen

from coe_core.codec import shape_errors, structure, unstructure
from coe_core.error import CoeError, NotFound
from coe_regress.case import Case

SUFFIX = ".case.yaml"
VECTORS = "vectors.jsonl"


class InvalidCase(CoeError):
    """A file is no case."""

    code = "invalid_case"


@frozen
class Folder:
    """Cases on disk."""

    path: Path

    @property
    def vectors(self) -> Path:
        """The file of the vectors."""
        return self.path / VECTORS

    def files(self) -> list[Path]:
        """List the cases' files, by id."""
        return sorted(self.path.rglob(f"*{SUFFIX}"), key=lambda file: file.name[: -len(SUFFIX)])

    def cases(self) -> Iterator[Case]:
        """Read every case. Raises `InvalidCase`."""
        return map(read, self.files())

    def chosen(self, ids: Iterable[str]) -> list[Case]:
        """Read the cases of these ids, or whose ids begin so; all where none is named. Raises
        `NotFound` for one that is not there.
        """
        every = list(self.cases())
        wanted = list(ids)
        for id_ in wanted:
            if not any(case.id.startswith(id_) for case in every):
                raise NotFound(f"there is no case {id_!r} in {self.path}; see `coe regress list`")
        return [c for c in every if not wanted or any(c.id.startswith(id_) for id_ in wanted)]

    def write(self, case: Case) -> Path:
        """Write a case, whole or not at all."""
        self.path.mkdir(parents=True, exist_ok=True)
        places = {file.name: file for file in self.files()}
        path = places.get(f"{case.id}{SUFFIX}", self.path / f"{case.id}{SUFFIX}")
        draft = path.with_name(f"{path.name}.draft")
        draft.write_text(written(case), encoding="utf-8")
        draft.replace(path)
        return path


def read(path: Path) -> Case:
    """Read a file. Raises `InvalidCase`."""
    import yaml  # type: ignore[import-untyped]

    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        value = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 it is safe
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidCase(f"{path} is no YAML: {error}") from error
    try:
        return structure(_timeless(value), Case)
    except Exception as error:
        place, text = shape_errors(error)[0]
        raise InvalidCase(f"{path}: {place}: {text}") from error


def written(case: Case) -> str:
    """Write a case as YAML, in the order of its fields, its letters as they are."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    told = unstructure(case)
    in_order = {a.name: told[a.name] for a in fields(Case) if a.name in told}
    text = yaml.dump(in_order, Dumper=dumper, sort_keys=False, allow_unicode=True, width=100)
    return str(text)


def _timeless(value: Any) -> Any:
    """Undo what YAML 1.1 makes of a time that stands without quotation marks."""
    from datetime import date, datetime

    from coe_core.codec import rfc3339

    match value:
        case datetime():
            return rfc3339(value)
        case date():
            return value.isoformat()
        case dict():
            return {str(name): _timeless(each) for name, each in value.items()}
        case list():
            return [_timeless(each) for each in value]
        case _:
            return value
