"""The conventions' metrics, counted from the calls that were recorded."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen
from opentelemetry.metrics import Histogram, Meter

from coe_core.ledger import Attempt
from coe_otel.names import Names
from coe_otel.span import operation, provider

TOKEN_BOUNDS = [4**power for power in range(14)]
DURATION_BOUNDS_S = [0.01 * 2**power for power in range(14)]
"""Bounds of the buckets, as the conventions advise."""


@frozen
class CallMeter:
    """Two histograms. Their labels are aliases of models and providers: closed sets."""

    names: Names
    tokens: Histogram
    duration: Histogram

    @classmethod
    def of(cls, names: Names, meter: Meter) -> CallMeter:
        """Make the instruments."""
        tokens = meter.create_histogram(
            names.metrics["tokens"],
            unit="{token}",
            description="Tokens that were billed",
            explicit_bucket_boundaries_advisory=TOKEN_BOUNDS,
        )
        duration = meter.create_histogram(
            names.metrics["duration"],
            unit="s",
            description="How long calls of models took",
            explicit_bucket_boundaries_advisory=DURATION_BOUNDS_S,
        )
        return cls(names, tokens, duration)

    def count(self, attempts: Iterable[Attempt]) -> None:
        """Count calls that have ended."""
        for attempt in attempts:
            labels = self.names.write(
                operation=operation(attempt),
                provider=provider(attempt),
                request_model=attempt.model,
            )
            failed = {"error": attempt.error_code} if attempt.outcome == "failed" else {}
            self.duration.record(attempt.duration_s, labels | self.names.write(**failed))
            usage = attempt.usage
            for kind, count in (("input", usage.input_tokens), ("output", usage.output_tokens)):
                self.tokens.record(count, labels | self.names.write(token_type=kind))
