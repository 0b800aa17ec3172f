"""The results: as JSON, as a table and as a plot."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import msgspec


class Machine(msgspec.Struct, kw_only=True):
    """On what it was measured."""

    cores: int
    processor: str
    python: str
    load: float
    """Of the minute before."""
    at: datetime


class Latency(msgspec.Struct, kw_only=True):
    """Wall time until an answer was whole, in milliseconds, of one load."""

    concurrency: int
    p50: float
    p95: float
    p99: float


class Soak(msgspec.Struct, kw_only=True):
    """What many requests left behind."""

    requests: int
    grown_mb: float
    opened: int
    """Descriptors."""


class Crowd(msgspec.Struct, kw_only=True):
    """What became of the requests of one group while more were asked than could be answered."""

    asked_per_second: float
    answered_per_second: float
    refused: int
    """With status 429."""
    failed: int
    """Otherwise."""
    latency_ms: dict[str, float]
    """p50, p95 and p99 of those that were answered."""


class Overload(msgspec.Struct, kw_only=True):
    """Three times as much is asked as can be answered, nine tenths of it by one group."""

    heavy: Crowd
    light: Crowd
    grown_mb: float
    """From before it to the most during it."""


class Figures(msgspec.Struct, kw_only=True):
    """What was measured of one server; lists have a figure for each round."""

    about: str
    ready_s: float = math.nan
    rest_mb: float = math.nan
    routing_mb: float = math.nan
    """After the first requests were routed by their meaning."""
    installed_mb: float = math.nan
    plain_ms: list[float] = []
    stream_ms: list[float] = []
    auto_ms: list[float] = []
    """Of a request that is routed by its meaning; nothing for who cannot."""
    per_second: list[float] = []
    latencies: list[Latency] = []
    streams: int | None = None
    """None until they were counted, as the next two."""
    overload: Overload | None = None
    soak: Soak | None = None

    def latency_ms(self, concurrency: int, rank: str) -> float:
        """Return the median of the rounds."""
        found = [getattr(x, rank) for x in self.latencies if x.concurrency == concurrency]
        return statistics.median(found) if found else math.nan


class Report(msgspec.Struct, kw_only=True):
    """All of it."""

    machine: Machine
    figures: dict[str, Figures]


COLUMNS = (
    "server",
    "CPU ms a request",
    "CPU ms a stream of 24",
    "CPU ms routed by meaning",
    "requests/s",
    "p50 / p95 / p99 ms, 1 at once",
    "16 at once",
    "64 at once",
    "paced streams",
    "MB at rest",
    "MB once routing",
    "MB more after",
    "ready s",
    "installed MB",
)


def write(report: Report, folder: Path) -> None:
    """Write all forms into a folder, of what was measured so far."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gateway.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    (folder / "gateway.md").write_text(table(report), encoding="utf-8")
    (folder / "gateway.svg").write_text(plot(report), encoding="utf-8")


def table(report: Report) -> str:
    """Write the table, in Markdown."""
    machine, measured = report.machine, _measured(report)
    rows = [COLUMNS, ["---", *["---:"] * (len(COLUMNS) - 1)]]
    rows += [_row(name, figures) for name, figures in measured.items()]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    about = [f"- {name}: {figures.about}" for name, figures in measured.items()]
    where = (
        f"{machine.at:%Y-%m-%d %H:%M} UTC, {machine.processor}, {machine.cores} cores, "
        f"Python {machine.python}, load {machine.load:.1f} before"
    )
    crowded = [_crowded(name, f.overload) for name, f in measured.items() if f.overload]
    return "\n".join([where, "", *lines, "", *about, "", *crowded, ""])


def _measured(report: Report) -> dict[str, Figures]:
    """Return the servers that have been through a round."""
    return {name: figures for name, figures in report.figures.items() if figures.per_second}


def _crowded(name: str, overload: Overload) -> str:
    """Say how it went with three times as many requests as can be answered."""
    told = [
        f"of the {which} group {crowd.answered_per_second:,.0f} of {crowd.asked_per_second:,.0f} "
        f"requests a second answered, p50 / p95 / p99 "
        f"{' / '.join(f'{ms:,.0f}' for ms in crowd.latency_ms.values())} ms, "
        f"{crowd.refused:,} refused with 429, {crowd.failed:,} failed"
        for which, crowd in (("heavy", overload.heavy), ("light", overload.light))
    ]
    return f"- {name} at three times its load: {'; '.join(told)}; {overload.grown_mb:.0f} MB more"


def _row(name: str, figures: Figures) -> Sequence[str]:
    latencies = [
        " / ".join(f"{figures.latency_ms(count, rank):.1f}" for rank in ("p50", "p95", "p99"))
        for count in (1, 16, 64)
    ]
    soak = figures.soak
    grown = f"{soak.grown_mb:.0f} ({soak.requests:,})" if soak is not None else ""
    return [
        name,
        f"{min(figures.plain_ms):.2f}",
        f"{min(figures.stream_ms):.2f}",
        f"{min(figures.auto_ms):.2f}" if figures.auto_ms else "",
        f"{max(figures.per_second):,.0f}",
        *latencies,
        "" if figures.streams is None else str(figures.streams),
        f"{figures.rest_mb:.0f}",
        _known(figures.routing_mb),
        grown,
        f"{figures.ready_s:.1f}",
        _known(figures.installed_mb),
    ]


def _known(figure: float) -> str:
    return "" if math.isnan(figure) else f"{figure:.0f}"


BAR_PX, LEFT_PX, WIDTH_PX = 18, 150, 640


def plot(report: Report) -> str:
    """Draw CPU time a request and a stream as bars, on a logarithmic scale, as SVG."""
    measured = _measured(report)
    pairs = [
        ("CPU ms a plain request", {n: min(f.plain_ms) for n, f in measured.items()}),
        ("CPU ms a stream of 24 frames", {n: min(f.stream_ms) for n, f in measured.items()}),
    ]
    parts: list[str] = []
    top_px = 0
    for title, values in pairs:
        parts += _bars(title, values, top_px)
        top_px += BAR_PX * (len(values) + 3)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH_PX} {top_px}" '
        'font-family="sans-serif" font-size="12">'
    )
    return "\n".join([head, *parts, "</svg>", ""])


def _bars(title: str, values: dict[str, float], top_px: int) -> Iterable[str]:
    least, most = min(values.values()) / 2, max(values.values())
    room_px = WIDTH_PX - LEFT_PX - 60
    yield f'<text x="0" y="{top_px + BAR_PX}" font-weight="bold">{title} (log scale)</text>'
    for number, (name, value) in enumerate(values.items(), start=1):
        y_px = top_px + BAR_PX * number + 8
        width_px = room_px * math.log(value / least) / math.log(most / least)
        yield f'<text x="0" y="{y_px + 12}">{name}</text>'
        yield (
            f'<rect x="{LEFT_PX}" y="{y_px + 2}" width="{width_px:.0f}" height="{BAR_PX - 5}" '
            f'fill="{"#2a6" if name.startswith("coe") else "#89a"}"/>'
        )
        yield f'<text x="{LEFT_PX + width_px + 6:.0f}" y="{y_px + 12}">{value:.2f}</text>'
