"""`coe init`: write a settings file in which every key stands with its meaning, commented out."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs
import click
import msgspec

from coe_core.cli.frame import DEFAULT_CONFIG, Frame, pass_frame
from coe_core.cli.output import width
from coe_core.codec import converter
from coe_core.docstring import field_docs
from coe_core.error import Conflict, SettingsError
from coe_core.message import Json
from coe_core.plugin import PluginFailed, discover, load_class, settings_class
from coe_core.settings import CoeTable, GroupTable, ModelTable, RoutingTable

Language: TypeAlias = Literal["en", "ko"]

INTRODUCTION: Mapping[Language, str] = {
    "en": (
        "The settings of CoE. Every key stands here with its default: remove the # before it, and "
        "before its table, to change it. An environment variable goes over the file: "
        "COE_ROUTING__DEFAULT=small. `coe config validate` checks the file, "
        "`coe config show --origin` says what is in force."
    ),
    "ko": (
        "CoE 설정 파일입니다. 모든 항목이 기본값과 함께 적혀 있으니, 바꾸려면 그 항목과 표 이름 "
        "앞의 #을 지우세요. 환경 변수가 파일보다 우선합니다: COE_ROUTING__DEFAULT=small. "
        "`coe config validate`는 파일을 검사하고, `coe config show --origin`은 지금 적용되는 값과 "
        "그 출처를 보여 줍니다."
    ),
}

PURPOSES: Mapping[str, Mapping[Language, str]] = {
    "coe": {
        "en": "The whole deployment.",
        "ko": "배포 전체에 대한 설정.",
    },
    "routing": {
        "en": "Where a request without a model's name goes, and what stands in for a failed model.",
        "ko": "모델을 지정하지 않은 요청이 갈 곳과, 실패한 모델을 대신할 모델.",
    },
    "models.small": {
        "en": "A model under a name of your own; one table each. The provider has further keys. "
        "Without any table, the bundled model answers as `local`.",
        "ko": "원하는 이름을 붙인 모델로, 모델마다 표 하나를 씁니다. 공급자마다 다른 항목이 더 "
        "있습니다. 표가 없으면 함께 설치된 모델이 `local`이라는 이름으로 답합니다.",
    },
    "groups.default": {
        "en": "What a group may use and spend; one table each.",
        "ko": "그룹이 쓸 수 있는 모델과 예산으로, 그룹마다 표 하나를 씁니다.",
    },
    "plugins": {
        "en": "The plugins that are installed, with their own keys. One component of a plugin is "
        'switched off by its kind and name: components = { "routers.keyword" = false }.',
        "ko": "설치된 플러그인과 각각의 항목. 플러그인의 구성 요소 하나만 끄려면 종류와 이름을 "
        '적습니다: components = { "routers.keyword" = false }.',
    },
}

EXAMPLES: Mapping[str, Mapping[str, Json]] = {
    "models.small": {
        "provider": "openai",
        "model": "gpt-4o-mini",
        "base_url": "http://127.0.0.1:18080/v1",
        "api_key": "env:OPENAI_API_KEY",
        "price": {"input": "0.15", "output": "0.60"},
    },
    "groups.default": {"budget_usd_month": 100, "rpm": 60, "models": ["small", "local"]},
}
"""What stands in the place of defaults, where a default would say nothing."""

WIDTH = 96
"""Of a comment, in columns."""


@click.command("init", help="Write a commented settings file.")
@click.option("--force", is_flag=True, help="Overwrite the file if it is there.")
@click.option("--lang", type=click.Choice(["en", "ko"]), default="en", show_default=True)
@pass_frame
def command(frame: Frame, *, force: bool, lang: Language) -> None:
    """Write the file that --config names."""
    path = frame.config or DEFAULT_CONFIG
    _write(path, settings_file(lang), force=force)
    click.echo(f"Wrote {path}.")


def settings_file(language: Language) -> str:
    """Compose the file from the settings classes of the core and of the installed plugins."""
    blocks = [_comment(INTRODUCTION[language])]
    blocks += [
        _block("coe", CoeTable, language),
        _block("routing", RoutingTable, language),
        _block("models.small", ModelTable, language),
        _block("groups.default", GroupTable, language),
        _comment(PURPOSES["plugins"][language]),
    ]
    blocks += [_plugin_block(name, cls) for name, cls in _plugin_settings()]
    return "\n\n".join(blocks) + "\n"


def _write(path: Path, text: str, *, force: bool) -> None:
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Conflict(f"{path} is there already; --force overwrites it") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from error


def _plugin_settings() -> Iterator[tuple[str, type[Any] | None]]:
    installed, _ = discover()
    for name, plugin in installed.items():
        # What cannot be imported has no keys to show; `coe plugins` says why.
        with suppress(PluginFailed):
            yield name, settings_class(load_class(plugin))


def _block(path: str, cls: type[Any], language: Language) -> str:
    lines = [_comment(PURPOSES[path][language]), _commented(f"[{path}]")]
    return "\n".join([*lines, *_keys(cls, EXAMPLES.get(path, {}))])


def _plugin_block(name: str, cls: type[Any] | None) -> str:
    lines = [_commented(f"[plugins.{name}]"), _commented("enabled = true")]
    return "\n".join(lines + (_keys(cls, {}) if cls is not None else []))


def _keys(cls: type[Any], example: Mapping[str, Json]) -> list[str]:
    """Write the keys of a table, each under its docstring; those of the example come first."""
    docs = field_docs(cls)
    defaults = _defaults(cls)
    lines = []
    for name, value in (defaults | dict(example)).items():
        if name in docs:
            lines.append(_comment(docs[name]))
        lines.append(_commented(f"{name} = {toml(value)}" if value is not None else f"{name} ="))
    return lines


def _defaults(cls: type[Any]) -> dict[str, Json]:
    return {
        attribute.name: converter.unstructure(_default(attribute))
        for attribute in attrs.fields(attrs.resolve_types(cls))
        if not attribute.metadata.get("rest")
    }


def _default(attribute: attrs.Attribute[Any]) -> Any:
    match attribute.default:
        case attrs.Factory(factory=factory):  # type: ignore[misc]
            return factory()
        case attrs.NOTHING:
            return None
        case default:
            return default


def toml(value: Json) -> str:
    """Write a JSON value as TOML, on one line. TOML has no null: it is left out of tables."""
    match value:
        case dict():
            pairs = (f"{_key(k)} = {toml(v)}" for k, v in value.items() if v is not None)
            inner = ", ".join(pairs)
            return f"{{ {inner} }}" if inner else "{}"
        case list() | tuple():
            return f"[{', '.join(map(toml, value))}]"
        case _:
            return msgspec.json.encode(value).decode()


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("-", "_").isidentifier()
    return name if bare else toml(name)


def _comment(text: str) -> str:
    # textwrap counts letters; those of Korean are two columns wide.
    letters = WIDTH * len(text) // width(text)
    return "\n".join(f"# {line}" for line in textwrap.wrap(text, letters))


def _commented(line: str) -> str:
    return f"#{line}"
