"""The settings of a deployment: a TOML file, with the environment over it.

`COE_ROUTING__DEFAULT=small` sets `[routing] default`: two underscores go one table down; a value
is read as TOML if it is that, else as text. Every leaf remembers where it came from.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar, get_args

import attrs
from attrs import field, frozen
from attrs.validators import ge, gt, optional

from coe_core.codec import converter, shape_errors
from coe_core.error import SettingsError
from coe_core.message import Json
from coe_core.model import Capability, Price
from coe_core.naming import naming
from coe_core.parameter import parameter

T = TypeVar("T")
ZERO = Decimal(0)
ENVIRONMENT_PREFIX = "COE_"
LONGEST_NAME = 200
"""What a name has beyond this is not compared: it comes from a client, and may be megabytes."""


@frozen
class Secret:
    """A secret, known by where it is kept: `env:NAME` or `file:PATH`. Never printed."""

    reference: str

    def reveal(self) -> str:
        """Read it. Raises `SettingsError` when it is not there."""
        kind, _, name = self.reference.partition(":")
        if kind == "env":
            if (value := os.environ.get(name)) is None:
                msg = f"the environment variable {name} is not set"
                raise SettingsError(msg)
            return value
        try:
            return Path(name).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            msg = f"the secret's file {name} cannot be read: {error}"
            raise SettingsError(msg) from error


def _secret(value: Any, _: Any) -> Secret:
    if type(value) is not str or not re.match(r"(env|file):.", value):
        msg = "a secret is written as env:NAME or file:PATH, never in the settings themselves"
        raise ValueError(msg)
    return Secret(value)


converter.register_structure_hook(Secret, _secret)
converter.register_unstructure_hook(Secret, lambda secret: secret.reference)


@frozen(kw_only=True)
class CoeTable:
    """`[coe]`: what concerns the whole deployment."""

    data_dir: str = "coe-data"
    """The folder for the log, the database and the state, relative to the working directory."""
    required_plugins: tuple[str, ...] = ()
    """Plugins without which the server does not start."""
    embedder: str = naming("models", "embed-fast")
    """The alias of the embedder that plugins get from `ctx.need(Embedder)`."""
    turn_timeout_s: float = field(default=1200.0, validator=ge(1))
    """A turn that lasts longer is ended. Twice what one answer may take, so that there is time for
    another.
    """
    component_timeout_s: float = field(default=10.0, validator=gt(0))
    """How long a router, retriever, policy, guard or sink, or the session store, may keep a turn
    waiting; then it counts as failed: a guard has refused, the others are passed over.
    """
    tool_rounds: int = field(default=8, validator=ge(0))
    """How many times a model may call CoE's own tools in one turn."""
    history_messages: int = field(default=200, validator=ge(2))
    """How many stored messages are added when a client sends new messages alone."""
    knowledge_tokens: int = parameter(default=2000, validator=ge(0))
    """How many tokens, as they are estimated, the passages in a prompt may have; never more than a
    third of what the model takes.
    """


@frozen(kw_only=True)
class RoutingTable:
    """`[routing]`: the default target, what stands in for what, and the order of the routers."""

    default: str = "local"
    """The alias that answers `auto` when no router decides."""
    fallbacks: Mapping[str, tuple[str, ...]] = field(factory=dict)
    """Alias to the aliases that stand in for it, in order."""
    order: tuple[str, ...] = naming("routers", ())
    """Names of routers, first asked first; the others follow by plugin, in the plugin's order."""


@frozen(kw_only=True)
class GroupTable:
    """`[groups.NAME]`: what a group may spend and use."""

    budget_usd_month: Decimal | None = field(default=None, validator=optional(ge(ZERO)))
    """US dollars per calendar month, UTC; none means no limit."""
    rpm: int | None = field(default=None, validator=optional(ge(1)))
    """Requests per minute."""
    tpm: int | None = field(default=None, validator=optional(ge(1)))
    """Tokens per minute, input and output."""
    models: tuple[str, ...] | None = naming("models")
    """The aliases that the group may use; none means all."""
    enrich_explicit: bool = False
    """Whether a request that names an alias also gets prompt packs, knowledge and CoE's tools."""
    params: Mapping[str, Json] = field(factory=dict)
    """Values of parameters for this group."""


@frozen(kw_only=True)
class PriceTable:
    """`[models.ALIAS.price]`: US dollars per million tokens."""

    input: Decimal = field(validator=ge(ZERO))
    """Of what the model reads."""
    output: Decimal = field(default=ZERO, validator=ge(ZERO))
    """Of what the model writes."""
    cached_input: Decimal | None = field(default=None, validator=optional(ge(ZERO)))
    """Of what the upstream reads from its cache; the same as `input` if left out."""

    def price(self) -> Price:
        """Return the price."""
        return Price(input=self.input, output=self.output, cached_input=self.cached_input)


@frozen(kw_only=True)
class ModelTable:
    """`[models.ALIAS]`: the keys that every provider has; the others are the provider's own."""

    provider: str
    """The provider that serves it: the name of the plugin's component, `openai` say."""
    model: str | None = None
    """The provider's name for the model; the alias if left out."""
    capability: Capability = "chat"
    """What it is for."""
    price: PriceTable | None = None
    """What it costs; the provider's own price if left out. An unknown price is never zero."""
    context_tokens: int | None = None
    """How much it takes, prompt and answer together: stored history is cut to fit."""
    max_output_tokens: int | None = None
    """The longest answer, to be reserved for when the client sets no limit."""
    connect_timeout_s: float | None = field(default=None, validator=optional(gt(0)))
    """How long a connection may take, name lookup and TLS included; 10 if nothing is said, here or
    in `[plugins.fallback]`."""
    first_token_timeout_s: float | None = field(default=None, validator=optional(gt(0)))
    """How long a streamed answer may take to begin; 120 if nothing is said."""
    stall_timeout_s: float | None = field(default=None, validator=optional(gt(0)))
    """How long a streamed answer may then be silent; 60 if nothing is said."""
    request_timeout_s: float | None = field(default=None, validator=optional(gt(0)))
    """How long the whole answer may take; 600 if nothing is said."""
    options: Mapping[str, Json] = field(factory=dict, metadata={"rest": True})


@frozen(kw_only=True)
class PluginTable:
    """`[plugins.NAME]`: whether the plugin, and each of its components, is in use; the other keys
    are the plugin's own.
    """

    enabled: bool = True
    """Whether it is in use; one that is not is never imported."""
    components: Mapping[str, bool] = field(factory=dict)
    """`"routers.keyword" = false` switches one component off."""
    options: Mapping[str, Json] = field(factory=dict, metadata={"rest": True})


@frozen(kw_only=True)
class Settings:
    """Everything in the file and the environment, structured; plugins' own keys as they are."""

    coe: CoeTable = CoeTable()
    routing: RoutingTable = RoutingTable()
    models: Mapping[str, ModelTable] = field(factory=dict)
    groups: Mapping[str, GroupTable] = field(factory=dict)
    plugins: Mapping[str, PluginTable] = field(factory=dict)
    origins: Mapping[str, str] = field(factory=dict, eq=False)
    """Dotted path of a leaf to `FILE:LINE` or `env:NAME`."""

    def plugin(self, name: str) -> PluginTable:
        """Return a plugin's table, the defaults for one that has none."""
        return self.plugins.get(name, PluginTable())

    def where(self, path: str) -> str | None:
        """Tell where a path, or else the nearest table above it, was set."""
        return _nearest_origin(path, self.origins)


TABLES = tuple(table.name for table in attrs.fields(Settings) if table.name != "origins")


def nearest(name: str, known: Iterable[str]) -> str:
    """Write a hint with the nearest known name, "" when nothing is near."""
    matches = difflib.get_close_matches(name[:LONGEST_NAME], list(known), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def load(path: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the file, if there is one, lay the environment over it, and structure both.

    Raises `SettingsError` with the file and line, or the variable.
    """
    settings, errors = read(path, environment)
    if errors:
        raise SettingsError.together(errors)
    return settings


def read(
    path: Path | None, environment: Mapping[str, str] | None = None
) -> tuple[Settings, list[SettingsError]]:
    """Read as `load` does; return the settings without what is wrong in them, and what that is.

    Raises `SettingsError` for a file that is no TOML.
    """
    tables: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if path is not None:
        tables, origins = _read(path)
    _overlay(tables, origins, os.environ if environment is None else environment)
    return _structure(tables, origins)


def structure_table(cls: type[T], table: Mapping[str, Any], path: str, settings: Settings) -> T:
    """Structure one table of the settings into an attrs class; an unknown key is an error.

    Raises `SettingsError` that says where, and names the nearest right key.
    """
    return _table(cls, table, path, settings.origins)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows write a mark
    except UnicodeDecodeError as error:
        msg = f"the file is not UTF-8 text: {error.reason} at byte {error.start}"
        raise SettingsError(msg, where=str(path)) from error
    except OSError as error:
        msg = f"the settings file cannot be read: {error.strerror}; `coe init` writes one"
        raise SettingsError(msg, where=str(path)) from error
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"line (\d+), column (\d+)", str(error))
        where = f"{path}:{place[1]}" if place else str(path)
        hint = _quoting(text, int(place[1]), int(place[2])) if place else ""
        raise SettingsError(f"this is not valid TOML: {error}{hint}", where=where) from error
    return tables, {key: f"{path}:{line}" for key, line in _lines(text).items()}


def _quoting(text: str, line: int, column: int) -> str:
    """Tell who wrote `[groups.한국]` that TOML wants such a name in quotes."""
    wrong = text.split("\n")[line - 1][column - 1 : column]
    return "; a name in other letters than a-z is written in quotes" if wrong > "\x7f" else ""


_HEADER = re.compile(r"^\s*\[+([^\[\]]+)\]+")
_PART = r"""(?:"[^"]*"|'[^']*'|[\w-]+)"""
_KEY = re.compile(rf"^\s*({_PART}(?:\s*\.\s*{_PART})*)\s*=")


def _lines(text: str) -> dict[str, int]:
    """Map each table and key, by dotted path, to its line. tomllib keeps no positions."""
    lines: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _dotted(header[1])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault(f"{table}.{_dotted(key[1])}".lstrip("."), number)
    return lines


def _dotted(key: str) -> str:
    parts = re.findall(r"""\s*(?:"([^"]*)"|'([^']*)'|([\w-]+))\s*""", key)
    return ".".join(next(filter(None, part), "") for part in parts)


def _overlay(
    tables: dict[str, Any], origins: dict[str, str], environment: Mapping[str, str]
) -> None:
    for name, text in sorted(environment.items()):
        keys = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        if not name.startswith(ENVIRONMENT_PREFIX) or not keys[1:] or keys[0] not in TABLES:
            continue
        table, path = tables, []
        for key in keys[:-1]:
            path.append(_spelt(key, table))
            table = table.setdefault(path[-1], {})
            if not isinstance(table, dict):
                at = ".".join(path)
                raise SettingsError(f"{at} is a value, not a table", where=f"env:{name}")
        path.append(_spelt(keys[-1], table))
        table[path[-1]] = _value(text)
        origins[".".join(path)] = f"env:{name}"


def _spelt(key: str, table: Mapping[str, Any]) -> str:
    """Find a table's own spelling of a key: variables have no hyphens and no case."""
    folded = {name.lower().replace("-", "_"): name for name in table}
    return folded.get(key, key)


def _value(text: str) -> Json:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _structure(
    tables: Mapping[str, Any], origins: Mapping[str, str]
) -> tuple[Settings, list[SettingsError]]:
    errors = [
        SettingsError(
            f"there is no table [{name}]{nearest(name, TABLES)}", where=_within(name, origins)
        )
        for name in tables
        if name not in TABLES
    ]

    def table(cls: type[T], values: Any, path: str) -> T | None:
        try:
            return _table(cls, values, path, origins)
        except SettingsError as error:
            errors.append(error)
            return None

    def named(key: str, cls: type[T]) -> dict[str, T]:
        try:
            inner = _object(tables.get(key, {}), key, origins)
        except SettingsError as error:
            errors.append(error)
            return {}
        made = {name: table(cls, values, f"{key}.{name}") for name, values in inner.items()}
        return {name: values for name, values in made.items() if values is not None}

    settings = Settings(
        coe=table(CoeTable, tables.get("coe", {}), "coe") or CoeTable(),
        routing=table(RoutingTable, tables.get("routing", {}), "routing") or RoutingTable(),
        models=named("models", ModelTable),
        groups=named("groups", GroupTable),
        plugins=named("plugins", PluginTable),
        origins=origins,
    )
    return settings, errors


def _object(value: Any, path: str, origins: Mapping[str, str]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        msg = f"{path} is a table, not a value"
        raise SettingsError(msg, where=origins.get(path))
    return value


def _table(cls: type[T], table: Any, path: str, origins: Mapping[str, str]) -> T:
    if table == {} and all(f.default is not attrs.NOTHING for f in attrs.fields(cls)):  # type: ignore[arg-type]
        return cls()  # most are, and the codec would first have to learn the class
    values = dict(_object(table, path, origins))
    fields = attrs.fields(attrs.resolve_types(cls))  # type: ignore[arg-type,type-var]
    own = [f.name for f in fields if not f.metadata.get("rest")]
    rest = next((f.name for f in fields if f.metadata.get("rest")), None)
    unknown = {name: value for name, value in values.items() if name not in own}
    values = {name: values[name] for name in values if name in own}
    errors = []
    if rest is not None:
        values[rest] = unknown
    else:
        errors = [_unknown_key(path, name, own, origins) for name in unknown]
    errors += _unknown_below(cls, values, path, origins)
    try:
        structured = converter.structure(values, cls)
    except Exception as error:
        errors += [_misshapen(path, key, text, origins) for key, text in shape_errors(error)]
        raise SettingsError.together(errors) from error
    if errors:
        raise SettingsError.together(errors)
    return structured


def _unknown_below(
    cls: type[Any], values: Mapping[str, Any], path: str, origins: Mapping[str, str]
) -> list[SettingsError]:
    """Find the unknown keys of the tables within a table, which structuring would pass over."""
    found: list[SettingsError] = []
    for attribute in attrs.fields(cls):
        inner = next((kind for kind in _kinds(attribute.type) if _is_table(kind)), None)
        if inner is None or attribute.name not in values:
            continue
        own = [f.name for f in attrs.fields(attrs.resolve_types(inner))]
        for at, table in _tables_in(values[attribute.name], own, f"{path}.{attribute.name}"):
            found += [_unknown_key(at, key, own, origins) for key in table if key not in own]
            known = {key: value for key, value in table.items() if key in own}
            found += _unknown_below(inner, known, at, origins)
    return found


def _is_table(kind: Any) -> bool:
    """Tell a class that is written as a table from one that is written as a text."""
    return attrs.has(kind) and kind is not Secret


def _kinds(kind: Any) -> list[Any]:
    """Take a type apart: `Mapping[str, Route]` is made of three."""
    return [kind, *(inner for part in get_args(kind) for inner in _kinds(part))]


def _tables_in(value: Any, own: list[str], path: str) -> list[tuple[str, Mapping[str, Any]]]:
    """List the tables of one class in a value: itself, its items, or what it has by name."""
    if isinstance(value, list):
        return [(path, item) for item in value if isinstance(item, dict)]
    if not isinstance(value, dict):
        return []
    inner: list[tuple[str, Mapping[str, Any]]]
    inner = [(f"{path}.{name}", item) for name, item in value.items() if isinstance(item, dict)]
    return inner if len(inner) == len(value) and not value.keys() & set(own) else [(path, value)]


def _unknown_key(path: str, name: str, own: list[str], origins: Mapping[str, str]) -> SettingsError:
    where = _nearest_origin(f"{path}.{name}", origins)
    return SettingsError(f"[{path}] has no key {name!r}{nearest(name, own)}", where=where)


def _misshapen(path: str, key: str, text: str, origins: Mapping[str, str]) -> SettingsError:
    where = _nearest_origin(f"{path}.{key}", origins)
    return SettingsError(f"[{path}] {key}: {text}" if key else f"[{path}] {text}", where=where)


def _within(table: str, origins: Mapping[str, str]) -> str | None:
    """Tell where a table, or the first thing in it, stands."""
    return next((at for path, at in origins.items() if path.partition(".")[0] == table), None)


def _nearest_origin(path: str, origins: Mapping[str, str]) -> str | None:
    while path and path not in origins:
        path = path.rpartition(".")[0]
    return origins.get(path)
