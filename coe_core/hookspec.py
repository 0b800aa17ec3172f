"""The extension points of CoE.

A plugin is a class, built from its settings, with one method for each extension point that it
serves, marked `@hookimpl`. Each method is called as `method(ctx)` once, when an application is
composed, and returns a sequence of components: objects that satisfy the contract named below (see
`coe_core.contract`). An empty sequence means that the plugin, so configured, adds nothing. Hooks
never see a request.

Some components are composed and checked in this version, but nothing in the core or the standard
plugins asks them yet: promotion policies, agent protocols and metric sinks. Nor does anything
call a tool's `compensate` yet.

A hook that raises, or returns a component of the wrong type, is a `PluginProblem`: the plugin's
other components, and all other plugins, go on working.
"""

# mypy: disable-error-code="empty-body"

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click

    from coe_core import contract
    from coe_core.compose import Context
    from coe_core.http import HttpRoute
    from coe_core.service import Service

hookspec = pluggy.HookspecMarker("coe")
hookimpl = pluggy.HookimplMarker("coe")


@hookspec
def coe_services(ctx: Context) -> Sequence[Service]:
    """Return the services that the plugin provides, each as `Service(contract=..., provider=...)`.

    Called before every other hook, on demand: `ctx.need` inside it composes the service asked for
    first. A service that two plugins provide is a problem of the later one. Since 0.1.

    The plugin's class may name the contracts in an attribute, `provides = (KnowledgeStore,)`: then
    it is known what is missing while the plugin does not work. Without it, turns are refused
    meanwhile unless another provides the `Journal`: it might have been this one.
    """


@hookspec
def coe_authenticators(ctx: Context) -> Sequence[contract.Authenticator]:
    """Return what turns credentials into a principal.

    Asked in the order of their names for every request; the first answer counts. With none
    installed, or no key made, only loopback is served, as the group `default`. Since 0.1.
    """


@hookspec
def coe_routers(ctx: Context) -> Sequence[contract.Router]:
    """Return what decides where a turn goes.

    Asked in the order of `[routing] order`, those that it does not name after them by plugin, in
    the order in which the plugin returned them; the first `Route` wins. An explicit alias is
    honoured before any router is asked; when none decides, `[routing] default` does. Since 0.1.
    """


@hookspec
def coe_model_providers(ctx: Context) -> Sequence[contract.ModelProvider]:
    """Return what completes and embeds.

    The name is what `[models.ALIAS] provider` says; the other keys of that table, beside the
    core's own, are structured into the provider's `options` class. Since 0.1.
    """


@hookspec
def coe_attempt_policies(ctx: Context) -> Sequence[contract.AttemptPolicy]:
    """Return what says what follows a failed attempt.

    Asked by name; the first verdict counts. The core's own comes last: it takes the declared
    fallbacks in order, until the client has seen something. Since 0.1.
    """


@hookspec
def coe_tools(ctx: Context) -> Sequence[contract.Tool]:
    """Return functions that models may call and CoE runs.

    Both schemas are compiled at composition: an invalid one is a problem. Arguments are validated
    before the call, results after. Since 0.1.
    """


@hookspec
def coe_retrievers(ctx: Context) -> Sequence[contract.Retriever]:
    """Return what finds passages for a turn.

    All are asked at once; their passages are merged by score. One that raises is passed over.
    Since 0.1.
    """


@hookspec
def coe_rerankers(ctx: Context) -> Sequence[contract.Reranker]:
    """Return what puts found passages in a better order. Whoever searches asks the one that the
    settings name, and no other. Since 0.1.
    """


@hookspec
def coe_summarizers(ctx: Context) -> Sequence[contract.Summarizer]:
    """Return what folds new messages into the previous summary. Whoever keeps the records asks the
    one that the settings name. Since 0.1.
    """


@hookspec
def coe_prompt_packs(ctx: Context) -> Sequence[contract.PromptPack]:
    """Return versioned templates for system messages and tool guides, each full and light.

    The first by name that renders a system message is used; its version is recorded. Since 0.1.
    """


@hookspec
def coe_promotion_policies(ctx: Context) -> Sequence[contract.PromotionPolicy]:
    """Return what judges a card: promote, hold, keep, expire, with reasons. Since 0.1."""


@hookspec
def coe_agents(ctx: Context) -> Sequence[contract.Agent]:
    """Return targets that answer a turn by working in child turns. Since 0.1."""


@hookspec
def coe_agent_protocols(ctx: Context) -> Sequence[contract.AgentProtocol]:
    """Return what lets agents agree on who does what, within the budget they are handed.
    Since 0.1.
    """


@hookspec
def coe_guards(ctx: Context) -> Sequence[contract.Guard]:
    """Return what allows, redacts or refuses a step: request, egress, tool call, answer.

    All guards of a step are asked in the order of their names, each seeing the text as the one
    before left it. One that raises has refused. Since 0.1.
    """


@hookspec
def coe_event_sinks(ctx: Context) -> Sequence[contract.EventSink]:
    """Return what receives the records of turns once they are durable, in this process. One that
    raises is logged and passed over, and is not told again; nor does it hear of what was recorded
    just before a crash. What must miss nothing reads the log with `RecordReader`. Since 0.1.
    """


@hookspec
def coe_monitors(ctx: Context) -> Sequence[contract.Monitor]:
    """Return what measures a part of the deployment as it is now: queues, lags, breakers.

    All are asked at once by `/metrics` and `/readyz`; one that raises or dawdles is logged and
    passed over. Since 0.1.
    """


@hookspec
def coe_metric_sinks(ctx: Context) -> Sequence[contract.MetricSink]:
    """Return what receives KPI samples. Since 0.1."""


@hookspec
def coe_alert_sinks(ctx: Context) -> Sequence[contract.AlertSink]:
    """Return what delivers alerts, idempotent on their key. Since 0.1."""


@hookspec
def coe_jobs(ctx: Context) -> Sequence[contract.Job]:
    """Return recurring or batch work. One worker at a time runs a job: again after its time, or
    when it is submitted to the `Scheduler`. Since 0.1.
    """


@hookspec
def coe_segment_jobs(ctx: Context) -> Sequence[contract.SegmentJob]:
    """Return what derives something from the log, and can do so again for any part of it.
    Since 0.1.
    """


@hookspec
def coe_experiments(ctx: Context) -> Sequence[contract.Experiment]:
    """Return parameters under test.

    Asked at admission; the arm's values enter `turn.params` with the origin `experiment`, and the
    exposure enters the record. Since 0.1.
    """


@hookspec
def coe_alert_rules(ctx: Context) -> Sequence[contract.AlertRule]:
    """Return the rules by which alerts fire. `/readyz` shows operators which hold. Since 0.1."""


@hookspec
def coe_checks(ctx: Context) -> Sequence[contract.Check]:
    """Return what `coe doctor` asks. Since 0.1."""


@hookspec
def coe_cli_commands(ctx: Context) -> Sequence[click.Command]:
    """Return subcommands of `coe`.

    They find the settings and the application in `click.get_current_context().obj`, a
    `coe_core.cli.Frame`. `coe --help` asks every plugin: one whose commands import more than click
    returns them by `coe_core.cli.lazy_command`. Since 0.1.
    """


@hookspec
def coe_http_routes(ctx: Context) -> Sequence[HttpRoute]:
    """Return routes of the server, with method, role and types; `/openapi.json` lists them.

    A method and path that another plugin has already taken is a problem. Since 0.1.
    """


@hookspec
def coe_panels(ctx: Context) -> Sequence[contract.Panel]:
    """Return panels of the console, as data. Since 0.1."""
