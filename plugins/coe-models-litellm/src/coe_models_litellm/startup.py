"""Files by which Python runs code at every start: where the trojaned releases of litellm hid."""

from __future__ import annotations

import asyncio
import re
import site
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import field, frozen

from coe_core.contract import Finding

KNOWN_LINES = re.compile(
    r"""
    import\ _virtualenv
    | import\ __editable__[\w.]*finder;\ __editable__[\w.]*finder\.install\(\)
    | import\ _editable_impl_\w+
    | import\ os;\ var\ =\ 'SETUPTOOLS_USE_DISTUTILS';
      \ enabled\ =\ os\.environ\.get\(var,\ '(?:local|stdlib)'\)\ ==\ 'local';
      \ enabled\ and\ __import__\('_distutils_hack'\);?
    """,
    re.VERBOSE,
)
"""What virtualenv, editable installs and setuptools write; judged by content, never by name."""

CUSTOM = re.compile(r"(?:site|user)customize\b.*")


def site_folders() -> tuple[Path, ...]:
    """Return the folders whose `.pth` files Python reads."""
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    return tuple(dict.fromkeys(map(Path, folders)))


def strangers(folders: Iterable[Path]) -> list[Path]:
    """Find the files that run code which we do not know."""
    return sorted(path for folder in folders for path in _suspects(folder) if not _known(path))


def _suspects(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (p for p in folder.iterdir() if p.suffix == ".pth" or CUSTOM.match(p.name))


def _known(path: Path) -> bool:
    if path.suffix != ".pth":
        return False
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    # Only lines that begin so are executed; the others are comments and paths.
    code = [line.strip() for line in lines if line.startswith(("import ", "import\t"))]
    return all(KNOWN_LINES.fullmatch(line) for line in code)


@frozen
class StartupCheck:
    """Asks whether something unknown runs whenever Python starts."""

    name: str = "startup-files"
    folders: tuple[Path, ...] = field(factory=site_folders)

    async def check(self) -> Finding:
        found = await asyncio.to_thread(strangers, self.folders)
        if not found:
            return Finding(ok=True, text="no unknown file runs code whenever Python starts")
        listed = ", ".join(map(str, found))
        return Finding(
            ok=False,
            text=f"code that we do not know runs whenever Python starts: {listed}",
            mend="Read each file; if you do not know who wrote it, delete it, and change every "
            "secret this machine has held",
        )
