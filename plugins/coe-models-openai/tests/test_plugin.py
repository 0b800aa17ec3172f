import subprocess
import sys

from coe_models_openai.plugin import OpenAIPlugin, Settings

from coe_core.contract import ModelProvider
from coe_core.plugin import violations


def test_the_plugin_contributes_the_provider() -> None:
    (provider,) = OpenAIPlugin(Settings()).coe_model_providers(None)  # type: ignore[arg-type]
    assert provider.name == "openai"
    assert provider.models() == []
    assert violations(provider, ModelProvider) == []


def test_importing_the_plugin_is_light() -> None:
    code = "import sys, coe_models_openai.plugin; print('aiohttp' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
