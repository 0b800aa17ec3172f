"""Serve a model that repeats what it is told."""

from collections.abc import AsyncIterator, Sequence

from attrs import frozen

from coe_core import ChatRequest, Chunk, EmbeddingRequest, Model, Price, Usage, Vectors, hookimpl
from coe_core.compose import Context
from coe_core.error import UpstreamRejected


@frozen(kw_only=True)
class Settings:
    prefix: str = "You said: "
    """What every answer begins with."""


@frozen(kw_only=True)
class Options:
    """The keys of `[models.ALIAS]` that are this provider's own."""

    shout: bool = False


@frozen
class ExampleModelProvider:
    prefix: str = "You said: "
    name: str = "example"
    options = Options

    def models(self) -> Sequence[Model]:
        return [
            Model(
                alias="example",
                provider=self.name,
                name="echo",
                price=Price(),
                options=Options(),
            )
        ]

    def describe(self, model: Model) -> Model:
        return model

    async def complete(
        self, model: Model, request: ChatRequest, *, group: str
    ) -> AsyncIterator[Chunk]:
        text = self.prefix + request.text
        text = text.upper() if model.options.shout else text
        for index in range(request.n or 1):
            yield Chunk(content=text, index=index, finish_reason="stop")
        yield Chunk(usage=Usage(input_tokens=len(request.text), output_tokens=len(text)))

    async def embed(self, model: Model, request: EmbeddingRequest, *, group: str) -> Vectors:
        raise UpstreamRejected("this provider has no embeddings")


@frozen
class ExamplePlugin:
    settings: Settings

    @hookimpl
    def coe_model_providers(self, ctx: Context) -> list[ExampleModelProvider]:
        return [ExampleModelProvider(self.settings.prefix)]
