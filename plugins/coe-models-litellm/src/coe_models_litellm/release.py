"""Which releases of litellm may be imported at all. Nothing here imports it."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

from attrs import frozen

from coe_core.contract import Finding

GOOD = "litellm>=1.84,!=1.107.*"
FIRST_GOOD = (1, 84)
TROJANED = ("1.82.7", "1.82.8", "1.107.")
"""Releases whose packages carried malware, in March and October 2026."""


def installed() -> str | None:
    """Return the installed version from its metadata, None when there is none."""
    try:
        return version("litellm")
    except PackageNotFoundError:
        return None


def finding(release: str | None) -> Finding:
    """Judge a version."""
    if release is None:
        return Finding(ok=False, text="litellm is not installed", mend=f"pip install '{GOOD}'")
    if f"{release}.".startswith(TROJANED):
        return Finding(
            ok=False,
            text=f"litellm {release} is one of the releases that carried malware",
            mend=f"Remove it, change every secret this machine has held, pip install '{GOOD}'",
        )
    if _numbers(release) < FIRST_GOOD:
        return Finding(
            ok=False,
            text=f"litellm {release} has holes that 1.84 closed",
            mend=f"pip install '{GOOD}'",
        )
    return Finding(ok=True, text=f"litellm {release} is none of the releases known as bad")


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", release)[:2])


@frozen
class ReleaseCheck:
    """Asks whether the installed litellm may be imported."""

    name: str = "litellm-release"

    async def check(self) -> Finding:
        return finding(installed())
