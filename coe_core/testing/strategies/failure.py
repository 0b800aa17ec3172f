"""Ways to fail: errors of upstreams, schedules of them, and the state that a failure leaves."""

from __future__ import annotations

from functools import cache

from attrs import evolve
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from coe_core import error
from coe_core.contract import Failure
from coe_core.error import CoeError
from coe_core.testing.scripted import Fault
from coe_core.testing.strategies.conversation import messages
from coe_core.testing.strategies.record import attempts
from coe_core.testing.strategies.text import names, texts

UPSTREAM = (
    error.UpstreamError,
    error.UpstreamUnreachable,
    error.UpstreamTimeout,
    error.UpstreamOverloaded,
    error.UpstreamMalformed,
    error.UpstreamCut,
    error.UpstreamDenied,
    error.UpstreamRejected,
    error.ModelCrashed,
)


@cache
def upstream_errors() -> SearchStrategy[CoeError]:
    """Errors of a provider."""
    waits = st.none() | st.floats(0, 120)
    return st.builds(
        lambda kind, text, wait_s: kind(text, retry_after_s=wait_s),
        st.sampled_from(UPSTREAM),
        texts(),
        waits,
    )


@cache
def faults() -> SearchStrategy[Fault]:
    """One call's failure, before or amid its answer."""
    return st.builds(Fault, error=upstream_errors(), after_chunks=st.integers(0, 5))


@cache
def failure_schedules() -> SearchStrategy[tuple[Fault | None, ...]]:
    """What befalls one call after another; None is a call that goes well."""
    return st.lists(st.none() | faults(), max_size=6).map(tuple)


@st.composite
def failures(draw: st.DrawFn) -> Failure:
    """An attempt that failed, at any point of a turn."""
    failed = draw(upstream_errors())
    model = draw(names())
    made = draw(st.lists(attempts(), min_size=1, max_size=3))
    last = evolve(made[-1], model=model, outcome="failed", error_code=failed.code)
    text = draw(st.just("") | texts())
    others = st.lists(names().filter(lambda name: name != model), max_size=2, unique=True)
    return Failure(
        error=failed,
        model=model,
        attempts=(*made[:-1], last),
        fallbacks=tuple(draw(others)),
        text=text,
        started=bool(text) or draw(st.booleans()),
        messages=tuple(draw(st.lists(messages(), min_size=1, max_size=3))),
    )
