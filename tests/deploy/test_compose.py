"""The compose file says nothing that is not there, and gives no password away."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from coe_core.settings import load

DEPLOY = Path(__file__).parents[2] / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_starts_the_server_alone_unless_asked() -> None:
    assert [name for name, service in SERVICES.items() if "profiles" not in service] == ["coe"]


@pytest.mark.parametrize("name", SERVICES)
def test_mounts_declared_volumes_and_existing_files(name: str) -> None:
    for volume in SERVICES[name]["volumes"]:
        source = volume.split(":")[0]
        if source.startswith("."):
            assert (DEPLOY / source).exists()
        else:
            assert source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", SERVICES)
def test_reaches_no_further_than_loopback(name: str) -> None:
    service = SERVICES[name]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert not service.keys() & {"privileged", "network_mode", "pid", "devices"}


def test_every_variable_is_in_the_example_without_a_value() -> None:
    example = (DEPLOY / "env.example").read_text(encoding="utf-8")
    names = set(re.findall(r"(?m)^(\w+)=$", example))
    assert set(re.findall(r"\$\{(\w+)", TEXT)) <= names
    assert not re.findall(r"(?m)^\w+=.+$", example)


def test_no_password_has_a_default() -> None:
    assert not re.findall(r"\$\{\w+:?-", TEXT)
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            assert "PASSWORD" not in name or re.fullmatch(r"\$\{\w+:\?.*\}", value)


def test_lets_turns_end_before_it_kills() -> None:
    from coe_server.settings import Settings

    grace_s = int(SERVICES["coe"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > Settings().drain_timeout_s


def test_builds_from_the_dockerfile() -> None:
    build = SERVICES["coe"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


def test_settings_load_and_name_installed_plugins() -> None:
    from coe_core.plugin import discover

    settings = load(DEPLOY / "coe.toml", environment={})
    installed, _ = discover()
    assert set(settings.coe.required_plugins) <= installed.keys()
