"""The contracts of components: what a plugin's hooks may return, one Protocol per extension point.

A component has a `name`, unique within its kind, by which settings and toggles speak of it. It
may also have `async def open(self)`, called before the first turn, and `async def close(self)`,
called when the last turn that uses it has ended. `coe_core.testing` has a suite for each contract.

What keeps a turn waiting for longer than `[coe] component_timeout_s` has failed, and is cancelled;
models, tools and agents have `request_timeout_s`. That works with what awaits: a component that
blocks the event loop stops the whole process, so what blocks belongs into a thread.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from attrs import field, frozen

from coe_core.access import Credentials, Principal
from coe_core.card import Card, Judgement
from coe_core.error import CoeError
from coe_core.identity import TurnId
from coe_core.ledger import Attempt
from coe_core.message import Json, Message
from coe_core.model import Chunk, Model, Vectors
from coe_core.panel import PanelItem
from coe_core.payer import Payer
from coe_core.record import Record
from coe_core.request import ChatRequest, EmbeddingRequest
from coe_core.turn import GuardVerdict, Passage, Route, Turn


@runtime_checkable
class Component(Protocol):
    """What every component has."""

    @property
    def name(self) -> str:
        """The name, unique within the kind."""
        ...


@runtime_checkable
class Authenticator(Component, Protocol):
    """Turns credentials into a principal.

    It may also have `has_keys: bool`, false while nobody could authenticate because no key was
    ever made. As long as that is so of every authenticator, loopback is served without a key. One
    that keeps its keys under `coe_core.access.KEYS` in the state store closes the server even
    when its plugin fails or is switched off; the plugin of another belongs into `[coe]
    required_plugins`.
    """

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        """Say who this is; None when the credentials are not of this authenticator's kind.

        Raises `Unauthenticated` when they are, but are not valid. Called for every request.
        """
        ...


@runtime_checkable
class Router(Component, Protocol):
    """Decides where a turn goes."""

    async def route(self, turn: Turn) -> Route | None:
        """Decide, or return None to leave the decision to the next router.

        Routers are asked in the order of `[routing] order`, then by plugin, each plugin's own in
        the order in which it returned them; the first `Route` wins.
        """
        ...


@runtime_checkable
class ModelProvider(Component, Protocol):
    """Completes and embeds."""

    @property
    def options(self) -> type[Any]:
        """An attrs class: the keys of `[models.ALIAS]` that are this provider's own."""
        ...

    def models(self) -> Sequence[Model]:
        """List the models that are offered without settings; a configured alias hides one."""
        ...

    def describe(self, model: Model) -> Model:
        """Fill in what the settings left open of a configured model, such as its price; what they
        say stands.
        """
        ...

    def complete(self, model: Model, request: ChatRequest, *, group: str) -> AsyncIterator[Chunk]:
        """Answer the request; `request.stream` says whether to call the upstream streaming.

        It is `group` that asks: a provider that queues or caches is fair between groups, and lets
        none feel what another has asked.

        The last chunk of each choice carries a finish reason; an answer that ends without one is
        treated as cut. Closing the iterator ends the upstream call at once. Raises
        `UpstreamError` or one of its subclasses.
        """
        ...

    async def embed(self, model: Model, request: EmbeddingRequest, *, group: str) -> Vectors:
        """Embed each input, in order. Raises `UpstreamError` or one of its subclasses."""
        ...


@frozen(kw_only=True)
class Failure:
    """An attempt that failed, and the state of the turn at that moment."""

    error: CoeError
    model: str
    attempts: tuple[Attempt, ...]
    """All attempts at the answer so far, the failed one last."""
    fallbacks: tuple[str, ...]
    """The targets declared in `[routing] fallbacks` that have not been tried."""
    text: str = ""
    """What the client has seen of the answer."""
    started: bool = False
    """Whether the client has seen anything: text or a piece of a tool call."""
    messages: tuple[Message, ...] = ()
    """The prompt that was to be answered, as it went upstream at first."""


@frozen(kw_only=True)
class Retry:
    """Call the same model again after a pause."""

    after_s: float = 0.0


@frozen(kw_only=True)
class Switch:
    """Call another model, from the beginning; only before the client has seen anything."""

    model: str


class Seam(Protocol):
    """Joins the text of a continuation to what the client has seen."""

    def add(self, text: str) -> str:
        """Take in a piece, and return what the client may see of all pieces so far."""
        ...

    def rest(self) -> str:
        """Return what was kept back: the continuation has ended."""
        ...


@frozen(kw_only=True)
class Continue:
    """Let another model, or the same, go on from what the client has seen.

    `messages` replace the prompt; the answer's text is appended to what was sent.
    """

    model: str
    messages: tuple[Message, ...]
    output_limit_tokens: int | None = None
    """How long the rest may be; None: as long as the client lets the whole answer be."""
    seam: Seam | None = None
    """What the text passes through on its way; None: it is appended as it comes."""


@frozen(kw_only=True)
class GiveUp:
    """End the turn with the error."""


Verdict: TypeAlias = Retry | Switch | Continue | GiveUp


@runtime_checkable
class AttemptPolicy(Component, Protocol):
    """Says what follows a failed attempt."""

    async def after_failure(self, turn: Turn, failure: Failure) -> Verdict | None:
        """Decide, or return None to leave it to the next policy. The core's own, asked last,
        takes the declared fallbacks in order until the client has seen something.
        """
        ...


Held: TypeAlias = Literal["nothing", "unfinished", "everything"]
"""What of an answer is kept from the client while it comes: words and tool calls that are not
finished, or everything until it is whole.
"""


@runtime_checkable
class ResiliencePolicy(AttemptPolicy, Protocol):
    """An attempt policy that is also asked before a call, told of each that has ended, and asked
    once more when a turn fails altogether. One that raises here is passed over.
    """

    def holds(self, turn: Turn) -> Held:
        """Say what is kept back of the turn's answers, so that they can be continued between two
        words, or begun anew. Of several policies the most careful counts.
        """
        ...

    def instead(self, turn: Turn, model: str, fallbacks: tuple[str, ...]) -> str | None:
        """Name what to call in the place of `model`, None to call it. `fallbacks` are the declared
        ones that have not been tried.
        """
        ...

    async def note(self, turn: Turn, attempt: Attempt, error: CoeError | None) -> None:
        """Take in how an attempt at an answer ended; one that was cancelled is not told."""
        ...

    async def last_resort(self, turn: Turn, failure: Failure) -> Switch | Continue | None:
        """Say who answers the client's own request after the turn has failed, wherever it did, or
        None to let it fail. Not asked where the client, a guard or a budget is the reason.
        """
        ...


Effect: TypeAlias = Literal["none", "read", "write", "network"]


@frozen(kw_only=True)
class ToolContext:
    """What a tool is told beside its arguments."""

    turn: Turn
    idempotency_key: str
    """The same for every repetition of the same call."""


@runtime_checkable
class Tool(Component, Protocol):
    """A function that models may call and CoE runs."""

    @property
    def description(self) -> str:
        """What the tool does, for the model."""
        ...

    @property
    def input_schema(self) -> Mapping[str, Json]:
        """JSON Schema (2020-12) of the arguments, an object."""
        ...

    @property
    def output_schema(self) -> Mapping[str, Json]:
        """JSON Schema (2020-12) of the result."""
        ...

    @property
    def effects(self) -> frozenset[Effect]:
        """What calling it may do to the world."""
        ...

    async def call(self, arguments: Any, context: ToolContext) -> Json:
        """Do it. The arguments have been validated, the result will be.

        Raises `ToolFailed` with a text that is shown to the model.
        """
        ...


@runtime_checkable
class CompensatedTool(Tool, Protocol):
    """A tool whose effect can be undone."""

    async def compensate(self, arguments: Any, result: Json, context: ToolContext) -> None:
        """Undo one call; called at most once per idempotency key, must not fail halfway."""
        ...


@runtime_checkable
class Retriever(Component, Protocol):
    """Finds passages."""

    async def retrieve(self, turn: Turn, layers: tuple[str, ...]) -> Sequence[Passage]:
        """Find passages for the turn within the layers only, best first; [] when there are none.

        How many per layer is read from `turn.params`.
        """
        ...


@runtime_checkable
class Reranker(Component, Protocol):
    """Says how well passages that were found answer a question."""

    async def rerank(
        self, text: str, passages: Sequence[Passage], *, parent: Payer
    ) -> Sequence[float]:
        """Return a score from 0 to 1 for each passage, in their order: 1 answers the question.

        It takes the place of the passage's `score`, which says what the search made of it.
        Models are called through `Caller` for `parent`, after its guards of the step `egress` have
        seen what is sent (`coe_core.guard`). Whatever is raised, the order is the search's.
        """
        ...


@runtime_checkable
class Summarizer(Component, Protocol):
    """Folds new messages into the previous summary."""

    async def summarize(
        self,
        previous: str | None,
        messages: Sequence[Message],
        *,
        limit_tokens: int,
        parent: Payer,
    ) -> str:
        """Return a summary of both, of at most `limit_tokens` tokens, in their language.

        Models are called through `Caller` for `parent`, with the purpose `summary`, after its
        guards of the step `egress` have seen what is sent (`coe_core.guard`). Whatever is raised,
        the summary is tried again later.
        """
        ...


@runtime_checkable
class PromptPack(Component, Protocol):
    """Versioned system messages and tool guides."""

    @property
    def version(self) -> str:
        """Changes whenever a template does."""
        ...

    def system(self, turn: Turn, *, light: bool) -> str | None:
        """Render the system message, None for none."""
        ...

    def tool_guide(self, turn: Turn, tool: Tool, *, light: bool) -> str | None:
        """Render a tool's description for the model, None for the tool's own."""
        ...


@runtime_checkable
class PromotionPolicy(Component, Protocol):
    """Judges a card."""

    def judge(self, card: Card, now: datetime) -> Judgement:
        """Judge. Deterministic: the same card at the same time gets the same judgement."""
        ...


@runtime_checkable
class Agent(Component, Protocol):
    """A target that works in child turns."""

    @property
    def description(self) -> str:
        """What the agent is for: routers read it."""
        ...

    def work(self, turn: Turn) -> AsyncIterator[Chunk]:
        """Answer the turn, as a provider would. Calls go through `Caller` with `turn` as parent,
        so that they are in its ledger and drawn from its budget.
        """
        ...


@runtime_checkable
class AgentProtocol(Component, Protocol):
    """Lets agents agree on who does what."""

    async def negotiate(self, turn: Turn, agents: Sequence[Agent]) -> Mapping[str, str]:
        """Return agent name to task, within the turn's budget; {} when none is needed."""
        ...


@runtime_checkable
class Guard(Component, Protocol):
    """Allows, redacts or refuses a step. One that raises has refused."""

    @property
    def steps(self) -> frozenset[Literal["request", "egress", "tool_call", "answer"]]:
        """The steps it wants to see."""
        ...

    async def inspect(self, turn: Payer, step: str, text: str) -> GuardVerdict:
        """Judge the text of a step: of a turn, or of work that no request asked for, which has the
        step `egress` alone.
        """
        ...


@runtime_checkable
class EventSink(Component, Protocol):
    """Receives the records of turns after they are on disk."""

    async def receive(self, record: Record) -> None:
        """Take a record; the turn waits until it is taken.

        Called in the process that ran the turn, once, in the order of the session within that
        process. What a crash between the disk and the sink kept from it is not made good in this
        version: the log has it. A later version may send a record twice.
        """
        ...


@frozen(kw_only=True)
class Sample:
    """One measurement. Labels come from closed sets."""

    metric: str
    value: float
    at: datetime
    labels: Mapping[str, str] = field(factory=dict)


@runtime_checkable
class Monitor(Component, Protocol):
    """Measures a part of the deployment: queues, lags, breakers."""

    async def measure(self) -> Sequence[Sample]:
        """Return what is so now, each series once: a metric with its labels.

        Asked by every scrape of `/metrics` and every look at `/readyz`, so it answers from what is
        at hand; what takes longer is looked at beforehand, on a task of the monitor's own. Metrics
        are named as Prometheus has it, the unit last: `coe_journal_queue_turns`,
        `coe_journal_fsync_seconds`. One that ends in `_total` counts from the start of the process
        and never falls.
        """
        ...


@runtime_checkable
class MetricSink(Component, Protocol):
    """Receives KPI samples."""

    async def record(self, samples: Sequence[Sample]) -> None:
        """Take samples, at least once."""
        ...


@frozen(kw_only=True)
class Alert:
    """Something an operator must know. `key` is the same while it lasts."""

    key: str
    rule: str
    severity: Literal["info", "warning", "critical"]
    text: str
    said: Mapping[str, str] = field(factory=dict)
    """The text in other languages: `ko` to Korean."""
    playbook: str
    """The path of the page in `docs/playbooks/`."""
    pages: Mapping[str, str] = field(factory=dict)
    """The path of the page in other languages: `ko` to the Korean one."""
    at: datetime
    resolved: bool = False


@runtime_checkable
class AlertSink(Component, Protocol):
    """Delivers alerts."""

    async def deliver(self, alert: Alert) -> None:
        """Deliver; a second delivery with the same key and state changes nothing."""
        ...


@runtime_checkable
class AlertRule(Component, Protocol):
    """Says when an alert fires."""

    async def evaluate(self, now: datetime) -> Sequence[Alert]:
        """Return the alerts that hold now; [] when all is well.

        Asked several times a minute, and by every operator's look at `/readyz`.
        """
        ...


@runtime_checkable
class Job(Component, Protocol):
    """Recurring or batch work, run by one worker at a time."""

    @property
    def every(self) -> timedelta | None:
        """How often; None for work that is only started by hand."""
        ...

    async def run(self) -> Json:
        """Do one round and return a report. Safe to be repeated after a kill."""
        ...


@runtime_checkable
class SegmentJob(Component, Protocol):
    """Derives something from the log, piece by piece. It is run over what is due, and again over
    what failed, by whoever keeps the log: `coe records reprocess --what NAME`.
    """

    @property
    def version(self) -> str:
        """Changes whenever something else would be derived: all of the log is then due again."""
        ...

    @property
    def derive(self) -> Callable[[Sequence[Record]], Sequence[Json]]:
        """The function that derives results from some records that stand together in the log.

        It is one of a module, and pure: the pieces are read in any order, and it may run in another
        process, or on another machine.
        """
        ...

    async def keep(self, results: Sequence[Json]) -> None:
        """Write down what was derived from one piece; whatever it raises, the piece is tried again
        later. Where it was kept before, it changes nothing.
        """
        ...


@frozen(kw_only=True)
class Arm:
    """One arm of an experiment: values of parameters."""

    name: str
    weight: Decimal
    params: Mapping[str, Json]


@runtime_checkable
class Experiment(Component, Protocol):
    """Parameters under test."""

    def assign(self, turn_id: TurnId, session_id: str, group: str) -> Arm | None:
        """Choose an arm, None for outside the experiment. The same session gets the same arm."""
        ...


@frozen(kw_only=True)
class Finding:
    """What a check found. `mend` says what to do when it is not ok."""

    ok: bool
    text: str
    mend: str = ""


@runtime_checkable
class Check(Component, Protocol):
    """A question that `coe doctor` asks."""

    async def check(self) -> Finding:
        """Look, and change nothing. A check that raises counts as not ok."""
        ...


@runtime_checkable
class Panel(Component, Protocol):
    """A panel of the console, as data, never HTML."""

    @property
    def title(self) -> Mapping[str, str]:
        """Language (`en`, `ko`) to title."""
        ...

    async def show(self, principal: Principal, query: Mapping[str, str]) -> Sequence[PanelItem]:
        """Return what the principal may see."""
        ...
