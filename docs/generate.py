"""Write `docs/reference/` from the code: `python docs/generate.py`, with `--check` only compare."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import attrs
import click
from notation import (
    annotation,
    code,
    default,
    doc,
    first_paragraph,
    inherited_docs,
    joined,
    kind,
    signature,
    table,
)

import coe_core
from coe_core import card, compose, contract, event, hookspec, panel, record, service, testing
from coe_core.application import Application
from coe_core.cli import LazyCommand
from coe_core.cli.frame import Frame, common_options
from coe_core.cli.init import toml
from coe_core.cli.program import OWN_COMMANDS, program
from coe_core.error import CoeError
from coe_core.host import compose_unopened
from coe_core.http import HttpRoute
from coe_core.plugin import HOOK_NAMES, settings_class
from coe_core.settings import (
    CoeTable,
    GroupTable,
    ModelTable,
    PluginTable,
    PriceTable,
    RoutingTable,
    Secret,
    Settings,
)

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
MEMBERS = (
    "coe-core",
    *sorted(folder.name for folder in ROOT.glob("*/coe-*/")),
)
TABLES = {
    "[coe]": CoeTable,
    "[routing]": RoutingTable,
    "[models.ALIAS]": ModelTable,
    "[models.ALIAS.price]": PriceTable,
    "[groups.NAME]": GroupTable,
    "[plugins.NAME]": PluginTable,
}
COMMON = {option.name for option in common_options()}
COLUMNS = ("argument", "default", "meaning")
NOTICE = "<!-- Written by docs/generate.py from the code: change it there. -->"


def main() -> int:
    """Write the pages, or say which are stale."""
    written = pages()
    stale = [name for name, text in written.items() if text != _present(name)]
    if "--check" not in sys.argv:
        REFERENCE.mkdir(exist_ok=True)
        for name in stale:
            (REFERENCE / name).write_text(written[name], encoding="utf-8")
        print(f"Wrote {len(stale)} changed page(s) to docs/reference/.")
    elif stale:
        print(f"Stale: {', '.join(stale)}. Write them anew: python3 noxfile.py docs --write")
    return int("--check" in sys.argv and bool(stale))


def _present(name: str) -> str:
    path = REFERENCE / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


def pages() -> dict[str, str]:
    """Make every page, by file name."""
    load_everything()
    writers = {
        "hooks.md": hooks,
        "contracts.md": contracts,
        "services.md": services,
        "values.md": values,
        "settings.md": settings,
        "errors.md": errors,
        "cli.md": cli,
        "http.md": http,
        "testing.md": suites,
    }
    return {name: joined([NOTICE, *writer()]) for name, writer in writers.items()}


def load_everything() -> None:
    """Import every module of our members, so that every class is there to be found."""
    for name in MEMBERS:
        package = importlib.import_module(name.replace("-", "_"))
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(("__main__", ".env")) and ".versions." not in module.name:
                importlib.import_module(module.name)


def hooks() -> Iterator[str]:
    """Describe the extension points."""
    yield "# Hooks"
    yield inspect.getdoc(hookspec) or ""
    yield from _class(compose.Context)
    for name in HOOK_NAMES:
        yield f"## `{name}`"
        yield code(f"def {name}{signature(getattr(hookspec, name))}")
        yield doc(getattr(hookspec, name))
        kind = name.removeprefix("coe_")
        if kind in compose.CONTRACTS:
            yield f"A component satisfies {_contract_link(compose.CONTRACTS[kind])}."


def contracts() -> Iterator[str]:
    """Describe what components are."""
    yield "# Contracts"
    yield inspect.getdoc(contract) or ""
    for protocol in _protocols(contract):
        yield from _class(protocol)


def services() -> Iterator[str]:
    """Describe the services."""
    yield "# Services"
    yield inspect.getdoc(service) or ""
    for protocol in compose.SERVICES:
        yield from _class(protocol)
    yield from _class(service.Service)


def values() -> Iterator[str]:
    """Describe what is passed around: the public values, the events, the record."""
    yield "# Values"
    yield "What components are given and give back. All are frozen: change one with `attrs.evolve`."
    public = [getattr(coe_core, name) for name in coe_core.__all__]
    found = [cls for cls in public if isinstance(cls, type) and attrs.has(cls)]
    for module in (contract, card, panel, service, event, record):
        found += [cls for cls in _defined(module) if attrs.has(cls) and cls not in found]
    for cls in sorted(found, key=lambda cls: cls.__name__):
        yield from _class(cls)


def settings() -> Iterator[str]:
    """Describe every key of the settings."""
    yield "# Settings"
    yield inspect.getdoc(sys.modules[Settings.__module__]) or ""
    for title, cls in TABLES.items():
        yield f"## `{title}`"
        text = doc(cls).partition(": ")[2] or doc(cls)
        yield text[0].upper() + text[1:]
        yield _keys(cls)
    for provider in _sorted(_application().model_providers.values()):
        yield f'## `[models.ALIAS]` with `provider = "{provider.name}"`'
        yield "The provider's own keys, beside those above."
        yield _keys(provider.options)
    for name, cls in _plugin_settings():
        yield f"## `[plugins.{name}]`"
        yield "The plugin's own keys, beside those of every plugin."
        yield _keys(cls)
        for nested in _nested([cls]):
            if nested is not Secret:
                yield f"### {nested.__name__}"
                yield doc(nested)
                yield _keys(nested)


def errors() -> Iterator[str]:
    """Describe every error, by code."""
    yield "# Errors"
    yield (
        'An error has the shape of OpenAI\'s: `{"error": {"message", "type", "param", '
        '"code", "request_id"}}`. Decide by `code`, which is stable; the message is for people. '
        "*Again* says whether another attempt, on this or another target, may succeed: the "
        "engine decides by it."
    )
    yield table(
        ("code", "status", "type", "again", "class", "meaning"),
        [
            (
                f"`{cls.code}`",
                str(cls.status),
                f"`{cls.type}`",
                "yes" if cls.retryable else "no",
                f"`{cls.__name__}`",
                first_paragraph(cls),
            )
            for cls in error_classes()
        ],
    )


def error_classes() -> list[type[CoeError]]:
    """List the errors of our members, by code."""
    found = {cls for cls in _subclasses(CoeError) if _is_ours(cls)}
    return sorted({CoeError, *found}, key=lambda cls: (cls.code, cls.__name__))


def cli() -> Iterator[str]:
    """Describe every command."""
    yield "# Command line"
    yield (
        "Exit codes: 0 done; 1 it failed, or what was asked about is not well; 2 the settings or "
        "the arguments cannot be used; 130 interrupted."
    )
    yield "Every command takes these:"
    yield table(COLUMNS, [_parameter(option) for option in common_options()])
    for path, command in commands():
        yield f"## `{' '.join(path)}`"
        yield re.sub(r"\s+", " ", command.help or "")
        own = [parameter for parameter in command.params if parameter.name not in COMMON]
        if own:
            yield table(COLUMNS, [_parameter(parameter) for parameter in own])


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Walk the program: its own commands, and those of our plugins."""
    frame = Frame(config=None, given_data_dir=Path(tempfile.gettempdir()) / "coe-docs-none")
    context = click.Context(program, info_name="coe", obj=frame)
    yield ("coe",), program
    ours = {*_contributed("cli_commands"), *OWN_COMMANDS}
    for name in program.list_commands(context):
        command = program.get_command(context, name)
        if name in ours and command is not None:
            loaded = command.load() if isinstance(command, LazyCommand) else command
            yield from _walk(("coe", name), loaded)


def http() -> Iterator[str]:
    """Describe every route."""
    yield "# HTTP API"
    yield (
        "The same as a document for programs: `GET /openapi.json`. Where a role is named, the "
        "request carries `Authorization: Bearer KEY` of a key with that role or a higher one; "
        "while no key exists, the machine's own user needs none. A field that is not listed is "
        "kept and goes to the upstream. Errors: [errors](errors.md)."
    )
    for route in routes():
        yield f"## `{route.method} {route.path}`"
        yield f"{doc(route.handler) or route.summary} Role: {route.role or 'none'}."
        if route.streams:
            yield "Answers with `text/event-stream` where the request says `stream: true`."
        for title, cls in _shapes(route):
            yield f"{title}:"
            yield _keys(cls)
    yield "## Tables"
    for cls in _nested(cls for route in routes() for _, cls in _shapes(route)):
        yield f"### `{cls.__name__}`"
        yield first_paragraph(cls)
        yield _keys(cls)


def routes() -> list[HttpRoute]:
    """List the routes of our plugins."""
    ours = _contributed("http_routes")
    return [route for route in _application().http_routes if route.name in ours]


def suites() -> Iterator[str]:
    """Describe the contract suites, each with its laws."""
    yield "# Contract suites"
    yield inspect.getdoc(testing) or ""
    for name in testing.__all__:
        cls = getattr(testing, name)
        if inspect.isclass(cls) and name.endswith("Contract"):
            yield f"## `{name}`"
            yield doc(cls)
            yield table(("law", "says"), _laws(cls))
    others = [name for name in testing.__all__ if not name.endswith("Contract")]
    yield "## Parts for tests"
    described = [(f"`{name}`", first_paragraph(getattr(testing, name))) for name in others]
    yield table(("name", "what it is"), described)


def _laws(cls: type) -> list[tuple[str, str]]:
    laws = [(name, getattr(cls, name)) for name in dir(cls) if name.startswith("test_")]
    said = [(name.removeprefix("test_").replace("_", " "), law) for name, law in laws]
    return [(name, first_paragraph(law)) for name, law in said]


def _application() -> Application:
    """Compose what is installed by its defaults, opening nothing."""
    return compose_unopened(Settings(), Path(tempfile.gettempdir()) / "coe-docs-none")[0]


def _contributed(kind: str) -> set[str]:
    """Name what our members contribute; others may be installed beside them."""
    reports = _application().plugins
    ours = [report for report in reports if report.distribution in MEMBERS]
    return {name for report in ours for name in report.contributes.get(kind, ())}


def _plugin_settings() -> Iterator[tuple[str, type[Any]]]:
    for member in MEMBERS:
        for plugin in distribution(member).entry_points.select(group="coe.plugins"):
            if (cls := settings_class(plugin.load())) is not None and attrs.fields(cls):
                yield plugin.name, cls


def _walk(
    path: tuple[str, ...], command: click.Command
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, below in sorted(command.commands.items()):
            yield from _walk((*path, name), below)


def _parameter(parameter: click.Parameter) -> tuple[str, str, str]:
    if isinstance(parameter, click.Option):
        name = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
        if not parameter.is_flag:
            name += f" {parameter.make_metavar(click.Context(program))}"
        default = parameter.default if parameter.show_default else None
        text = parameter.help or ""
    else:
        name, default, text = f"{parameter.human_readable_name}", None, "required"
    shown = "" if default in (None, False) or not isinstance(default, str | int) else f"`{default}`"
    return name.replace("|", "\\|"), shown, text


def _shapes(route: HttpRoute) -> Iterator[tuple[str, type[Any]]]:
    titles = {
        "query": "Query",
        "headers": "Request headers",
        "request": "Request body",
        "response": "Response body",
        "response_headers": "Response headers",
    }
    for name, title in titles.items():
        shape = getattr(route, name)
        if inspect.isclass(shape) and attrs.has(shape) and attrs.fields(shape):
            yield title, shape


def _nested(shapes: Iterable[type[Any]]) -> list[type[Any]]:
    """Find the classes that the fields of others have, by name."""
    found: dict[str, type[Any]] = {}
    pending = list(shapes)
    while pending:
        for a in attrs.fields(attrs.resolve_types(pending.pop())):
            for cls in _classes(a.type):
                if found.setdefault(cls.__name__, cls) is cls and cls not in pending:
                    pending.append(cls)
    return [found[name] for name in sorted(found)]


def _classes(of: Any) -> Iterator[type[Any]]:
    if inspect.isclass(of) and attrs.has(of):
        yield of
    for argument in get_args(of):
        yield from _classes(argument)


def _class(cls: type[Any]) -> Iterator[str]:
    yield f"## `{cls.__name__}`"
    yield doc(cls)
    if attrs.has(cls):
        yield _fields(cls)
    yield from _members(cls)


def _members(cls: type[Any]) -> Iterator[str]:
    """Describe the public methods and properties that a class defines itself."""
    for name, member in vars(cls).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            kind = annotation(inspect.signature(member.fget).return_annotation)
            yield f"### `{cls.__name__}.{name}: {kind}`"
            yield doc(member)
        elif isinstance(member, classmethod) or inspect.isfunction(member):
            function = inspect.unwrap(getattr(member, "__func__", member))
            prefix = "async " if inspect.iscoroutinefunction(function) else ""
            yield f"### `{cls.__name__}.{name}`"
            yield code(f"{prefix}def {name}{signature(function)}")
            yield doc(function)


def _fields(cls: type[Any]) -> str:
    docs = inherited_docs(cls)
    rows = [
        (
            f"`{a.name}`",
            f"`{annotation(a.type)}`".replace("|", "\\|"),
            default(a),
            docs.get(a.name, ""),
        )
        for a in attrs.fields(cls)
        if not a.name.startswith("_") and a.init
    ]
    return table(("field", "type", "default", "meaning"), rows)


def _keys(cls: type[Any]) -> str:
    docs = inherited_docs(cls)
    rows = []
    for a in attrs.fields(attrs.resolve_types(cls)):
        if a.metadata.get("rest") or a.name == "extra":
            continue
        tuned = " May be tuned per turn, as a parameter." if a.metadata.get("parameter") else ""
        rows.append((f"`{a.name}`", kind(a.type), default(a, toml), docs.get(a.name, "") + tuned))
    return table(("key", "type", "default", "meaning"), rows) if rows else "None."


def _contract_link(cls: type[Any]) -> str:
    if not getattr(cls, "_is_protocol", False):
        return f"`{cls.__module__}.{cls.__name__}`"
    return f"[`{cls.__name__}`](contracts.md#{cls.__name__.lower()})"


def _protocols(module: ModuleType) -> list[type[Any]]:
    return [cls for cls in _defined(module) if getattr(cls, "_is_protocol", False)]


def _defined(module: ModuleType) -> list[type[Any]]:
    return [
        cls
        for name, cls in vars(module).items()
        if inspect.isclass(cls) and cls.__module__ == module.__name__ and not name.startswith("_")
    ]


def _subclasses(cls: type[CoeError]) -> Iterator[type[CoeError]]:
    for below in cls.__subclasses__():
        yield below
        yield from _subclasses(below)


def _is_ours(cls: type[Any]) -> bool:
    return cls.__module__.partition(".")[0].replace("_", "-") in MEMBERS


def _sorted(components: Any) -> list[Any]:
    return sorted(components, key=lambda component: component.name)


if __name__ == "__main__":
    sys.exit(main())
