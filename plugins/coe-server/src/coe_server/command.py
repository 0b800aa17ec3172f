"""`coe serve`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import click
from attrs import evolve

from coe_core.application import Application
from coe_core.cli import Frame, pass_frame
from coe_server.settings import Settings

CONSOLE = "/console"
PLUGIN = "server"
"""This one: without it nobody could switch it on again over HTTP."""


def serve_command(settings: Settings) -> click.Command:
    """Make the command; what it is not told is as the settings say."""

    @click.command("serve")
    @click.option(
        "--host",
        metavar="ADDRESS",
        default=settings.host,
        show_default=True,
        help="The address to listen on; one beyond this machine needs a key to exist.",
    )
    @click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=settings.port,
        show_default=True,
        help="The port to listen on; 0 lets the system choose.",
    )
    @click.option(
        "--workers",
        type=click.IntRange(1),
        default=settings.workers,
        show_default=True,
        help="How many processes answer.",
    )
    @pass_frame
    def serve(frame: Frame, host: str, port: int, workers: int) -> None:
        """Serve the OpenAI API over HTTP, until Ctrl-C."""
        run(frame, evolve(settings, host=host, port=port, workers=workers))

    return serve


def run(frame: Frame, settings: Settings) -> None:
    """Serve in this process, or in several of its children."""
    from coe_server.server import listen, serve
    from coe_server.workers import Workers

    listener = listen(settings.host, settings.port)
    address = _address(settings.host, listener.getsockname()[1])

    def work(tell: Callable[[str], None]) -> None:
        open_host = partial(frame.host, PLUGIN)
        serve(open_host, settings, listener, lambda opened: tell(banner(opened, address)))

    if settings.workers == 1:
        work(click.echo)
    else:
        Workers(settings.workers, work, click.echo).run()


def banner(application: Application, address: str) -> str:
    """Say where it serves, and what to try."""
    lines = [f"CoE serves on {address}"]
    if any(r.method == "GET" and r.path == CONSOLE for r in application.http_routes):
        lines.append(f"Console: {address}{CONSOLE}")
    if application.problems:
        lines.append(f"{len(application.problems)} problem(s): see `coe plugins`")
    key = ' -H "authorization: Bearer $COE_API_KEY"' if application.wants_keys else ""
    lines.append(
        f"Try: curl {address}/v1/chat/completions{key} -H 'content-type: application/json' "
        """-d '{"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}'"""
    )
    return "\n".join(lines)


def _address(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 shown, not bound
    if ":" in shown and not shown.startswith("["):
        shown = f"[{shown}]"
    return f"http://{shown}:{port}"
