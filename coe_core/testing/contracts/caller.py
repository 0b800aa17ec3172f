"""The laws of what calls models for plugins: callers and embedders."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from hypothesis import strategies as st

from coe_core.error import UnknownModel
from coe_core.request import EmbeddingRequest
from coe_core.service import Caller, Embedder
from coe_core.testing.contracts.answer import check_end, leave_early, whole
from coe_core.testing.contracts.component import ServiceContract
from coe_core.testing.contracts.law import law
from coe_core.testing.contracts.provider import alike, check_vectors, greeting
from coe_core.testing.strategies import texts
from coe_core.testing.turn import make_turn, scripted_application
from coe_core.turn import Turn

TEXTS = st.lists(texts(), min_size=1, max_size=3)


class CallerContract(ServiceContract[Caller]):
    """What holds of every caller. The models are those of `coe_core.testing.ScriptedProvider`."""

    contract = Caller
    chat_model: ClassVar[str] = "scripted"
    embedding_model: ClassVar[str] = "scripted-embed"

    def turn(self, limit_usd: Decimal | None = None) -> Turn:
        """Return the turn for which is called; override it for other models."""
        return make_turn(application=scripted_application(), limit_usd=limit_usd)

    @law(stream=st.booleans())
    async def test_books_each_call(self, caller: Caller, stream: bool) -> None:  # noqa: FBT001
        """A call gives a whole answer, and one attempt with its purpose in the turn's ledger."""
        turn = self.turn()
        request = greeting(stream=stream)
        answer = caller.complete(self.chat_model, request, purpose="judge", parent=turn)
        chunks = await whole(answer)
        assert chunks is not None, "the call was refused"
        check_end(chunks, 1)
        booked = [(a.purpose, a.model, a.outcome) for a in turn.ledger.attempts]
        assert booked == [("judge", self.chat_model, "ok")], f"the ledger has {booked}"

    @law()
    async def test_books_a_call_that_was_left(self, caller: Caller) -> None:
        """A call that nobody reads to its end is in the ledger too: it was paid for."""
        turn = self.turn()
        request = greeting(stream=True)
        await leave_early(caller.complete(self.chat_model, request, purpose="chat", parent=turn))
        outcomes = [attempt.outcome for attempt in turn.ledger.attempts]
        assert outcomes == ["cancelled"], f"the ledger has {outcomes}, not one cancelled call"

    @law()
    async def test_knows_its_models(self, caller: Caller) -> None:
        """An alias that is none raises `UnknownModel`, and is not booked."""
        turn = self.turn()
        request = greeting(stream=False)
        try:
            await anext(caller.complete("no-such", request, purpose="chat", parent=turn), None)
        except UnknownModel:
            assert not turn.ledger.attempts, "a call that was not made is in the ledger"
            return
        raise AssertionError("an unknown model was called")

    @law(some=TEXTS)
    async def test_embeds_and_books(self, caller: Caller, some: list[str]) -> None:
        """Embedding gives a vector for each text, and one attempt in the ledger."""
        turn = self.turn()
        request = EmbeddingRequest(model=self.embedding_model, input=tuple(some))
        vectors = await caller.embed(self.embedding_model, request, purpose="routing", parent=turn)
        check_vectors(vectors, len(some))
        assert [a.purpose for a in turn.ledger.attempts] == ["routing"], (
            f"the ledger has {turn.ledger.attempts!r}"
        )


class EmbedderContract(ServiceContract[Embedder]):
    """What holds of every embedder."""

    contract = Embedder

    def turn(self) -> Turn:
        """Return the turn for which is embedded; override it for other models."""
        return make_turn(application=scripted_application())

    @law(some=TEXTS, purpose=st.sampled_from(["query", "passage"]))
    async def test_embeds_each_text(
        self, embedder: Embedder, some: list[str], purpose: str
    ) -> None:
        """Each text gets a vector of finite numbers, in order, the same each time."""
        vectors = await embedder.embed(some, purpose=purpose, parent=self.turn())
        check_vectors(vectors, len(some))
        back = await embedder.embed(some[::-1], purpose=purpose, parent=self.turn())
        rows = back.rows()[::-1]
        assert alike(vectors, type(back).of(rows)), "the texts reversed do not give the reverse"

    @law(some=TEXTS)
    async def test_has_one_width(self, embedder: Embedder, some: list[str]) -> None:
        """Queries and passages have vectors of the same width: one is sought among the other."""
        turn = self.turn()
        query = await embedder.embed(some, purpose="query", parent=turn)
        passage = await embedder.embed(some, purpose="passage", parent=turn)
        assert query.dimensions == passage.dimensions, (
            f"a query has {query.dimensions} numbers, a passage {passage.dimensions}"
        )
