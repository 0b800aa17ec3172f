"""llama.cpp, in this process. Only the model's own process imports this."""

from __future__ import annotations

import http.client
import json
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xllamacpp  # type: ignore[import-untyped]

from coe_models_local.frame import Frame
from coe_models_local.spec import Spec

ERRORS_ONLY = 1


class Llama:
    """A loaded model."""

    def __init__(self, spec: Spec) -> None:
        """Load it. Raises `RuntimeError` when the file cannot be loaded."""
        # llama.cpp's own HTTP server cannot be left out: it is put where only we can reach it.
        with tempfile.TemporaryDirectory(prefix="coe-llama-") as folder:
            address = str(Path(folder) / "http.sock")  # the ending tells it from a host
            self._server = xllamacpp.Server(_parameters(spec, address))
            caps = _properties(address)["chat_template_caps"]
        self.takes_tools: bool = caps["supports_tools"] and caps["supports_tool_calls"]

    def generate(self, body: Frame, on_chunk: Callable[[Frame], bool]) -> None:
        """Complete a chat; ends early when `on_chunk` returns True.

        Raises `ValueError` for a request that cannot be fulfilled, `RuntimeError` for a failure.
        """
        body |= {
            "stream": True,
            "stream_options": {"include_usage": True},
            # Chunks that tell of progress are when a request can be cancelled before its answer.
            "return_progress": True,
        }
        self._server.handle_chat_completions(body, on_chunk)


def _parameters(spec: Spec, address: str) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = spec.path
    parameters.n_ctx = spec.context_tokens * spec.slots
    parameters.n_parallel = spec.slots
    parameters.n_batch = parameters.n_ubatch = spec.batch_tokens
    parameters.cpuparams.n_threads = spec.threads
    parameters.cpuparams_batch.n_threads = spec.threads
    parameters.hostnames = [address]
    parameters.verbosity = ERRORS_ONLY
    parameters.warmup = False
    parameters.ui = parameters.endpoint_slots = False
    # It would shrink what the settings ask for.
    parameters.fit_params = False
    # A cache that outlives a request would be shared by the groups.
    parameters.cache_ram_mib = 0
    parameters.cache_idle_slots = False
    return parameters


def _properties(address: str) -> Any:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(address)
    connection.request("GET", "/props")
    properties = json.load(connection.getresponse())
    connection.close()
    return properties
