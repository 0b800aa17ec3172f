"""`coe doctor`: look at the whole installation, and say how to mend what is wrong."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import click
from attrs import frozen

from coe_core.application import Application
from coe_core.cli.config import leaves, problems
from coe_core.cli.frame import Frame
from coe_core.cli.output import echo_json
from coe_core.codec import unstructure
from coe_core.contract import Check, Finding
from coe_core.ephemeral import EphemeralRecords
from coe_core.error import CoeError, SettingsError
from coe_core.service import Journal
from coe_core.settings import Secret

OLDEST, NEWEST = (3, 11), (3, 13)
"""The versions of Python that CoE is tested with."""

BAD_VERSIONS = {
    "litellm": (
        r"1\.82\.[78]|1\.107\..*|0\..*|1\.([0-9]|[1-7][0-9]|8[0-3])(\..*)?",
        "litellm>=1.84,!=1.107.*",
    )
}
"""Package to the versions that carried malware or can be broken into, and what to install."""

KNOWN_PTH = re.compile(
    r"distutils-precedence|_virtualenv|a1_coverage|__editable__.*|_editable_impl_.*|.*-nspkg"
)
"""Path files that run code at every start of Python and are known to be well-meant."""

FREE_BYTES = 1 << 30

CHECK_S = 30.0
"""How long a plugin's check may take."""


@frozen(kw_only=True)
class Diagnosis:
    """What was looked at, and what was found."""

    name: str
    finding: Finding


@click.command("doctor", help="Check the installation; exits 1 when something is wrong.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(context: click.Context, *, as_json: bool) -> None:
    """Check everything and report."""
    found = list(diagnose(context.obj))
    if as_json:
        echo_json([{"name": d.name, **unstructure(d.finding)} for d in found])
    else:
        for diagnosis in found:
            _print(diagnosis)
    if not all(diagnosis.finding.ok for diagnosis in found):
        context.exit(1)


def diagnose(frame: Frame) -> Iterator[Diagnosis]:
    """Look at the machine, then the settings, then, if these can be used, the plugins at work."""
    yield Diagnosis(name="python", finding=_python())
    yield Diagnosis(name="packages", finding=packages(_installed_versions()))
    yield Diagnosis(name="start files", finding=start_files(_site_folders()))
    yield Diagnosis(name="settings", finding=_settings(frame))
    try:
        leaves(frame)
    except CoeError:
        return  # said under "settings"
    yield Diagnosis(name="secrets", finding=_secrets(frame))
    yield Diagnosis(name="data folder", finding=data_folder(frame.data_dir))
    yield Diagnosis(name="disk", finding=_disk(frame.data_dir))
    yield from asyncio.run(_at_work(frame))


def packages(versions: Mapping[str, str]) -> Finding:
    """Look for versions that carried malware, or that anybody can break into."""
    for name, (bad, mend) in BAD_VERSIONS.items():
        if re.fullmatch(bad, version := versions.get(name, "")):
            text = f"{name} {version} is known to be dangerous"
            return Finding(ok=False, text=text, mend=f'pip install "{mend}"')
    return Finding(ok=True, text="no version that is known to be bad")


def start_files(folders: Iterable[Path]) -> Finding:
    """Look for files that run at every start of Python: malware has hidden in such."""
    found = [str(path) for folder in folders for path in _start_files(folder)]
    if not found:
        return Finding(ok=True, text="nothing unknown runs when Python starts")
    text = f"run whenever Python starts, and are not known: {', '.join(found)}"
    mend = "Read them; if you did not put them there, make the environment anew."
    return Finding(ok=False, text=text, mend=mend)


def data_folder(folder: Path) -> Finding:
    """See whether the data folder can be written, or made."""
    there = _part_that_exists(folder)
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return Finding(ok=True, text=f"{folder} can be written")
    mend = "Make it writable, or name another with --data or [coe] data_dir."
    return Finding(ok=False, text=f"{folder} cannot be written", mend=mend)


def _part_that_exists(folder: Path) -> Path:
    whole = folder.absolute()
    return next(path for path in (whole, *whole.parents) if path.exists())


def _start_files(folder: Path) -> Iterator[Path]:
    for name in ("sitecustomize.py", "usercustomize.py"):
        yield from folder.glob(name)
    for path in sorted(folder.glob("*.pth")):
        # Only the lines that begin so are run; the others name folders.
        runs = any(line.startswith((b"import ", b"import\t")) for line in _content(path))
        if runs and not KNOWN_PTH.fullmatch(path.stem):
            yield path


def _content(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def _site_folders() -> list[Path]:
    return [Path(text) for text in sorted({sysconfig.get_path(k) for k in ("purelib", "platlib")})]


def _installed_versions() -> dict[str, str]:
    versions = {}
    for name in BAD_VERSIONS:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _python() -> Finding:
    text = f"Python {sys.version.split()[0]}"
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return Finding(ok=True, text=text)
    mend = "Use {}.{} to {}.{}.".format(*OLDEST, *NEWEST)
    return Finding(ok=False, text=f"{text} is not one that CoE is tested with", mend=mend)


def _settings(frame: Frame) -> Finding:
    if wrong := problems(frame):
        mend = "Mend the settings; `coe config validate` checks them again."
        return Finding(ok=False, text="; ".join(wrong), mend=mend)
    return Finding(ok=True, text=f"{frame.config or 'no file: the defaults'}")


def _secrets(frame: Frame) -> Finding:
    references = {leaf.path: leaf.secret for leaf in leaves(frame) if leaf.secret is not None}
    missing = [f"{path}: {why}" for path, secret in references.items() if (why := _missing(secret))]
    if missing:
        mend = "Set the variables, or make the files readable."
        return Finding(ok=False, text="; ".join(missing), mend=mend)
    return Finding(ok=True, text=f"secrets that the settings name: {len(references)}")


def _missing(secret: Secret) -> str | None:
    try:
        secret.reveal()
    except SettingsError as error:
        return error.message
    return None


def _disk(folder: Path) -> Finding:
    free_bytes = shutil.disk_usage(_part_that_exists(folder)).free
    text = f"{free_bytes / (1 << 30):.1f} GiB free for {folder}"
    if free_bytes >= FREE_BYTES:
        return Finding(ok=True, text=text)
    return Finding(ok=False, text=text, mend="Make room, or move the data folder.")


async def _at_work(frame: Frame) -> list[Diagnosis]:
    """Open the deployment, and ask the plugins' own checks."""
    try:
        async with frame.host() as host:
            application = host.application
            found = [
                Diagnosis(name=p.plugin, finding=Finding(ok=False, text=p.text, mend=p.mend))
                for p in application.problems
                if p.stage not in ("configure", "discover")  # said under "settings"
            ]
            found.append(Diagnosis(name="journal", finding=_journal(application)))
            asked = [_asked(check) for check in application.checks]
            return found + await asyncio.gather(*asked)
    except CoeError as error:
        finding = Finding(ok=False, text=error.message, mend="Mend what it says.")
        return [Diagnosis(name="start", finding=finding)]


def _journal(application: Application) -> Finding:
    if isinstance(application.need(Journal), EphemeralRecords):
        return Finding(ok=True, text="in memory only: no plugin keeps them (coe-records does)")
    return Finding(ok=True, text="kept on disk")


async def _asked(check: Check) -> Diagnosis:
    try:
        async with asyncio.timeout(CHECK_S):
            finding = await check.check()
    except TimeoutError:
        finding = Finding(ok=False, text=f"no answer within {CHECK_S:.0f} s", mend="Look at it.")
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        finding = Finding(ok=False, text=text, mend="Report it to the plugin's authors.")
    return Diagnosis(name=check.name, finding=finding)


def _print(diagnosis: Diagnosis) -> None:
    finding = diagnosis.finding
    click.echo(f"{'ok   ' if finding.ok else 'WRONG'}  {diagnosis.name}: {finding.text}")
    if not finding.ok:
        click.echo(f"       -> {finding.mend}")
