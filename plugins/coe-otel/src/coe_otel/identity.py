"""Trace and span ids, made from ours: the same record gives the same spans, however often."""

from __future__ import annotations

import hashlib
import uuid

from opentelemetry.trace import SpanContext, TraceFlags

SAMPLED = TraceFlags(TraceFlags.SAMPLED)


def context(root_id: str, own_id: str) -> SpanContext:
    """Return the context of a span: all of a tree of turns is one trace."""
    span_id = _digest(own_id, size_bytes=8)
    return SpanContext(_trace_id(root_id), span_id, is_remote=False, trace_flags=SAMPLED)


def _trace_id(root_id: str) -> int:
    """Return a UUID's own bits, so that a trace is found by a turn's id; of others a digest."""
    try:
        return uuid.UUID(root_id).int or 1
    except ValueError:
        return _digest(root_id, size_bytes=16)


def _digest(text: str, *, size_bytes: int) -> int:
    """Digest a text to a number that is never 0, which would be no id (W3C Trace Context)."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:size_bytes]) or 1
