from collections.abc import AsyncIterator, Sequence

from coe_models_openai.options import Options
from coe_models_openai.plugin import OpenAIPlugin
from coe_models_openai.provider import OpenAIProvider

from coe_core.contract import ModelProvider
from coe_core.model import Model
from coe_core.testing.contracts.plugin import PluginContract
from coe_core.testing.contracts.provider import ModelProviderContract
from coe_core.testing.upstream import Upstream


class TestOpenAIPlugin(PluginContract):
    name = "openai"

    def make(self) -> type[OpenAIPlugin]:
        return OpenAIPlugin


class TestOpenAIProvider(ModelProviderContract):
    async def make(self) -> AsyncIterator[OpenAIProvider]:
        async with Upstream() as upstream:
            self.options = Options(base_url=upstream.url)
            yield OpenAIProvider()

    def models(self, provider: ModelProvider) -> Sequence[Model]:
        asked = {"provider": provider.name, "name": "synthetic", "options": self.options}
        return [
            Model(alias="chat", capability="chat", **asked),
            Model(alias="embedding", capability="embedding", **asked),
        ]
