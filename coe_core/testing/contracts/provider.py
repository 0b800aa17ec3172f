"""The laws of model providers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from itertools import chain

import attrs
from hypothesis import strategies as st

from coe_core.contract import ModelProvider
from coe_core.error import CoeError
from coe_core.message import user
from coe_core.model import Model, Vectors
from coe_core.request import ChatRequest, EmbeddingRequest
from coe_core.settings import ModelTable
from coe_core.testing.contracts.answer import (
    check_calls,
    check_end,
    check_usage,
    leave_early,
    whole,
)
from coe_core.testing.contracts.component import (
    ComponentContract,
    survives_cancellation,
    untouched,
)
from coe_core.testing.contracts.law import law
from coe_core.testing.strategies import chat_requests, embedding_requests

SHORT_TOKENS = 8
TOLERANCE = 1e-3
"""How far two embeddings of one text may lie apart: batches round differently."""


class ModelProviderContract(ComponentContract[ModelProvider]):
    """What holds of every provider, for each capability that it has a model of.

    `models` says which models are tried: those that the provider offers by itself, unless you
    override it with configured ones.
    """

    contract = ModelProvider

    def models(self, provider: ModelProvider) -> Sequence[Model]:
        """Return the models to try."""
        return provider.models()

    def _model(self, provider: ModelProvider, capability: str) -> Model | None:
        found = (m for m in self.models(provider) if m.capability == capability)
        return next(found, None)

    @law()
    async def test_has_a_model_to_try(self, provider: ModelProvider) -> None:
        """At least one model is tried."""
        assert self.models(provider), (
            "the provider offers no models by itself; override `models(self, provider)` in the "
            "test class to return one with its options"
        )

    @law()
    async def test_options_can_be_settings(self, provider: ModelProvider) -> None:
        """The options are an attrs class whose fields are none of the core's own."""
        options = provider.options
        assert isinstance(options, type) and attrs.has(options), (  # noqa: PT018
            f"options is {options!r}; make it an attrs class: its fields are the provider's own "
            "keys of [models.ALIAS]"
        )
        taken = {f.name for f in attrs.fields(ModelTable)} & {f.name for f in attrs.fields(options)}
        assert not taken, f"the options {sorted(taken)} are keys of the core; take other names"

    @law()
    async def test_offers_its_own_models(self, provider: ModelProvider) -> None:
        """Each offered model has an alias of its own and names this provider."""
        offered = provider.models()
        aliases = [model.alias for model in offered]
        assert len(set(aliases)) == len(aliases), f"two models have one alias: {aliases}"
        strangers = [model.alias for model in offered if model.provider != provider.name]
        assert not strangers, f"{strangers} name another provider than {provider.name!r}"

    @law()
    async def test_lets_the_settings_stand(self, provider: ModelProvider) -> None:
        """`describe` fills in what is not known of a configured model, and changes nothing else."""
        for model in self.models(provider):
            described = provider.describe(model)
            assert isinstance(described, Model), (
                f"describe() returned {described!r}; return the model, with attrs.evolve"
            )
            for field in attrs.fields(Model):
                said, says = getattr(model, field.name), getattr(described, field.name)
                assert said in (None, says), (
                    f"the settings say {field.name} = {said!r}, describe() made it {says!r}"
                )

    @law(asked=chat_requests())
    async def test_answers_whole_or_says_why_not(
        self, provider: ModelProvider, asked: ChatRequest
    ) -> None:
        """Any request gets an answer in which each choice ends, or one of our errors."""
        if (model := self._model(provider, "chat")) is None:
            return
        asked = attrs.evolve(asked, max_completion_tokens=SHORT_TOKENS)
        chunks = await whole(provider.complete(model, asked, group="default"))
        if chunks is not None:
            check_end(chunks, asked.n or 1)
            check_calls(chunks)
            check_usage(chunks)

    @law(stream=st.booleans())
    async def test_answers_a_greeting(self, provider: ModelProvider, stream: bool) -> None:  # noqa: FBT001
        """A plain greeting is answered, streamed and not; an error will not do."""
        if (model := self._model(provider, "chat")) is None:
            return
        chunks = await whole(provider.complete(model, greeting(stream=stream), group="default"))
        assert chunks is not None, "a greeting was refused"
        check_end(chunks, 1)

    @law(asked=chat_requests())
    async def test_leaves_the_request_alone(
        self, provider: ModelProvider, asked: ChatRequest
    ) -> None:
        """The request is read, not changed: a fallback sends the same one elsewhere."""
        if (model := self._model(provider, "chat")) is not None:
            asked = attrs.evolve(asked, max_completion_tokens=SHORT_TOKENS)
            with untouched(asked):
                await whole(provider.complete(model, asked, group="default"))

    @law()
    async def test_stops_when_it_is_left(self, provider: ModelProvider) -> None:
        """Closing an answer ends the call at once, and the provider still answers."""
        if (model := self._model(provider, "chat")) is not None:
            await leave_early(provider.complete(model, greeting(stream=True), group="default"))
            assert (
                await whole(provider.complete(model, greeting(stream=True), group="default"))
                is not None
            ), "after an answer was left early the next one failed"

    @law(steps=st.integers(0, 5))
    async def test_lets_itself_be_cancelled(self, provider: ModelProvider, steps: int) -> None:
        """Cancelling a call ends it."""
        if (model := self._model(provider, "chat")) is not None:
            answer = provider.complete(model, greeting(stream=True), group="default")
            await survives_cancellation(whole(answer), steps)

    @law()
    async def test_answers_several_at_once(self, provider: ModelProvider) -> None:
        """Calls at the same time are all answered."""
        if (model := self._model(provider, "chat")) is None:
            return
        calls = (
            whole(provider.complete(model, greeting(stream=odd), group="default"))
            for odd in (True, False) * 2
        )
        for chunks in await asyncio.gather(*calls):
            assert chunks is not None, "of four calls at once one was refused"
            check_end(chunks, 1)

    @law(asked=embedding_requests())
    async def test_embeds_each_text(self, provider: ModelProvider, asked: EmbeddingRequest) -> None:
        """There is one row of finite numbers for each input, as many as `dimensions` says."""
        if (model := self._model(provider, "embedding")) is None:
            return
        try:
            vectors = await provider.embed(model, asked, group="default")
        except CoeError:
            return
        check_vectors(vectors, len(asked.input))

    @law(asked=embedding_requests())
    async def test_embeds_in_order(self, provider: ModelProvider, asked: EmbeddingRequest) -> None:
        """The rows come in the order of the inputs."""
        if (model := self._model(provider, "embedding")) is None:
            return
        try:
            vectors = await provider.embed(model, asked, group="default")
            back = await provider.embed(
                model, attrs.evolve(asked, input=asked.input[::-1]), group="default"
            )
        except CoeError:
            return
        assert alike(vectors, Vectors.of(back.rows()[::-1])), (
            "the inputs reversed do not give the rows reversed; row i is the vector of input[i]"
        )


def greeting(*, stream: bool) -> ChatRequest:
    """Ask for a few words."""
    messages = (user("Hello"),)
    return ChatRequest(
        model="auto", messages=messages, max_completion_tokens=SHORT_TOKENS, stream=stream
    )


def check_vectors(vectors: Vectors, count: int) -> None:
    """See that there are so many rows, and that every number is one."""
    assert isinstance(vectors, Vectors), f"got {vectors!r}; return coe_core.Vectors"
    assert len(vectors) == count, f"{count} texts got {len(vectors)} vectors; each gets one"
    assert len(vectors.data) == count * vectors.dimensions * 4, (
        f"{len(vectors.data)} bytes are not {count} rows of {vectors.dimensions} float32"
    )
    finite = all(math.isfinite(number) for row in vectors.rows() for number in row)
    assert finite, "a vector holds a NaN or an infinity, which no index can search"


def alike(some: Vectors, others: Vectors) -> bool:
    """Whether two sets of vectors are about the same, row by row."""
    if (len(some), some.dimensions) != (len(others), others.dimensions):
        return False
    pairs = zip(chain(*some.rows()), chain(*others.rows()), strict=True)
    return all(math.isclose(a, b, abs_tol=TOLERANCE) for a, b in pairs)
