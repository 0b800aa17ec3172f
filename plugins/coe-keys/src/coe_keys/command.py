"""`coe keys`: hand out keys on the command line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import click
from attrs import frozen

from coe_core.access import DEFAULT_GROUP, RANK, AccessRole
from coe_core.cli import Frame, echo_json, table
from coe_core.codec import rfc3339
from coe_core.error import InvalidField
from coe_core.service import Clock, Journal, StateStore
from coe_keys.key import Key, span
from coe_keys.pepper import Pepper
from coe_keys.ring import KeyRing, shown


@frozen
class Desk:
    """Where keys are handed out."""

    frame: Frame
    pepper: Pepper

    @asynccontextmanager
    async def ring(self) -> AsyncIterator[KeyRing]:
        """Open the deployment's keys."""
        async with self.frame.host() as host:
            need = host.application.need
            store, journal, clock = need(StateStore), need(Journal), need(Clock)
            yield KeyRing(store, journal, clock, self.pepper, self.frame.actor)


pass_desk = click.make_pass_decorator(Desk)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
EXPIRES = "90d, 12h, 2027-01-01 (its beginning, UTC) or never."


def keys_command(pepper: Pepper) -> click.Group:
    """Make the command group for keys hashed with that pepper."""

    @click.pass_context
    def desk(context: click.Context) -> None:
        context.obj = Desk(context.obj, pepper)

    help_text = "Create, list, rotate and revoke API keys."
    commands = [create, list_, rotate, revoke]
    return click.Group("keys", callback=desk, help=help_text, commands=commands)


@click.command
@click.option("--group", default=DEFAULT_GROUP, show_default=True, help="The group it speaks for.")
@click.option(
    "--role",
    type=click.Choice([*RANK]),
    default="member",
    show_default=True,
    help="What it may do: look, chat, switch, hand out keys.",
)
@click.option("--expires", default="never", show_default=True, help=EXPIRES)
@click.option("--user", help="Who holds it; goes into each record.")
@click.option("--name", help="What it is for, to tell it from others.")
@as_json
@pass_desk
def create(
    desk: Desk,
    *,
    group: str,
    role: AccessRole,
    expires: str,
    user: str | None,
    name: str | None,
    as_json: bool,
) -> None:
    """Create a key and print it. It is shown this once: only its hash is kept."""

    async def run() -> tuple[Key, str]:
        async with desk.ring() as ring:
            return await ring.create(group=group, role=role, expires=expires, user=user, name=name)

    key, plain = asyncio.run(run())
    if group not in (DEFAULT_GROUP, *desk.frame.settings.groups):
        click.echo(f"note: there is no [groups.{group}], so it has no budget or limits", err=True)
    _hand_out(key, plain, as_json=as_json)


@click.command("list")
@as_json
@pass_desk
def list_(desk: Desk, *, as_json: bool) -> None:
    """List all keys, those that have ended too."""

    async def run() -> tuple[list[Key], list[str]]:
        async with desk.ring() as ring:
            keys = await ring.keys()
            return keys, [key.standing(ring.clock.now()) for key in keys]

    keys, standings = asyncio.run(run())
    if as_json:
        echo_json([shown(k) | {"standing": s} for k, s in zip(keys, standings, strict=True)])
    elif keys:
        rows = [_row(key, standing) for key, standing in zip(keys, standings, strict=True)]
        click.echo(table(("ID", "STANDING", "GROUP", "ROLE", "USER", "NAME", "EXPIRES"), rows))
    else:
        click.echo("There are no keys; `coe keys create` makes one.", err=True)


@click.command
@click.argument("key_id", metavar="ID")
@click.option("--expires", help=f"When the new key ends, if not when the old one would: {EXPIRES}")
@click.option("--grace", default="0m", show_default=True, help="How long the old key stays good.")
@as_json
@pass_desk
def rotate(desk: Desk, *, key_id: str, expires: str | None, grace: str, as_json: bool) -> None:
    """Replace a key by a new one with the same id, group and role, and print it."""

    async def run() -> tuple[Key, str]:
        async with desk.ring() as ring:
            return await ring.rotate(key_id, expires=expires, grace=_length(grace))

    _hand_out(*asyncio.run(run()), as_json=as_json)


@click.command
@click.argument("key_id", metavar="ID")
@pass_desk
def revoke(desk: Desk, *, key_id: str) -> None:
    """End a key. Running servers refuse it within a second."""

    async def run() -> Key:
        async with desk.ring() as ring:
            return await ring.revoke(key_id)

    click.echo(f"Revoked {asyncio.run(run()).id}.")


def _length(text: str) -> timedelta:
    length = span(text)
    if length is None:
        raise InvalidField(f"{text!r} is no length of time: write 30m, 12h, 7d or 2w")
    return length


def _hand_out(key: Key, plain: str, *, as_json: bool) -> None:
    """Print the key alone, so that a shell can take it, and what is said about it beside it."""
    if as_json:
        echo_json(shown(key) | {"key": plain})
        return
    until = f"until {key.expires_at:%Y-%m-%d %H:%M} UTC" if key.expires_at else "without end"
    click.echo(plain)
    click.echo(f"{key.role} of {key.group}, {until}. It is not shown again.", err=True)


def _row(key: Key, standing: str) -> tuple[str, ...]:
    until = rfc3339(key.expires_at)[:16].replace("T", " ") if key.expires_at else "never"
    return (key.id, standing, key.group, key.role, key.user or "", key.name or "", until)
