"""The plugin as it is installed, and `coe keys` as it is typed."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from coe_keys.command import keys_command
from coe_keys.pepper import Pepper
from coe_keys.plugin import KeysPlugin

from coe_core.access import Credentials, Principal
from coe_core.cli.program import run
from coe_core.codec import decode
from coe_core.error import Unauthenticated
from coe_core.testing import CliCommandContract, PluginContract, deployment

Coe = Callable[..., str]


@pytest.fixture
def coe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Coe:
    """Type a command in an empty folder; returns what it prints."""
    monkeypatch.chdir(tmp_path)

    def typed(*arguments: str, code: int = 0) -> str:
        assert run(arguments) == code
        printed = capsys.readouterr()
        return printed.out or printed.err

    return typed


def holder(folder: Path, plain: str) -> Principal | None:
    """Ask a deployment on that folder who holds the key."""

    async def ask() -> Principal | None:
        async with deployment(plugins={"keys": KeysPlugin}, data_dir=folder) as host:
            (authenticator,) = host.application.authenticators
            return await authenticator.authenticate(Credentials(token=plain.strip()))

    return asyncio.run(ask())


def test_the_shell_gets_a_key_that_works(coe: Coe, tmp_path: Path) -> None:
    plain = coe("keys", "create", "--group", "team", "--role", "operator", "--user", "김")
    assert re.fullmatch(r"coe_[0-9a-f]{12}_[0-9a-f]{48}\n", plain)
    held = holder(tmp_path / "coe-data", plain)
    assert held is not None
    assert (held.group, held.role, held.user) == ("team", "operator", "김")


def test_a_group_without_settings_is_made_and_remarked_on(
    coe: Coe, capsys: pytest.CaptureFixture[str]
) -> None:
    coe("keys", "create", "--group", "default")
    assert run(["keys", "create", "--group", "teem"]) == 0
    assert "there is no [groups.teem]" in capsys.readouterr().err


def test_the_list_shows_how_each_key_stands_and_never_a_key(coe: Coe) -> None:
    made = decode(coe("keys", "create", "--name", "노트북", "--expires", "90d", "--json"))
    coe("keys", "create")
    coe("keys", "revoke", made["id"])
    listed = decode(coe("keys", "list", "--json"))
    assert [key["standing"] for key in listed] == ["revoked", "active"]
    assert not any("key" in key or "digest" in key for key in listed)
    printed = coe("keys", "list")
    assert "노트북" in printed
    assert made["key"].rpartition("_")[2] not in printed


def test_a_rotated_key_works_and_the_old_one_does_not(coe: Coe, tmp_path: Path) -> None:
    old = coe("keys", "create")
    new = coe("keys", "rotate", old.split("_")[1])
    assert holder(tmp_path / "coe-data", new) is not None
    with pytest.raises(Unauthenticated):
        holder(tmp_path / "coe-data", old)


def test_mistakes_are_one_line_each(coe: Coe) -> None:
    assert coe("keys", "revoke", "nobody", code=1).startswith("error: there is no key 'nobody'")
    assert "write 90d" in coe("keys", "create", "--expires", "soon", code=2)
    assert "is no length of time" in coe("keys", "rotate", "x", "--grace", "soon", code=2)
    assert "'emperor' is not one of" in coe("keys", "create", "--role", "emperor", code=2)
    for group in "", " ", "a\n", "x" * 101, "a/b":
        assert "a group's name" in coe("keys", "create", "--group", group, code=2)
    assert "coe keys create" in coe("keys", "list")


class TestKeysPlugin(PluginContract):
    name = "keys"

    def make(self) -> type[KeysPlugin]:
        return KeysPlugin


class TestKeysCommand(CliCommandContract):
    def make(self) -> click.Command:
        return keys_command(Pepper(None, Path("pepper")))
