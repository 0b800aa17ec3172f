"""`GET /metrics`: what every monitor measures, the KPIs among it, as Prometheus reads it.

The text format 0.0.4 is written here: a client library would keep a registry of its own, where the
samples are already there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from coe_core.contract import Sample
from coe_core.http import HttpRequest, HttpResponse, HttpRoute
from coe_core.monitor import measure

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def show(request: HttpRequest) -> HttpResponse:
    """Answer `GET /metrics`."""
    samples = await measure(request.application)
    return HttpResponse(body=written(samples).encode(), content_type=CONTENT_TYPE)


ROUTE = HttpRoute(
    method="GET",
    path="/metrics",
    handler=show,
    role="operator",
    summary="Show what the monitors measure, for Prometheus",
)


def written(samples: Iterable[Sample]) -> str:
    """Write samples down, the series of each metric together."""
    metrics: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        metrics[sample.metric].append(sample)
    return "".join(line for metric in sorted(metrics) for line in _lines(metric, metrics[metric]))


def _lines(metric: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# TYPE {metric} {'counter' if metric.endswith('_total') else 'gauge'}\n"
    for sample in samples:
        labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in sample.labels.items())
        yield f"{metric}{{{labels}}} {float(sample.value)!r}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
