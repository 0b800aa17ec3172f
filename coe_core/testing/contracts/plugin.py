"""The laws of plugins as a whole."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any, ClassVar

import attrs

from coe_core.cli import LazyCommand
from coe_core.docstring import field_docs
from coe_core.plugin import API_VERSION, settings_class
from coe_core.testing.contracts.law import Contract, law
from coe_core.testing.host import deployment

HEAVY = (
    *("aiohttp", "daft", "lancedb", "litellm", "llama_cpp", "numpy", "openai", "pandas"),
    *("pyarrow", "ray", "sklearn", "sqlalchemy", "sqlmodel", "torch", "transformers"),
    *("uvicorn", "xllamacpp"),
)
"""What takes long to import; a plugin imports it when its component opens."""

LONG = 1000
"""More characters than a summary has, so that none is cut."""

LOOK = "import sys, importlib; importlib.import_module({!r}); print(*sys.modules)"


class PluginContract(Contract[type[Any]]):
    """What holds of every plugin. `make` returns its class."""

    name: ClassVar[str] = "tested"
    settings: ClassVar[str] = ""
    """Settings in TOML under which the plugin works, where the defaults do not do."""
    others: ClassVar[dict[str, type[Any]]] = {}
    """Plugins that provide the services it needs, by name."""

    @law()
    async def test_composes_without_problems(self, plugin: type[Any]) -> None:
        """The plugin is imported, configured, composed and opened, twice over, and contributes
        something.
        """
        for _ in range(2):
            async with deployment(
                self.settings, plugins={self.name: plugin, **self.others}
            ) as host:
                problems = [p for p in host.application.problems if p.plugin == self.name]
                assert not problems, "\n".join(map(str, problems))
                (report,) = (r for r in host.application.plugins if r.name == self.name)
            assert report.contributes, "it contributes nothing; implement a hook with @hookimpl"

    @law()
    async def test_explains_its_settings(self, plugin: type[Any]) -> None:
        """Every setting has a type and a docstring: the reference is made from them."""
        if (wanted := settings_class(plugin)) is None:
            return
        assert attrs.has(wanted), f"{wanted.__name__} is no attrs class"
        documented = field_docs(wanted)
        for field in attrs.fields(wanted):
            assert field.type is not None, f"settings: {field.name} has no type"
            assert field.name in documented, (
                f"settings: {field.name} has no docstring; write one on the line below it"
            )

    @law()
    async def test_explains_itself(self, plugin: type[Any]) -> None:
        """The plugin's module has a docstring, and it speaks this version of the API."""
        version = getattr(plugin, "api_version", API_VERSION)
        assert version == API_VERSION, f"api_version is {version}, not {API_VERSION}"
        module = sys.modules.get(plugin.__module__)
        assert (inspect.getdoc(module) or "").strip(), (
            f"{plugin.__module__} has no docstring; say in a sentence what the plugin is for"
        )

    @law()
    async def test_is_light_to_import(self, plugin: type[Any]) -> None:
        """Importing the plugin's module brings in no heavy library: `coe --help` imports it."""
        look = [sys.executable, "-c", LOOK.format(plugin.__module__)]
        seen = subprocess.run(look, capture_output=True, text=True, check=False)  # noqa: S603, ASYNC221
        heavy = sorted(set(seen.stdout.split()) & set(HEAVY))
        assert not heavy, (
            f"importing {plugin.__module__} imports {', '.join(heavy)}; import it in the "
            "component's open(), or in the function that uses it"
        )

    @law()
    async def test_lists_its_commands_as_they_are(self, plugin: type[Any]) -> None:
        """A command that is loaded when it is used has the name and the summary of the list."""
        plugins = {self.name: plugin, **self.others}
        async with deployment(self.settings, plugins=plugins) as host:
            commands = host.application.cli_commands
        for listed in (each for each in commands if isinstance(each, LazyCommand)):
            loaded = listed.load()
            for seen, true in (
                (listed.name, loaded.name),
                (listed.get_short_help_str(LONG), loaded.get_short_help_str(LONG)),
            ):
                assert seen == true, f"`coe --help` lists {seen!r} of what is {true!r}"
