"""The real models, fetched as users fetch them, in processes of the tests' own."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from attrs import evolve, frozen
from coe_models_local.provider import LocalProvider, Options
from coe_models_local.pull import pull

from coe_core.codec import structure
from coe_core.model import Chunk, Usage
from coe_core.request import ChatRequest

Make: TypeAlias = Callable[..., LocalProvider]


@pytest.fixture(scope="session")
def gguf() -> Path:
    """The bundled chat model's file."""
    return pull(print)


TOOL_TEMPLATE = r"""
{%- if tools %}
{{- '<|im_start|>system\nYou may call functions:\n<tools>' }}
{%- for tool in tools %}{{- '\n' }}{{- tool | tojson }}{%- endfor %}
{{- '\n</tools>\nFor each call, return an object with name and arguments:\n' }}
{{- '<tool_call>\n{"name": <name>, "arguments": <arguments>}\n</tool_call><|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'assistant' and message.tool_calls %}
{{- '<|im_start|>assistant' }}
{%- if message.content %}{{- '\n' + message.content }}{%- endif %}
{%- for call in message.tool_calls %}
{{- '\n<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments | tojson }}{{- '}\n</tool_call>' }}
{%- endfor %}{{- '<|im_end|>\n' }}
{%- elif message.role == 'tool' %}
{{- '<|im_start|>user\nResult: ' + message.content + '<|im_end|>\n' }}
{%- else %}{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endif %}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"""


@pytest.fixture(scope="session")
def tool_gguf(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with a template that has a place for tools."""
    old = gguf.read_bytes()
    key = b"tokenizer.chat_template"
    start = old.index(key) + len(key) + 4  # after the type comes the length
    (length,) = struct.unpack_from("<Q", old, start)
    template = TOOL_TEMPLATE.encode()
    # A comment fills it up, so that the tensors behind it stay aligned to 32 bytes.
    comment = b"{#" + b" " * (32 + (length - len(template) - 4) % 32) + b"#}"
    new = struct.pack("<Q", len(comment + template)) + comment + template
    path = tmp_path_factory.mktemp("tools") / "model.gguf"
    path.write_bytes(old[:start] + new + old[start + 8 + length :])
    return path


@pytest.fixture(autouse=True, scope="session")
def runtime() -> Iterator[None]:
    """A folder for sockets, with a short path, where no other server's model process is."""
    with tempfile.TemporaryDirectory(prefix="coe") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", folder)
        yield


@pytest.fixture
async def make(gguf: Path) -> AsyncIterator[Make]:
    """A function that makes providers, closed after the test."""
    async with AsyncExitStack() as stack:

        def made(**options: int) -> LocalProvider:
            provider = LocalProvider(threads=1, **options)
            stack.push_async_callback(provider.close)
            return provider

        yield made


@pytest.fixture
def provider(make: Make) -> LocalProvider:
    """The provider as the plugin makes it on a small machine."""
    return make(slots=2, context_tokens=2048)


@frozen
class Answer:
    """An answer, collected."""

    chunks: list[Chunk]

    @property
    def text(self) -> str:
        """All of its text."""
        return "".join(chunk.content for chunk in self.chunks)

    @property
    def finish_reason(self) -> str:
        """Why it ended; there must be exactly one reason."""
        (reason,) = [chunk.finish_reason for chunk in self.chunks if chunk.finish_reason]
        return reason

    @property
    def usage(self) -> Usage:
        """What it was billed."""
        return [chunk.usage for chunk in self.chunks if chunk.usage][-1]

    @property
    def call(self) -> tuple[str | None, str]:
        """The name and the arguments of its tool call."""
        pieces = [piece for chunk in self.chunks for piece in chunk.tool_calls]
        assert {piece.index for piece in pieces} == {0}
        assert pieces[0].id
        return pieces[0].name, "".join(piece.arguments for piece in pieces)


Stream: TypeAlias = Callable[..., AsyncGenerator[Chunk, None]]
Ask: TypeAlias = Callable[..., Awaitable[Answer]]


@pytest.fixture
def stream() -> Stream:
    """A function that asks a provider's chat model, or the file at `path`."""

    def streamed(
        provider: LocalProvider,
        text: str,
        *,
        path: Path | None = None,
        group: str = "default",
        **fields: Any,
    ) -> AsyncGenerator[Chunk, None]:
        chat = next(model for model in provider.models() if model.capability == "chat")
        options = Options(model_path=str(path) if path else None)
        body = {"model": "local", "messages": [{"role": "user", "content": text}], **fields}
        return provider.complete(
            evolve(chat, options=options), structure(body, ChatRequest), group=group
        )

    return streamed


@pytest.fixture
def ask(provider: LocalProvider, stream: Stream) -> Ask:
    """A function that asks the bundled model and collects the answer."""

    async def asked(text: str, **fields: Any) -> Answer:
        return Answer([chunk async for chunk in stream(provider, text, **fields)])

    return asked
