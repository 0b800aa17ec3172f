"""What a server's processes use: CPU time, memory, descriptors, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
MEGABYTE = 1_000_000


def tree(root: int) -> list[int]:
    """Return a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (fields := _stat(int(folder.name))):
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu_s(root: int) -> float:
    """Return the CPU time of a tree so far, with that of children that were awaited."""
    return sum(sum(map(int, fields[11:15])) for pid in tree(root) if (fields := _stat(pid))) / TICKS


def memory_mb(root: int) -> float:
    """Return what a tree has in memory, pages that several share counted once (PSS)."""
    return _smaps_mb(root, ("Pss:",))


def own_mb(root: int) -> float:
    """Return what of it no file is behind: a library's pages count for more when another server
    that has it too ends.
    """
    return _smaps_mb(root, ("Pss_Anon:", "Pss_Shmem:"))


def _smaps_mb(root: int, wanted: tuple[str, ...]) -> float:
    total_kb = 0
    for pid in tree(root):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            continue
        fields = [line.split() for line in rollup.splitlines()]
        total_kb += sum(int(value) for name, value, *_ in fields if name in wanted)
    return total_kb * 1024 / MEGABYTE


def descriptors(root: int) -> int:
    """Count a tree's open descriptors."""
    return sum(len(_entries(Path(f"/proc/{pid}/fd"))) for pid in tree(root))


def _entries(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:  # It has ended.
        return []


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on: proc(5) counts it as the third."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return []
    return text.rpartition(")")[2].split()
