"""Answers that break, and turns that fail anywhere: who goes on, and what the client sees."""

from collections.abc import Sequence
from typing import Any

import pytest
from attrs import define, field, frozen
from hypothesis import given
from hypothesis import strategies as st

from coe_core import Chunk, GuardVerdict, Message, Passage, Route, Turn, assistant, user
from coe_core.access import LOCAL
from coe_core.admission import Ask
from coe_core.contract import Continue, Failure, Held, Retry, Switch, Verdict
from coe_core.error import ContextTooLong, NotFound, Unavailable, UpstreamCut, UpstreamError
from coe_core.event import Delta, TurnEnded, TurnFailed
from coe_core.identity import SessionId, TurnId
from coe_core.ledger import Attempt
from coe_core.model import ToolCallDelta
from coe_core.request import ChatRequest
from coe_core.service import Journal, Service, SessionStore
from coe_core.testing import ManualClock
from coe_core.view import ClientView

from .conftest import StartHost, contributing
from .test_engine import DONE, Adder, Played, ask, calling, host_of, play, record_of, text_of

CUT = UpstreamCut("cut")
FALLBACKS = 'fallbacks = { played = ["other"] }\n'


@define
class Resilient:
    """Goes on with `other`, and lets `rescuer` answer what has failed altogether."""

    held: Any = "nothing"
    rescuer: str | None = None
    elsewhere: str | None = None
    seam: Any = None
    limit: int | None = None
    again: bool = False
    name: str = "resilient"
    failures: list[Failure] = field(factory=list)
    noted: list[tuple[str, str | None]] = field(factory=list)

    def holds(self, turn: Turn) -> Held:
        return self.held  # type: ignore[no-any-return]

    def instead(self, turn: Turn, model: str, fallbacks: tuple[str, ...]) -> str | None:
        return self.elsewhere

    async def note(self, turn: Turn, attempt: Attempt, error: Any) -> None:
        self.noted.append((attempt.model, error and error.code))

    async def after_failure(self, turn: Turn, failure: Failure) -> Verdict | None:
        self.failures.append(failure)
        if not failure.started:
            return Retry() if self.again else Switch(model="other")
        return self._go_on(failure, "other")

    async def last_resort(self, turn: Turn, failure: Failure) -> Switch | Continue | None:
        self.failures.append(failure)
        if self.rescuer is None:
            return None
        if not failure.started:
            return Switch(model=self.rescuer)
        return self._go_on(failure, self.rescuer)

    def _go_on(self, failure: Failure, model: str) -> Continue:
        messages = (*failure.messages, assistant(failure.text), user("go on"))
        return Continue(
            model=model, messages=messages, seam=self.seam, output_limit_tokens=self.limit
        )


class TestHolding:
    @given(st.lists(st.text()), st.sampled_from(["nothing", "unfinished", "everything"]))
    def test_whatever_is_held_comes_out_in_order(self, pieces: list[str], holds: Held) -> None:
        view = ClientView((), holds)
        shown = [c for piece in pieces for c in view.show(Chunk(content=piece))]
        assert view.started == bool(shown)
        shown += view.release()
        assert "".join(chunk.content for chunk in shown) == "".join(pieces) == view.text

    @given(st.lists(st.text(alphabet="ab \n가각", max_size=5)))
    def test_between_words(self, pieces: list[str]) -> None:
        view = ClientView((), "unfinished")
        for piece in pieces:
            list(view.show(Chunk(content=piece)))
        said = "".join(pieces)
        assert view.text == said[: len(view.text)]
        long = max(map(len, said.split()), default=0) > 32
        assert long or view.text == "" or view.text[-1].isspace()

    def test_a_script_without_blanks_comes_letter_by_letter(self) -> None:
        view = ClientView((), "unfinished")
        assert [c.content for c in view.show(Chunk(content="日本語"))] == ["日本語"]

    def test_a_word_without_end_is_not_held_for_ever(self) -> None:
        view = ClientView((), "unfinished")
        list(view.show(Chunk(content="a" * 100)))
        assert len(view.text) == 68

    @pytest.mark.parametrize("holds", ["unfinished", "everything"])
    def test_calls_come_when_the_answer_is_whole(self, holds: Held) -> None:
        view = ClientView(("ours",), holds)
        for name in ("ours", "theirs"):
            index = int(name == "theirs")
            piece = ToolCallDelta(index=index, id=name, name=name, arguments="{}")
            assert list(view.show(Chunk(tool_calls=(piece,)))) == []
        (shown,) = view.release()
        assert [(call.index, call.name) for call in shown.tool_calls] == [(0, "theirs")]
        assert view.called

    def test_what_was_held_of_a_broken_attempt_is_forgotten(self) -> None:
        view = ClientView((), "unfinished")
        list(view.show(Chunk(content="one tw")))
        view.begin()
        list(view.show(Chunk(content="two")))
        list(view.release())
        assert view.text == "one two"


async def test_a_word_that_was_not_whole_is_said_by_the_next_alone(start_host: StartHost) -> None:
    policy = Resilient(held="unfinished")
    provider = Played([[Chunk(content="one tw"), CUT], [Chunk(content="two three"), DONE]])
    host = await host_of(start_host, provider, FALLBACKS, attempt_policies=[policy])
    events = await play(host.application, ask())
    record = record_of(events)
    assert text_of(events) == "one two three"
    assert record.answer == (assistant("one two three"),)
    assert record.attempts[1].continues == record.attempts[0].id
    assert policy.failures[0].text == "one "
    assert policy.failures[0].messages == (user("Hello"),)
    assert policy.noted == [("played", "upstream_cut"), ("other", None)]


async def test_a_call_that_broke_is_made_anew(start_host: StartHost) -> None:
    half = Chunk(tool_calls=(ToolCallDelta(index=0, id="c", name="theirs", arguments='{"a'),))
    provider = Played(
        [
            [Chunk(content="so "), half, CUT],
            [calling("theirs", '{"a": 1}'), Chunk(finish_reason="tool_calls")],
        ]
    )
    policy = Resilient(held="unfinished")
    host = await host_of(start_host, provider, FALLBACKS, attempt_policies=[policy])
    events = await play(host.application, ask())
    (answer,) = record_of(events).answer
    assert answer.text == "so "
    assert [call.function.arguments for call in answer.tool_calls] == ['{"a": 1}']
    pieces = [piece for e in events if isinstance(e, Delta) for piece in e.chunk.tool_calls]
    assert [(piece.index, piece.id) for piece in pieces] == [(0, "call_theirs")]


async def test_calls_of_ours_that_broke_are_made_anew(start_host: StartHost) -> None:
    provider = Played(
        [
            [calling("add", '{"a": '), CUT],
            [calling("add", '{"a": 1, "b": 2}'), Chunk(finish_reason="tool_calls")],
            [Chunk(content="three"), DONE],
        ]
    )
    policy = Resilient(held="unfinished")
    host = await host_of(
        start_host, provider, FALLBACKS, attempt_policies=[policy], tools=[Adder()]
    )
    events = await play(host.application, ask())
    assert text_of(events) == "three"
    assert [run.result for run in record_of(events).tool_runs] == [3]


async def test_nothing_is_said_twice_whatever_a_policy_says(start_host: StartHost) -> None:
    class Careless(Resilient):
        async def after_failure(self, turn: Turn, failure: Failure) -> Verdict | None:
            return Switch(model="other")

    half = Chunk(tool_calls=(ToolCallDelta(index=0, id="c", name="theirs", arguments='{"a'),))
    for first, policy in ((Chunk(content="half"), Careless()), (half, Resilient())):
        provider = Played([[first, CUT], [Chunk(content="again"), DONE]])
        host = await host_of(start_host, provider, attempt_policies=[policy])
        events = await play(host.application, ask())
        assert isinstance(events[-1], TurnFailed)
        assert len(provider.asked) == 1


async def test_a_verdict_that_is_none_is_passed_over(start_host: StartHost) -> None:
    class Garbled(Resilient):
        async def after_failure(self, turn: Turn, failure: Failure) -> Any:
            return "try again"

    provider = Played([[CUT], [Chunk(content="ok"), DONE]])
    host = await host_of(start_host, provider, FALLBACKS, attempt_policies=[Garbled()])
    assert text_of(await play(host.application, ask())) == "ok"


async def test_everything_held_lets_it_begin_anew(start_host: StartHost) -> None:
    provider = Played([[Chunk(content="half"), CUT], [Chunk(content="whole"), DONE]])
    policy = Resilient(held="everything")
    host = await host_of(start_host, provider, FALLBACKS, attempt_policies=[policy])
    assert text_of(await play(host.application, ask())) == "whole"


async def test_the_seam_sees_the_text_of_the_continuation_alone(start_host: StartHost) -> None:
    @define
    class Seam:
        kept: str = ""

        def add(self, text: str) -> str:
            self.kept += text
            return ""

        def rest(self) -> str:
            return self.kept.upper()

    plays = [[Chunk(content="one "), CUT], [Chunk(content="two "), Chunk(content="three"), DONE]]
    policy = Resilient(seam=Seam())
    host = await host_of(start_host, Played(plays), FALLBACKS, attempt_policies=[policy])  # type: ignore[arg-type]
    assert text_of(await play(host.application, ask())) == "one TWO THREE"


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
async def test_the_rest_has_the_limit_that_the_policy_says(
    start_host: StartHost, limit: str
) -> None:
    provider = Played([[Chunk(content="one "), CUT], [Chunk(content="two"), DONE]])
    policy = Resilient(limit=7)
    host = await host_of(start_host, provider, FALLBACKS, attempt_policies=[policy])
    request = ChatRequest(model="auto", messages=(user("Hello"),), **{limit: 10})
    await play(host.application, Ask(request=request, principal=LOCAL))
    assert [getattr(made, limit) for made in provider.asked] == [10, 7]


async def test_a_fallback_that_does_not_fit_is_not_the_end(start_host: StartHost) -> None:
    provider = Played(
        [[Chunk(content="one "), CUT], [ContextTooLong("8k")], [Chunk(content="two"), DONE]]
    )
    host = await host_of(start_host, provider, attempt_policies=[Resilient()])
    assert text_of(await play(host.application, ask())) == "one two"


async def test_another_may_be_called_instead(start_host: StartHost) -> None:
    provider = Played([[Chunk(content="a"), DONE]])
    policy = Resilient(elsewhere="other")
    host = await host_of(start_host, provider, attempt_policies=[policy])
    record = record_of(await play(host.application, ask()))
    assert [attempt.model for attempt in record.attempts] == ["other"]
    assert record.outcome.failure == "fallback_used"


async def test_a_policy_that_fails_beside_the_call_is_passed_over(start_host: StartHost) -> None:
    class Broken(Resilient):
        def holds(self, turn: Turn) -> Held:
            raise ZeroDivisionError

        def instead(self, turn: Turn, model: str, fallbacks: tuple[str, ...]) -> str | None:
            raise ZeroDivisionError

        async def note(self, turn: Turn, attempt: Attempt, error: Any) -> None:
            raise ZeroDivisionError

    garbled = Resilient(held="some", elsewhere="nowhere", name="second")
    host = await host_of(
        start_host, Played([[Chunk(content="a"), DONE]]), attempt_policies=[Broken(), garbled]
    )
    assert text_of(await play(host.application, ask())) == "a"


# The last resort.


@frozen
class Strange:
    """Is no route, passage, text, chunk or whatever else was asked for."""


@frozen
class Misrouting:
    name: str = "misrouting"

    async def route(self, turn: Turn) -> Any:
        return Strange()


@frozen
class Misfinding:
    name: str = "misfinding"

    async def retrieve(self, turn: Turn, layers: tuple[str, ...]) -> Sequence[Passage]:
        return [Strange()]  # type: ignore[list-item]


@frozen
class Misprompting:
    name: str = "misprompting"
    version: str = "1"

    def system(self, turn: Turn, *, light: bool) -> Any:
        return Strange()

    def tool_guide(self, turn: Turn, tool: Any, *, light: bool) -> Any:
        return None


@frozen
class Failing:
    name: str = "failing"
    description: str = "fails"
    after: int = 0

    async def work(self, turn: Turn) -> Any:
        for _ in range(self.after):
            yield Chunk(content="so far ")
        raise ZeroDivisionError


@frozen
class ToAgent:
    name: str = "to-agent"

    async def route(self, turn: Turn) -> Route:
        return Route(agent="failing")


FATAL: dict[str, dict[str, Any]] = {
    "router": {"routers": [Misrouting()]},
    "retriever": {"retrievers": [Misfinding()]},
    "prompt pack": {"prompt_packs": [Misprompting()]},
    "agent": {"agents": [Failing()], "routers": [ToAgent()]},
}


@pytest.mark.parametrize("part", FATAL)
async def test_the_last_resort_answers_what_failed_inside_coe(
    start_host: StartHost, part: str
) -> None:
    provider = Played([[Chunk(content="ok"), DONE]])
    policy = Resilient(rescuer="other")
    host = await host_of(start_host, provider, **FATAL[part], attempt_policies=[policy])
    events = await play(host.application, ask())
    record = record_of(events)
    assert isinstance(events[-1], TurnEnded)
    assert text_of(events) == "ok"
    assert provider.asked[-1].messages == (user("Hello"),)
    assert (record.outcome.status, record.outcome.failure) == ("success", "fallback_used")
    assert record.outcome.error_code == "internal_error"
    assert events[-1].model == "other"


@pytest.mark.parametrize("part", FATAL)
async def test_without_one_it_fails_as_ever(start_host: StartHost, part: str) -> None:
    provider = Played([[Chunk(content="ok"), DONE]])
    host = await host_of(start_host, provider, **FATAL[part], attempt_policies=[Resilient()])
    failed = (await play(host.application, ask()))[-1]
    assert isinstance(failed, TurnFailed)
    assert (failed.error.code, provider.asked) == ("internal_error", [])


async def test_the_last_resort_goes_on_from_what_was_seen(start_host: StartHost) -> None:
    provider = Played([[Chunk(content="it went"), DONE]])
    host = await host_of(
        start_host,
        provider,
        agents=[Failing(after=2)],
        routers=[ToAgent()],
        attempt_policies=[Resilient(rescuer="other")],
    )
    events = await play(host.application, ask())
    assert text_of(events) == "so far so far it went"
    assert record_of(events).answer == (assistant("so far so far it went"),)
    assert provider.asked[0].messages[1] == assistant("so far so far ")


class LostSessions:
    async def head(self, group: str, session_id: SessionId) -> TurnId | None:
        raise ZeroDivisionError

    async def find(self, group: str, conversation: str) -> None:
        raise ZeroDivisionError

    async def history(self, group: str, turn_id: TurnId, *, limit: int) -> None:
        raise NotFound("no")


async def test_the_last_resort_answers_where_the_session_is_lost(start_host: StartHost) -> None:
    provider = Played([[Chunk(content="ok"), DONE]])
    service = Service(contract=SessionStore, provider=LostSessions())
    policy = Resilient(rescuer="other")
    host = await host_of(start_host, provider, services=[service], attempt_policies=[policy])
    asked = ask((user("a"), assistant("b"), user("c")), session_id=SessionId("s"))
    events = await play(host.application, asked)
    assert text_of(events) == "ok"
    assert provider.asked[0].messages == asked.request.messages
    assert record_of(events).session == "s"
    policy.rescuer = None
    failed = (await play(host.application, asked))[-1]
    assert isinstance(failed, TurnFailed)


@frozen
class Guarding:
    step: str
    verdict: Any
    name: str = "guarding"

    @property
    def steps(self) -> frozenset[Any]:
        return frozenset({self.step})

    async def inspect(self, turn: Turn, step: str, text: str) -> GuardVerdict:
        if self.verdict == "redact" and "Hello" in text:
            return GuardVerdict(verdict="redact", text=text.replace("Hello", "***"), reason="x")
        if self.verdict == "refuse":
            return GuardVerdict(verdict="refuse", reason="x")
        return self.verdict if isinstance(self.verdict, Strange) else GuardVerdict()  # type: ignore[return-value]


@pytest.mark.parametrize("step", ["request", "egress", "answer"])
@pytest.mark.parametrize("verdict", ["refuse", Strange()], ids=["refuse", "garbage"])
async def test_guards_are_never_bypassed(start_host: StartHost, step: str, verdict: Any) -> None:
    provider = Played([[Chunk(content="ok"), DONE]])
    host = await host_of(
        start_host,
        provider,
        guards=[Guarding(step, verdict)],
        attempt_policies=[Resilient(rescuer="other")],
    )
    events = await play(host.application, ask())
    assert isinstance(events[-1], TurnFailed)
    assert text_of(events) == ""
    assert step == "answer" or provider.asked == []


@pytest.mark.parametrize("step", ["request", "egress"])
async def test_what_a_guard_took_out_stays_out(start_host: StartHost, step: str) -> None:
    provider = Played([[Chunk(content="ok"), DONE]])
    host = await host_of(
        start_host,
        provider,
        guards=[Guarding(step, "redact")],
        routers=[Misrouting()],
        attempt_policies=[Resilient(rescuer="other")],
    )
    await play(host.application, ask())
    assert [message.text for message in provider.asked[0].messages] == ["***"]


async def test_what_a_continuation_adds_is_guarded(start_host: StartHost) -> None:
    provider = Played([[Chunk(content="Hello "), CUT], [Chunk(content="two"), DONE]])
    guards = [Guarding("egress", "redact")]
    host = await host_of(start_host, provider, guards=guards, attempt_policies=[Resilient()])
    await play(host.application, ask())
    assert [message.text for message in provider.asked[1].messages] == ["***", "*** ", "go on"]


async def test_a_budget_is_never_bypassed(start_host: StartHost) -> None:
    provider = Played([[Chunk(content="ok"), DONE]])
    host = await host_of(
        start_host,
        provider,
        "[groups.default]\nbudget_usd_month = 0.0000001\n",
        attempt_policies=[Resilient(rescuer="other")],
    )
    failed = (await play(host.application, ask()))[-1]
    assert isinstance(failed, TurnFailed)
    assert (failed.error.code, provider.asked) == ("insufficient_quota", [])


async def test_a_group_goes_nowhere_that_it_may_not(start_host: StartHost) -> None:
    provider = Played([[UpstreamError("down")]])
    host = await host_of(
        start_host,
        provider,
        '[groups.default]\nmodels = ["played"]\n',
        attempt_policies=[Resilient(rescuer="other", elsewhere="other")],
    )
    failed = (await play(host.application, ask()))[-1]
    assert isinstance(failed, TurnFailed)
    assert {attempt.model for attempt in failed.record.attempts} == {"played"}


async def test_the_journal_is_never_bypassed(start_host: StartHost) -> None:
    class Full:
        async def append(self, record: Any) -> Any:
            raise Unavailable("the disk is full")

        def intend(self, intent: Any) -> None:
            raise Unavailable("the disk is full")

    provider = Played([[Chunk(content="ok"), DONE]])
    service = Service(contract=Journal, provider=Full())
    policies = [Resilient(rescuer="other")]
    host = await host_of(start_host, provider, services=[service], attempt_policies=policies)
    failed = (await play(host.application, ask()))[-1]
    assert isinstance(failed, TurnFailed)
    assert (failed.error.code, provider.asked) == ("service_unavailable", [])


async def test_what_the_client_did_wrong_stays_wrong(start_host: StartHost) -> None:
    provider = Played([[ContextTooLong("8k")]])
    host = await host_of(start_host, provider, attempt_policies=[Declining(rescuer="other")])
    failed = (await play(host.application, ask()))[-1]
    assert isinstance(failed, TurnFailed)
    assert (failed.error.code, len(provider.asked)) == ("context_length_exceeded", 1)


@define
class Declining(Resilient):
    async def after_failure(self, turn: Turn, failure: Failure) -> Verdict | None:
        return None


async def test_history_that_we_keep_goes_along(start_host: StartHost) -> None:
    provider = Played([[Chunk(content="one"), DONE]])
    policy = Declining(rescuer="other")
    host = await host_of(start_host, provider, attempt_policies=[policy])
    session = SessionId("s")
    await play(host.application, ask("first", session_id=session))
    provider.plays.append([CUT])
    provider.plays.append([Chunk(content="two"), DONE])
    events = await play(host.application, ask("second", session_id=session))
    assert text_of(events) == "two"
    sent: tuple[Message, ...] = provider.asked[-1].messages
    assert [message.text for message in sent] == ["first", "one", "second"]


async def test_when_the_time_is_over_nothing_more_is_tried(start_host: StartHost) -> None:
    clock = ManualClock()

    class Slow(Played):
        async def complete(self, model: Any, request: Any, *, group: str) -> Any:
            self.asked.append(request)
            yield Chunk(content="so ")
            await clock.advance(1201)
            raise CUT

    provider = Slow([])
    plugin = contributing(
        "p", model_providers=[provider], attempt_policies=[Resilient(rescuer="other")]
    )
    host = await start_host('[routing]\ndefault = "played"\n', plugin, clock=clock)
    events = await play(host.application, ask())
    assert isinstance(events[-1], TurnFailed)
    assert len(provider.asked) == 1
