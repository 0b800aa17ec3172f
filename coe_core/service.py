"""The services: what plugins ask for with `ctx.need(Contract)`, and exactly one plugin, or the
engine, provides.

The engine itself provides `Clock`, `Caller`, `Embedder` and `Deployment`, and, where no plugin
does, a `Scheduler`, a `StateStore` on SQLite in the data folder and a `Journal`, `RecordReader`
and `SessionStore` in memory, which forget at the end of the process; `coe doctor` says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from attrs import frozen

from coe_core.card import Card
from coe_core.contract import Job
from coe_core.identity import SessionId, TurnId
from coe_core.knowledge import Document, Indexed, Item, PassageChanges, SearchQuery
from coe_core.ledger import Intent, Purpose
from coe_core.message import Json, Message
from coe_core.model import Chunk, Vectors
from coe_core.payer import Payer
from coe_core.record import Feedback, Interaction, Pointer, Record
from coe_core.request import ChatRequest, EmbeddingRequest
from coe_core.turn import Passage

if TYPE_CHECKING:
    from coe_core.application import Application
    from coe_core.runner import Runner

T = TypeVar("T")


@frozen(kw_only=True)
class Service:
    """A service as a plugin offers it from `coe_services`: the contract, and what fulfils it."""

    contract: type[Any]
    provider: Any


@runtime_checkable
class Clock(Protocol):
    """Time, so that tests can set it."""

    def now(self) -> datetime:
        """Tell the time: aware, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Count seconds from an arbitrary start, never backwards."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


@runtime_checkable
class Journal(Protocol):
    """The log: what it acknowledges is never lost.

    It may also have `refusal: str | None`: why it takes no record now, in words for clients, None
    while it takes them. `/readyz` says 503 meanwhile, so that turns are sent elsewhere; the journal
    has to find out by itself, without turns, when that is over.
    """

    async def append(self, record: Record) -> Pointer:
        """Write a record; returns once it is durable. Raises `Unavailable` when it cannot be.

        Idempotent on an interaction's id. Safe to cancel: the record is then either written whole
        or not at all.
        """
        ...

    def intend(self, intent: Intent) -> None:
        """Note that an attempt is about to start, without waiting for the disk. Raises
        `Unavailable` when it cannot be noted: the attempt is then not made.
        """
        ...


@frozen(kw_only=True)
class Stretch:
    """Some records of the log, and where the next begin."""

    records: tuple[Record, ...]
    cursor: str


@runtime_checkable
class RecordReader(Protocol):
    """Reads the log back, group by group."""

    async def interaction(self, group: str, turn_id: TurnId) -> Interaction | None:
        """Return a turn of that group, None when the group has no such turn."""
        ...

    async def pointer(self, group: str, turn_id: TurnId) -> Pointer | None:
        """Tell where in the log a turn of that group lies, None when the group has no such turn."""
        ...

    def interactions(
        self, group: str | None, *, since: datetime | None = None, until: datetime | None = None
    ) -> AsyncIterator[Interaction]:
        """Iterate over turns by start, oldest first; `since` <= start < `until`.

        `group` None reads every group: for operators' reports and jobs only.
        """
        ...

    async def newest(
        self, group: str, limit: int, *, since: datetime | None = None
    ) -> Sequence[Interaction]:
        """Return the turns of a group that began last, the newest first, at most `limit` of them
        and none that began before `since`. It costs what they do, however many others there are.
        """
        ...

    def feedback(
        self, group: str | None, *, since: datetime | None = None, until: datetime | None = None
    ) -> AsyncIterator[Feedback]:
        """Iterate over feedback by when it was given, oldest first; `since` <= at < `until`.

        Nobody speaks of a turn before it began: all that was ever said of the turns of a window is
        found from the window's own `since`. `group` None reads every group, as above.
        """
        ...

    def follow(self, cursor: str = "", *, without: Collection[str] = ()) -> AsyncIterator[Stretch]:
        """Read what was written behind a cursor, of every group and kind, and then end: for what is
        made of the log and must miss nothing. "" is the log's beginning.

        `without` names fields of interactions that the caller does not look at: those that have a
        default may be left at it, for to read them all is most of what following costs.

        The records of one process come in the order in which it wrote them. A record may come
        again: what a repair restored does. Raises `Conflict` when the cursor is of another log, a
        backup was restored say; then begin again.
        """
        ...

    async def end(self) -> str:
        """Return the cursor behind all that was written until now, to follow what is new alone."""
        ...


@frozen(kw_only=True)
class History:
    """A conversation up to a turn: the newest messages, and a summary of what came before them."""

    messages: tuple[Message, ...]
    """Oldest first. The exchanges with our own tools are included."""
    summary: str | None = None


@runtime_checkable
class SessionStore(Protocol):
    """Finds conversations. It reads what the journal was given; another group's are unknown."""

    async def head(self, group: str, session_id: SessionId) -> TurnId | None:
        """Return the newest turn of a session, None when the group has no such session."""
        ...

    async def find(self, group: str, conversation: str) -> Interaction | None:
        """Return the newest turn whose conversation has that digest
        (`coe_core.record.conversation_digest`).
        """
        ...

    async def history(self, group: str, turn_id: TurnId, *, limit: int) -> History:
        """Return the conversation through that turn, of at most the newest `limit` messages."""
        ...


@frozen(kw_only=True)
class Versioned:
    """A value of the state store. `version` grows with every write of the key; 0 means absent."""

    value: Json = None
    version: int = 0


@runtime_checkable
class StateStore(Protocol):
    """Small owned state, shared by all workers: toggles, keys, leases.

    Keys are paths, `toggles/plugins/keyword`; values are JSON.
    """

    async def get(self, key: str) -> Versioned:
        """Read one value."""
        ...

    async def list(self, prefix: str) -> Mapping[str, Versioned]:
        """Read all values whose key begins with `prefix`, by key."""
        ...

    async def put(self, key: str, value: Json, *, expect: int | None = None) -> Versioned:
        """Write a value; None removes the key. With `expect`, only if the version is still that;
        raises `Conflict` otherwise. Durable when it returns.
        """
        ...

    def watch(self, prefix: str) -> AsyncIterator[Mapping[str, Versioned]]:
        """Yield the values under `prefix` now, and again after each change by any process,
        within a second; changes in quick succession may come as one.
        """
        ...


EVERY_GROUP = ""
"""The `group_name` of a row that readers of every group see. No group is called that."""


@runtime_checkable
class Database(Protocol):
    """The SQL database of the deployment, in which each plugin has tables of its own.

    Their names begin with the plugin's; none refers to another plugin's. A transaction is a
    function, called on a thread with a SQLAlchemy `Connection`: nobody can hold one open while
    something else is awaited. All methods raise `Unavailable` when the database cannot be reached
    or written; what is wrong with a statement, or clashes with a constraint, is raised as
    SQLAlchemy has it.
    """

    async def upgrade(self, plugin: str, scripts: str, *, head: str) -> None:
        """Bring a plugin's tables up to date: run the Alembic revisions in `package:folder` that
        have not been run, in one transaction, alone; to be called in the `open` of whoever owns
        the tables. The version table is the plugin's own.

        `head` is the newest revision: where the tables are at it, nothing is loaded. Raises
        `StartRefused` when they were made by a newer version of the plugin.
        """
        ...

    async def read(self, group: str | None, work: Callable[[Any], T]) -> T:
        """Return what work returns, in a transaction that cannot write and sees one moment.

        It sees the rows of the group, and of `EVERY_GROUP`, in the tables that have a column
        `group_name`, whatever its queries say; the other tables are not for it. With None it sees
        everything: for operators' reports and jobs only.
        """
        ...

    async def write(self, work: Callable[[Any], T]) -> T:
        """Return what work returns, in a transaction that may change the rows of any group.

        Durable when it returns; if work raises, nothing was changed. Others may wait for it to end:
        compute before it what can be.
        """
        ...


@runtime_checkable
class KnowledgeStore(Protocol):
    """Documents and cards, by layer, and the passages that they consist of.

    Who reads names the layers: what lies in another is as unknown as what is nowhere. Writes are
    durable when they return, and happen whole or not at all.
    """

    async def put_document(self, document: Document, passages: Sequence[Passage]) -> None:
        """Add a document, or replace the one with its id, with all of its passages, which carry
        its id and layer and stand in order. One that stays as it was does not count as changed.
        """
        ...

    async def put_card(self, card: Card) -> None:
        """Add a card, or replace the one with its id. Its text is its one passage, of the same id;
        it may be found while the card is active.
        """
        ...

    async def remove(self, layers: Sequence[str], item_id: str) -> bool:
        """Remove an item and its passages; False when the layers have no such item."""
        ...

    async def item(self, layers: Sequence[str], item_id: str) -> Item | None:
        """Return an item, None when the layers have no such."""
        ...

    async def items(
        self, layers: Sequence[str], *, after: str = "", limit: int = 1000
    ) -> Sequence[Item]:
        """Return items by id, at most `limit`, from behind the id `after`."""
        ...

    async def passages(self, layers: Sequence[str], ids: Sequence[str]) -> Sequence[Passage]:
        """Return passages in the order asked for, without those that the layers do not have.

        They are returned whatever the state of their item: what was cited can be looked up.
        """
        ...

    async def neighbours(
        self, layers: Sequence[str], item_id: str, first: int, last: int
    ) -> Sequence[Passage]:
        """Return an item's passages from one position through another, in order."""
        ...

    def follow(self, cursor: str = "") -> AsyncIterator[PassageChanges]:
        """Read what changed behind a cursor, in every layer, and then end: for indexes. "" is the
        beginning, and gives at least all that may be found now.

        A passage that changed several times may come once. One that is removed, or whose item is
        no longer active, comes as removed. When its `valid_until` has passed it does not: who
        searches looks at the clock. Raises `Conflict` when the cursor is of another store, a
        backup was restored say; then begin again. Costs little where nothing changed.
        """
        ...


@runtime_checkable
class KnowledgeIndex(Protocol):
    """Finds passages, in what the `KnowledgeStore` has and in earlier turns."""

    async def search(self, query: SearchQuery, *, parent: Payer) -> Sequence[Passage]:
        """Find passages within the layers only, best first, each with its score and the reason.

        What the store had acknowledged before is found, and what it had removed is not. `parent`
        pays for embedding the query. An earlier turn is of the layer of its group.
        """
        ...

    def rebuild(self, runner: Runner | None = None) -> AsyncIterator[Indexed]:
        """Make the index anew from the store, yielding how far it is. The old one is searched
        until the new one is whole. What takes long is left to the runner, if one is given.
        """
        ...


@runtime_checkable
class Deployment(Protocol):
    """What is in force, and how an operator changes it while the server runs."""

    def lease(self) -> AbstractAsyncContextManager[Application]:
        """Keep the application in force open until the block ends, whatever an operator switches
        meanwhile: for work that no request begins, jobs and loops in the background.
        """
        ...

    async def change(self, key: str, value: Json, *, actor: str) -> None:
        """Change a toggle or an operator's parameter (None removes it), by its key as `toggle`
        makes it, and record who did. It is in force in this process when this returns, and in
        every server on the data folder within a second.

        Raises `Conflict` for a plugin that is required, or that this process cannot do without.
        """
        ...


@runtime_checkable
class Scheduler(Protocol):
    """Runs jobs on one worker at a time: those of `coe_jobs` that recur, and what is submitted."""

    async def submit(self, job: Job, *, at: datetime | None = None) -> None:
        """Run a job once, now or at a time, even if this process dies before: another one then
        runs the job of that name that it has.
        """
        ...


@runtime_checkable
class Caller(Protocol):
    """The only way to call a model: every call is paid from a budget and ends in the ledger."""

    def complete(
        self, model: str, request: ChatRequest, *, purpose: Purpose, parent: Payer
    ) -> AsyncIterator[Chunk]:
        """Call a model by alias. Raises `BudgetExceeded`, `UnknownModel` or an `UpstreamError`."""
        ...

    async def embed(
        self, model: str, request: EmbeddingRequest, *, purpose: Purpose, parent: Payer
    ) -> Vectors:
        """Embed by alias. Raises the same."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """The deployment's embedder: `[coe] embedder`."""

    async def embed(
        self, texts: Sequence[str], *, purpose: str, parent: Payer, model: str | None = None
    ) -> Vectors:
        """Embed texts as `query` or `passage`. Another `model` than the deployment's, an alias, is
        for what is compared with vectors that were made by it.
        """
        ...
