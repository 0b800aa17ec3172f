"""A collector on loopback, which takes OTLP over HTTP as any other does."""

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from attrs import define, field
from google.protobuf.message import Message
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

KINDS: dict[str, type[Message]] = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
}


@define
class Collector:
    """What has arrived."""

    url: str
    received: list[Any] = field(factory=list)
    headers: list[dict[str, str]] = field(factory=list)

    @property
    def spans(self) -> list[Any]:
        traces = [r for r in self.received if isinstance(r, ExportTraceServiceRequest)]
        groups = [g for trace in traces for g in trace.resource_spans]
        return [span for g in groups for scope in g.scope_spans for span in scope.spans]

    @property
    def metrics(self) -> dict[str, Any]:
        told = [r for r in self.received if isinstance(r, ExportMetricsServiceRequest)]
        groups = [g for request in told for g in request.resource_metrics]
        return {m.name: m for g in groups for scope in g.scope_metrics for m in scope.metrics}


@pytest.fixture
def collector() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            request = KINDS[self.path]()
            request.ParseFromString(body)
            collector.received.append(request)
            collector.headers.append({k.lower(): v for k, v in self.headers.items()})
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield collector
    server.shutdown()
    thread.join()
    server.server_close()


def attributes(span: Any) -> dict[str, Any]:
    """The attributes of something, as Python's values."""
    return {pair.key: _value(pair.value) for pair in span.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)
