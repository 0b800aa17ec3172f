"""Plugins: found by entry point, imported, built from their settings, their hooks checked.

Each step can fail for one plugin without touching another. A failure is a `PluginProblem` that
names the plugin, the stage and the mend.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import attrs
import pluggy
from attrs import field, frozen

from coe_core import hookspec
from coe_core.application import PluginProblem, Stage
from coe_core.error import SettingsError
from coe_core.settings import Settings, nearest, structure_table

ENTRY_POINT_GROUP = "coe.plugins"
API_VERSION = 1
"""A plugin class may say `api_version = N`; without it, it speaks version 1."""

HOOK_NAMES = tuple(
    name for name, value in vars(hookspec).items() if name.startswith("coe_") and callable(value)
)


class PluginFailed(Exception):
    """Carries a problem out of a step."""

    def __init__(self, problem: PluginProblem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@frozen(kw_only=True)
class Installed:
    """A plugin that was found. `load` imports its class."""

    name: str
    entry_point: importlib.metadata.EntryPoint = field(eq=lambda entry_point: entry_point.value)

    @property
    def distribution(self) -> str:
        """What it was installed with; like its version read when asked for, from its metadata."""
        return self.entry_point.dist.name if self.entry_point.dist else ""

    @property
    def version(self) -> str:
        """The distribution's version."""
        return self.entry_point.dist.version if self.entry_point.dist else ""

    def problem(self, stage: Stage, text: str, mend: str) -> PluginProblem:
        """Make a problem of this plugin."""
        return PluginProblem(plugin=self.name, stage=stage, text=text, mend=mend)

    def failed(self, stage: Stage, text: str, mend: str) -> PluginFailed:
        """Make a problem that can be raised."""
        return PluginFailed(self.problem(stage, text, mend))


def discover(
    entry_points: Sequence[importlib.metadata.EntryPoint] | None = None,
) -> tuple[dict[str, Installed], list[PluginProblem]]:
    """Find what is installed, by name, importing nothing. The scan costs a few milliseconds for
    a hundred distributions, so it is made once a process.
    """
    if entry_points is None:
        entry_points = list(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP))
    found: dict[str, Installed] = {}
    problems: list[PluginProblem] = []
    for entry_point in sorted(entry_points, key=lambda e: (e.name, e.value)):
        plugin = Installed(name=entry_point.name, entry_point=entry_point)
        if (first := found.get(plugin.name)) is None:
            found[plugin.name] = plugin
        elif first.entry_point.value != entry_point.value:
            text = f"{plugin.distribution!r} uses the name of {first.distribution!r}"
            problems.append(plugin.problem("discover", text, "Uninstall one of the two."))
    return found, problems


def build(installed: Installed, settings: Settings) -> Any:
    """Import a plugin and make its object. Raises `PluginFailed`."""
    cls = load_class(installed)
    version = getattr(cls, "api_version", 1)
    if version != API_VERSION:
        text = f"it speaks version {version} of the plugin API, this core version {API_VERSION}"
        raise installed.failed("import", text, f"Install a {installed.distribution} that fits.")
    plugin = _configure(installed, cls, settings)
    _register(installed, plugin)
    return plugin


def load_class(installed: Installed) -> type[Any]:
    """Import a plugin's class. Raises `PluginFailed`."""
    try:
        cls = installed.entry_point.load()
    except ModuleNotFoundError as error:
        text = f"the module {error.name!r} is missing"
        mend = f"Install it, or install {installed.distribution or installed.name} again."
        raise installed.failed("import", text, mend) from error
    except Exception as error:
        text = f"importing it raised {type(error).__name__}: {error}"
        mend = f"Report it to its authors, or set [plugins.{installed.name}] enabled = false."
        raise installed.failed("import", text, mend) from error
    if not inspect.isclass(cls):
        text = f"its entry point {installed.entry_point.value} is not a class"
        raise installed.failed("import", text, "Point it at the plugin's class.")
    return cls


def settings_class(cls: type[Any]) -> type[Any] | None:
    """Return the class of a plugin's settings: the type of its field `settings`.

    The types of its other fields are not looked up: they may be imported for type checkers alone.
    """
    if not attrs.has(cls) or (found := attrs.fields_dict(cls).get("settings")) is None:
        return None
    if not isinstance(found.type, str):
        return found.type
    owner = next(c for c in cls.__mro__ if "settings" in vars(c).get("__annotations__", ()))
    named: type[Any] = eval(found.type, vars(sys.modules[owner.__module__]))  # noqa: S307 its own
    return named


def _configure(installed: Installed, cls: type[Any], settings: Settings) -> Any:
    path = f"plugins.{installed.name}"
    options = settings.plugin(installed.name).options
    try:
        wanted = settings_class(cls)
        if wanted is not None:
            return cls(settings=structure_table(wanted, options, path, settings))
        if options:
            raise SettingsError(f"[{path}] has keys, but the plugin takes none: {list(options)}")
        return cls()
    except SettingsError as error:
        text = "; ".join(map(str, error.all))
        raise installed.failed("configure", text, "Mend the settings.") from error
    except Exception as error:
        text = f"making it raised {type(error).__name__}: {error}"
        raise installed.failed("configure", text, "Report it to its authors.") from error


def _register(installed: Installed, plugin: Any) -> None:
    """Let pluggy check the hooks' arguments, and ourselves their names: pluggy accepts any."""
    for name in dir(type(plugin)):
        if name.startswith("coe_") and name not in HOOK_NAMES:
            text = f"there is no hook {name!r}{nearest(name, HOOK_NAMES)}"
            raise installed.failed("register", text, "Rename the method.")
    if not isinstance(getattr(type(plugin), "provides", ()), tuple):
        mend = "Write the contracts as a tuple: (Database,)."
        raise installed.failed("register", "its `provides` is no tuple", mend)
    manager = _specified()
    try:
        manager.register(plugin)
    except Exception as error:
        text = str(error).strip().splitlines()[-1]
        raise installed.failed("register", text, "Every hook takes self and ctx.") from error
    implements = manager.get_hookcallers(plugin)
    manager.unregister(plugin)
    if not implements:
        text = "it implements no hook"
        raise installed.failed("register", text, "Mark its methods with @hookimpl.")


@cache
def _specified() -> pluggy.PluginManager:
    manager = pluggy.PluginManager("coe")
    manager.add_hookspecs(hookspec)
    return manager


def implementations(plugin: Any) -> Mapping[str, Any]:
    """Return the plugin's hooks by name: the methods marked `@hookimpl`."""
    return {
        name: getattr(plugin, name)
        for name in HOOK_NAMES
        if getattr(getattr(type(plugin), name, None), "coe_impl", None) is not None
    }


def offers_services(installed: Installed) -> bool:
    """Tell whether a plugin has the hook `coe_services`, though it may not work otherwise."""
    try:
        hook = getattr(load_class(installed), "coe_services", None)
    except PluginFailed:
        return False
    return getattr(hook, "coe_impl", None) is not None


def provides(cls: type[Any], contract: type[Any]) -> bool:
    """Tell whether a plugin that offers services may provide this one: it may, unless its class
    names in `provides` the ones that it does.
    """
    named = getattr(cls, "provides", None)
    return contract in named if isinstance(named, tuple) else True


def may_provide(installed: Installed, contract: type[Any]) -> bool:
    """Tell whether a plugin would provide a service if it worked, as far as that can be told."""
    return offers_services(installed) and provides(load_class(installed), contract)


def violations(component: Any, contract: type[Any]) -> list[str]:
    """List how a component breaks a contract: missing members, plain methods that should be
    `async`, signatures that cannot be called as the contract calls them.
    """
    found = []
    for name, expected in _members(contract).items():
        try:
            member = getattr(component, name)
        except AttributeError:
            found.append(f"it has no {name!r}")
            continue
        if not isinstance(expected, property):
            found.extend(_call_violations(name, member, expected))
    return found


def _members(contract: type[Any]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for cls in reversed(contract.__mro__):
        if getattr(cls, "_is_protocol", False):
            members |= {name: v for name, v in vars(cls).items() if not name.startswith("_")}
    return members


def _call_violations(name: str, member: Any, expected: Any) -> list[str]:
    if not callable(member):
        return [f"{name!r} is not a method"]
    if inspect.iscoroutinefunction(expected) and not inspect.iscoroutinefunction(member):
        return [f"{name!r} is not async"]
    parameters = list(inspect.signature(expected).parameters.values())[1:]
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    named = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    try:
        inspect.signature(member).bind(*positional, **dict.fromkeys(named))
    except (TypeError, ValueError) as error:
        wanted = inspect.signature(expected)
        return [f"{name!r} cannot be called as {name}{wanted}: {error}"]
    return []
