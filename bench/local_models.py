"""What the bundled models do on this machine: time to the first answer, tokens and texts a second.

Run it on a quiet machine: `python3 noxfile.py bench local_models`.
"""

import asyncio
import os
import platform
import tempfile
import time
from contextlib import aclosing

from coe_models_local.plugin import LocalPlugin

from coe_core.contract import ModelProvider
from coe_core.message import user
from coe_core.model import Model
from coe_core.request import ChatRequest, EmbeddingRequest

KOREAN = "환불은 어떻게 받나요?"


async def main() -> None:
    """Measure each model once cold, then warm."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    (provider,) = LocalPlugin().coe_model_providers(None)
    chat, *embedders = provider.models()
    for state in ("cold", "warm"):
        await answer(provider, chat, state)
    await cancel(provider, chat)
    for embedder in embedders:
        await embed(provider, embedder)
    await provider.close()


async def answer(provider: ModelProvider, model: Model, state: str) -> None:
    """Time an answer of 200 tokens, process and loading included when cold."""
    request = ChatRequest(
        model="local", messages=(user("Tell me a long story."),), max_tokens=200, seed=1
    )
    started, first, usage = time.perf_counter(), None, None
    async for chunk in provider.complete(model, request):
        if chunk.content and first is None:
            first = time.perf_counter()
        usage = chunk.usage or usage
    speed = (usage.output_tokens - 1) / (time.perf_counter() - first)
    print(
        f"{model.alias}, {state}: first token after {first - started:.2f} s, {speed:.0f} tokens/s"
    )


async def cancel(provider: ModelProvider, model: Model) -> None:
    """Time how soon a cancelled answer makes room in the only free slot for another."""
    story = ChatRequest(model="local", messages=(user("Tell me a story."),), max_tokens=500)
    word = ChatRequest(model="local", messages=(user("Hi"),), max_tokens=1)
    async with aclosing(provider.complete(model, story)) as busy:
        await anext(busy)
        cancelled = provider.complete(model, story)
        await anext(cancelled)
        started = time.perf_counter()
        await cancelled.aclose()
        async with aclosing(provider.complete(model, word)) as freed:
            await anext(freed)
    print(f"{model.alias}: cancelled and another begun in {time.perf_counter() - started:.3f} s")


async def embed(provider: ModelProvider, model: Model) -> None:
    """Time a first text, single short texts, and a batch."""
    started = time.perf_counter()
    await vectors(provider, model, [KOREAN])
    cold = time.perf_counter() - started
    started = time.perf_counter()
    for number in range(50):
        await vectors(provider, model, [f"{KOREAN} {number}"])
    single = (time.perf_counter() - started) / 50
    started = time.perf_counter()
    await vectors(provider, model, [f"{KOREAN} {number}" for number in range(200)])
    batch = 200 / (time.perf_counter() - started)
    print(
        f"{model.alias}: first text {cold:.2f} s, then {single * 1000:.1f} ms each, "
        f"{batch:.0f} texts/s in a batch"
    )


async def vectors(provider: ModelProvider, model: Model, texts: list[str]) -> None:
    """Embed."""
    await provider.embed(model, EmbeddingRequest(model=model.alias, input=tuple(texts)))


# A process of its own, not one that some server on this machine has running.
with tempfile.TemporaryDirectory() as folder:
    os.environ["XDG_RUNTIME_DIR"] = folder
    asyncio.run(main())
