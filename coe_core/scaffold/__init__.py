"""`coe plugins new`: a ready plugin of any kind, whose contract tests pass as it is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template

from coe_core.error import Conflict, InvalidField
from coe_core.settings import nearest

KINDS: Mapping[str, str] = {
    "agent": "ExampleAgent()",
    "agent_protocol": "ExampleAgentProtocol()",
    "alert_rule": "ExampleAlertRule(limit_mb=10**9)",
    "alert_sink": "ExampleAlertSink()",
    "attempt_policy": "ExampleAttemptPolicy()",
    "authenticator": "ExampleAuthenticator()",
    "check": "ExampleCheck()",
    "cli_command": "example",
    "event_sink": "ExampleEventSink()",
    "experiment": "ExampleExperiment()",
    "guard": "ExampleGuard()",
    "http_route": "ROUTE",
    "job": "ExampleJob()",
    "knowledge_index": "ExampleKnowledgeIndex",
    "metric_sink": "ExampleMetricSink()",
    "model_provider": "ExampleModelProvider()",
    "monitor": "ExampleMonitor()",
    "panel": "ExamplePanel()",
    "promotion_policy": "ExamplePromotionPolicy()",
    "prompt_pack": "ExamplePromptPack()",
    "reranker": "ExampleReranker()",
    "retriever": "ExampleRetriever()",
    "router": "ExampleRouter()",
    "segment_job": "ExampleSegmentJob()",
    "summarizer": "ExampleSummarizer()",
    "tool": "ExampleTool()",
}
"""Kind to how its tests make the component. `knowledge_index` stands for the services."""

BESIDE: Mapping[str, str] = {"knowledge_index": "MemoryKnowledgePlugin"}
"""Kind to the plugin of `coe_core.testing` that provides the services it needs in its tests."""

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST_NAME = 40


def write_plugin(name: str, kind: str, into: Path) -> Path:
    """Write a plugin's whole distribution into `into/coe-NAME`, and return that folder.

    Raises `InvalidField` for a name or kind that will not do, `Conflict` when the folder is there
    or such a plugin is installed.
    """
    name = name.removeprefix("coe-")
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise InvalidField(
            f"{name!r} is no name for a plugin: take lower-case letters, digits and single "
            f"hyphens, a letter first, {LONGEST_NAME} at most",
            param="name",
        )
    kind = kind.replace("-", "_")
    if kind not in KINDS:
        known = ", ".join(KINDS)
        raise InvalidField(
            f"there is no kind {kind!r} among {known}{nearest(kind, KINDS)}", param="kind"
        )
    folder = into / f"coe-{name}"
    if folder.exists():
        raise Conflict(f"{folder} is there already: choose another name, or remove it")
    if find_spec(_package(name)) is not None:
        raise Conflict(f"coe-{name} is installed already: choose another name")
    for path, text in _written(name, kind).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def _package(name: str) -> str:
    return f"coe_{name.replace('-', '_')}"


def _written(name: str, kind: str) -> Mapping[str, str]:
    """Return the files of a plugin: path to text."""
    package = _package(name)
    module = _renamed(_template(f"kinds/{kind}.py"), name)
    component = _renamed(KINDS[kind], name)
    suite = f"{_camel(kind, '_')}Contract"
    beside = BESIDE.get(kind)
    words = {
        "name": name,
        "package": package,
        "camel": _camel(name, "-"),
        "summary": module.partition('"""')[2].partition('"""')[0],
        "kind": _camel(kind, "_"),
        "component": component,
        "imports": ", ".join(sorted((component.partition("(")[0], f"{_camel(name, '-')}Plugin"))),
        "suite": suite,
        "others": f'    others = {{"beside": {beside}}}\n\n' if beside else "",
        "suites": ", ".join(sorted(filter(None, (suite, "PluginContract", beside)))),
        **_core_versions(),
    }
    return {
        "pyproject.toml": Template(_template("pyproject.toml.txt")).substitute(words),
        "README.md": Template(_template("README.md.txt")).substitute(words),
        f"src/{package}/__init__.py": f'"""{words["summary"]}"""\n',
        f"src/{package}/py.typed": "",
        f"src/{package}/plugin.py": module,
        "tests/test_plugin.py": Template(_template("test_plugin.py.txt")).substitute(words),
    }


def _template(path: str) -> str:
    return files(__name__).joinpath(path).read_text(encoding="utf-8")


def _renamed(text: str, name: str) -> str:
    """Put the new plugin's name wherever the templates say `example`."""
    text = text.replace("Example", _camel(name, "-")).replace('"example"', f'"{name}"')
    return text.replace("example", name.replace("-", "_"))


def _camel(name: str, separator: str) -> str:
    return "".join(word.capitalize() for word in name.split(separator))


def _core_versions() -> Mapping[str, str]:
    major, minor = version("coe-core").split(".")[:2]
    return {"core": f"{major}.{minor}", "next": f"{major}.{int(minor) + 1}"}
