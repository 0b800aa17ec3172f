from pathlib import Path

import pytest
from coe_models_openai.options import Options

from coe_core.error import SettingsError
from coe_core.settings import Secret, Settings, load, structure_table


def options(tmp_path: Path, text: str) -> Options:
    file = tmp_path / "coe.toml"
    file.write_text(f'[models.small]\nprovider = "openai"\n{text}\n')
    settings: Settings = load(file, {})
    table = settings.models["small"].options
    return structure_table(Options, table, "models.small", settings)


def test_the_keys_of_a_model(tmp_path: Path) -> None:
    text = 'base_url = "http://127.0.0.1:1/v1/"\napi_key = "env:KEY"'
    made = options(tmp_path, text)
    assert made.api_key == Secret("env:KEY")
    assert made.host == "127.0.0.1:1"
    assert made.url("chat/completions") == "http://127.0.0.1:1/v1/chat/completions"
    assert "KEY" not in repr(made)


def test_the_public_api_is_the_default(tmp_path: Path) -> None:
    assert options(tmp_path, "").url("models") == "https://api.openai.com/v1/models"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('base_url = "localhost:8000"', "an address like https://host/v1"),
        ('base_url = "http:///v1"', "an address like https://host/v1"),
        ('base_url = "http://user:word@host/v1"', "holds no password"),
        ('base_ulr = "http://host/v1"', "did you mean 'base_url'"),
        ('api_key = "sk-synthetic"', "env:NAME or file:PATH"),
        ('api = "assistants"', "'chat'"),
    ],
)
def test_a_wrong_key_says_what_is_wrong(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        options(tmp_path, text)


def test_secret_headers_may_have_any_name(tmp_path: Path) -> None:
    made = options(tmp_path, 'secret_headers = { api-key = "env:KEY", x-other = "file:/run/key" }')
    assert made.secret_headers == {
        "api-key": Secret("env:KEY"),
        "x-other": Secret("file:/run/key"),
    }
