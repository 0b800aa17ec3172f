"""The pytest plugin: every `*.case.yaml` is a test.

A case under review is a strict xfail, so that what mends it must activate it. The settings are
those of `--coe-config`, or of `coe_config` in pytest's own settings, else of the first `coe.toml`
in or above the folder of the cases.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from coe_regress.case import Case
    from coe_regress.stage import Stage

ENDING = ".case.yaml"


class Missed(Exception):
    """A case does not do what is expected."""


class Unproven(Exception):
    """The recording of a case does not reach."""


STAGES: pytest.StashKey[dict[Path, Stage]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    text = "settings file of the deployment that *.case.yaml files are replayed on"
    parser.addoption("--coe-config", metavar="FILE", help=text)
    parser.addini("coe_config", text)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Take the files of cases."""
    if file_path.name.endswith(ENDING):
        return CaseFile.from_parent(parent, path=file_path)
    return None


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what the replays wrote."""
    for stage in config.stash.get(STAGES, {}).values():
        stage.close()


class CaseFile(pytest.File):
    """A file with a case."""

    def collect(self) -> Iterator[pytest.Item]:
        """Read it."""
        from coe_regress.folder import InvalidCase, read

        try:
            case = read(self.path)
        except InvalidCase as error:
            raise self.CollectError(error.message) from error
        yield CaseItem.from_parent(self, name=case.id, case=case)


class CaseItem(pytest.Item):
    """A case as a test."""

    def __init__(self, *, case: Case, **told: Any) -> None:
        super().__init__(**told)
        self.case = case
        if case.state == "reviewed":
            self.add_marker(pytest.mark.xfail(raises=Missed, strict=True, reason="a known failure"))
        elif case.state == "candidate":
            reason = "a candidate: nobody has looked at it"
            raises = (Missed, Unproven)
            self.add_marker(pytest.mark.xfail(raises=raises, strict=False, reason=reason))

    def runtest(self) -> None:
        """Replay the case. Raises `Missed` or `Unproven`."""
        import asyncio

        from coe_regress.replay import replay

        if self.case.state == "retired":
            pytest.skip("retired")
        seen = asyncio.run(replay(self.case, _stage(self.config, self.path.parent)))
        if seen.unrecorded:
            raise Unproven("; ".join(dict.fromkeys(seen.unrecorded)))
        if misses := seen.misses(self.case):
            raise Missed("; ".join(misses))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Say what was missed, without our own code."""
        if isinstance(excinfo.value, Missed | Unproven):
            return f"{self.case.id} ({self.case.failure}): {excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Name the case."""
        return self.path, 0, self.case.id


def _stage(config: pytest.Config, folder: Path) -> Stage:
    from coe_regress.folder import Folder
    from coe_regress.stage import Stage
    from coe_regress.vectors import VectorShelf

    stages = config.stash.setdefault(STAGES, {})
    if folder not in stages:
        vectors = VectorShelf.read(Folder(folder).vectors)
        stages[folder] = Stage.of(_config(config, folder), vectors=vectors)
    return stages[folder]


def _config(config: pytest.Config, folder: Path) -> Path | None:
    if named := config.getoption("--coe-config") or config.getini("coe_config"):
        return config.rootpath / str(named)
    above = (parent / "coe.toml" for parent in (folder, *folder.parents))
    return next((file for file in above if file.exists()), None)
