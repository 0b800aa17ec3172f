"""The `llm` command, set up as its documentation says for OpenAI-compatible servers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LLM = Path(sys.executable).with_name("llm")


@pytest.fixture(autouse=True)
def _registered(base_url, model):
    """Describe the model in llm's own folder."""
    (Path(os.environ["LLM_USER_PATH"]) / "extra-openai-models.yaml").write_text(
        f"- model_id: coe\n  model_name: {model}\n  api_base: {base_url}\n"
        "  api_key_name: openai\n  supports_tools: true\n",
        encoding="utf-8",
    )


def llm(*arguments):
    done = subprocess.run(
        [LLM, "-m", "coe", *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_stream():
    assert llm("-o", "max_tokens", "16", "Hello").strip()


def test_chat():
    assert llm("--no-stream", "-o", "max_tokens", "16", "Hello").strip()


def test_tool(model):
    if model != "calling":
        model_calls_none = "the bundled model calls a tool only where tool_choice asks for one"
        assert llm("-T", "llm_version", "-o", "max_tokens", "16", "Hello").strip(), model_calls_none
        return
    assert llm("-T", "llm_version", "Which version?").startswith("The tool says ")
