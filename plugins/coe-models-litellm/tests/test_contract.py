from collections.abc import AsyncIterator, Sequence

from coe_models_litellm.options import Options
from coe_models_litellm.plugin import LiteLLMPlugin
from coe_models_litellm.provider import LiteLLMProvider
from coe_models_litellm.release import ReleaseCheck
from coe_models_litellm.startup import StartupCheck

from coe_core.contract import Check, ModelProvider
from coe_core.model import Model
from coe_core.settings import Secret
from coe_core.testing.contracts.check import CheckContract
from coe_core.testing.contracts.plugin import PluginContract
from coe_core.testing.contracts.provider import ModelProviderContract
from coe_core.testing.upstream import Upstream


class TestLiteLLMPlugin(PluginContract):
    name = "litellm"

    def make(self) -> type[LiteLLMPlugin]:
        return LiteLLMPlugin


class TestLiteLLMProvider(ModelProviderContract):
    async def make(self) -> AsyncIterator[LiteLLMProvider]:
        async with Upstream() as upstream:
            self.options = Options(base_url=upstream.url, api_key=Secret("env:HOME"))
            yield LiteLLMProvider()

    def models(self, provider: ModelProvider) -> Sequence[Model]:
        asked = {"provider": provider.name, "name": "openai/synthetic", "options": self.options}
        return [
            Model(alias="chat", capability="chat", **asked),
            Model(alias="embedding", capability="embedding", **asked),
        ]


class TestReleaseCheck(CheckContract):
    def make(self) -> Check:
        return ReleaseCheck()


class TestStartupCheck(CheckContract):
    def make(self) -> Check:
        return StartupCheck()
