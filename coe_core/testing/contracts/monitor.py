"""The laws of monitors."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from hypothesis import strategies as st

from coe_core.contract import Monitor, Sample
from coe_core.testing.contracts.component import ComponentContract, survives_cancellation
from coe_core.testing.contracts.law import law

METRIC = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+")
LABEL = re.compile(r"[a-z][a-z0-9_]*")
MOST_SERIES = 500


class MonitorContract(ComponentContract[Monitor]):
    """What holds of every monitor. Let `make` return one that has something to measure."""

    contract = Monitor

    @law()
    async def test_measures_what_can_be_scraped(self, monitor: Monitor) -> None:
        """Each sample has a metric and labels that Prometheus takes, a value and a time."""
        for sample in await monitor.measure():
            assert isinstance(sample, Sample), f"measure() gave {sample!r}; return coe_core.Sample"
            assert METRIC.fullmatch(sample.metric), (
                f"the metric is {sample.metric!r}; take lower-case words, your plugin's name among "
                "them, with underscores between"
            )
            for label in sample.labels:
                assert LABEL.fullmatch(label), f"the label {label!r} is no lower-case name"
            assert not math.isnan(sample.value), f"{sample.metric} is NaN; leave the sample out"
            assert sample.at.tzinfo is not None, f"`at` is {sample.at!r}, without a zone"

    @law()
    async def test_measures_each_series_once(self, monitor: Monitor) -> None:
        """A metric with the same labels comes once, and there are not many of them."""
        series = _series(await monitor.measure())
        assert len(set(series)) == len(series), f"one series comes twice: {series}"
        assert len(series) <= MOST_SERIES, (
            f"there are {len(series)} series, more than {MOST_SERIES}; labels come from closed sets"
        )

    @law()
    async def test_counts_upwards(self, monitor: Monitor) -> None:
        """What is called `_total` never falls."""
        first = await monitor.measure()
        before = dict(zip(_series(first), (sample.value for sample in first), strict=True))
        for sample in await monitor.measure():
            (series,) = _series([sample])
            earlier = before.get(series, sample.value)
            assert not sample.metric.endswith("_total") or sample.value >= earlier, (
                f"{sample.metric} fell from {earlier} to {sample.value}; a gauge has another name"
            )

    @law(steps=st.integers(0, 3))
    async def test_lets_itself_be_cancelled(self, monitor: Monitor, steps: int) -> None:
        """A scrape that is broken off ends the measuring."""
        await survives_cancellation(monitor.measure(), steps)


def _series(samples: Sequence[Sample]) -> list[tuple[str, frozenset[tuple[str, str]]]]:
    return [(sample.metric, frozenset(sample.labels.items())) for sample in samples]
