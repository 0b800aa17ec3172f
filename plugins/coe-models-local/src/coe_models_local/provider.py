"""The provider `local`: chat models in processes of their own, embedders in threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from attrs import define, evolve, field, frozen
from attrs.validators import ge, optional
from loguru import logger

from coe_core.error import (
    InvalidField,
    MissingModel,
    ModelNotConfigured,
    SettingsError,
    UnknownModel,
)
from coe_core.model import FREE, Chunk, Model, Vectors
from coe_core.request import ChatRequest, EmbeddingRequest, FunctionDefinition
from coe_models_local import dialect, gguf
from coe_models_local.bundle import BUNDLE, CHAT, FAST, QUALITY, chat_path
from coe_models_local.dialect import NativeDialect, PlainDialect, Sampling
from coe_models_local.embedder import FAST_TOGETHER, LocalEmbedder, load_fast, load_quality
from coe_models_local.folder import runtime_folder
from coe_models_local.grammar import Bounds
from coe_models_local.process import ChatProcess
from coe_models_local.spec import Spec

BUNDLED_SAMPLING = Sampling(
    text={"temperature": 0.2, "top_p": 0.9, "repeat_penalty": 1.1},
    json={
        "repeat_penalty": 1.0,
        "dry_multiplier": 0.8,
        "dry_base": 1.75,
        "dry_allowed_length": 3,
        "dry_penalty_last_n": 512,
    },
    bounds=Bounds(max_length=300, max_items=8),
)
"""Temperature and `top_p` are from the model's card; the penalties keep so small a model from
circling. llama.cpp's DRY sampler punishes whole phrases, not the quotes that JSON must repeat; the
bounds end what circles all the same.
"""

PATIENT_BATCH_TOKENS = 8
"""Read by the bundled model in 80 ms on a slow core: so soon does a cancellation count."""
BATCH_TOKENS = 128


@frozen(kw_only=True)
class Options:
    """The keys of a `[models.ALIAS]` table with `provider = "local"`."""

    model_path: str | None = None
    """A GGUF file; none means the bundled model."""
    batch_tokens: int | None = field(default=None, validator=optional(ge(1)))
    """How much of a prompt is read at once: more is faster, and slower to cancel."""


@define(eq=False)
class LocalProvider:
    """Answers and embeds on this machine, at no price."""

    threads: int
    slots: int
    context_tokens: int
    model_path: str | None = None
    name: str = "local"
    options: type[Any] = Options
    _processes: dict[Spec, ChatProcess] = field(factory=dict, init=False)
    _embedders: Mapping[str, LocalEmbedder] = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Name the embedders; nothing is loaded yet."""
        self._embedders = {
            FAST.alias: LocalEmbedder(FAST.alias, load_fast, self.threads, FAST_TOGETHER),
            QUALITY.alias: LocalEmbedder(QUALITY.alias, load_quality, self.threads),
        }

    def models(self) -> Sequence[Model]:
        """Offer the bundled models."""
        return [
            Model(
                alias=bundled.alias,
                provider=self.name,
                name=bundled.alias,
                options=Options(),
                capability=bundled.capability,
                price=FREE,
                context_tokens=self.context_tokens if bundled is CHAT else None,
            )
            for bundled in BUNDLE
        ]

    def describe(self, model: Model) -> Model:
        """Ask nothing for what runs on this machine, unless the settings do."""
        return evolve(model, price=model.price or FREE)

    async def complete(
        self, model: Model, request: ChatRequest, *, group: str
    ) -> AsyncIterator[Chunk]:
        """Answer in the model's own process, always streaming."""
        spec, sampling = self._spec(model)
        dialect.check(request, spec.context_tokens)
        call = await self._choose(request) if dialect.insists(request) else None
        process = self._processes.setdefault(spec, ChatProcess(spec))
        async with process.line() as line:
            is_native = line.takes_tools and call is None
            tongue = (
                NativeDialect(request, sampling)
                if is_native
                else PlainDialect(request, sampling, call)
            )
            body = await asyncio.to_thread(tongue.body)
            async with aclosing(line.ask(group, body)) as frames:
                async for frame in frames:
                    yield tongue.chunk(frame)

    async def embed(self, model: Model, request: EmbeddingRequest, *, group: str) -> Vectors:
        """Embed in a thread."""
        embedder = self._embedders.get(model.name)
        if embedder is None:
            known = ", ".join(self._embedders)
            msg = f"{model.alias!r} is no embedder of this machine; there are: {known}"
            raise UnknownModel(msg, param="model")
        if request.tokens or not request.input:
            msg = "input: the local embedders read text, not token numbers"
            raise InvalidField(msg, param="input")
        vectors = await embedder.embed(request.input, request.purpose)
        if request.dimensions not in (None, vectors.dimensions):
            msg = f"dimensions: {model.alias} has {vectors.dimensions}, no other number"
            raise InvalidField(msg, param="dimensions")
        return vectors

    async def close(self) -> None:
        """Let go of the processes and threads."""
        for process in self._processes.values():
            await process.close()
        for embedder in self._embedders.values():
            embedder.close()

    def _spec(self, model: Model) -> tuple[Spec, Sampling]:
        options: Options = model.options
        own_path = options.model_path or self.model_path
        path = Path(own_path).expanduser().resolve() if own_path else chat_path()
        try:
            runtime_folder()
        except SettingsError as error:
            logger.bind(model=model.alias, why=error.message).error("a model has no folder")
            raise ModelNotConfigured(model.alias) from error
        if own_path:
            gguf.check(path)
        elif (state := CHAT.state()) != "ready":
            raise MissingModel(f"the bundled chat model is {state} on the server. {CHAT.mend}")
        spec = Spec(
            path=str(path),
            context_tokens=model.context_tokens or self.context_tokens,
            slots=self.slots,
            threads=self.threads,
            batch_tokens=options.batch_tokens
            or (BATCH_TOKENS if own_path else PATIENT_BATCH_TOKENS),
        )
        return spec, Sampling() if own_path else BUNDLED_SAMPLING

    async def _choose(self, request: ChatRequest) -> FunctionDefinition:
        """Choose the function nearest to what the user said.

        Small models take the first one whatever is asked; the embedder does not.
        """
        functions = dialect.candidates(request)
        if len(functions) == 1:
            return functions[0]
        texts = [f"{function.name}: {function.description or ''}" for function in functions]
        vectors = await self._embedders[FAST.alias].embed([request.text, *texts], "query")
        question, *described = vectors.rows()
        scores = [sum(a * b for a, b in zip(question, row, strict=True)) for row in described]
        return functions[scores.index(max(scores))]
