"""Break a component on purpose, and see that the law it breaks, and no good component, fails."""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from coe_core.testing import Contract

SHARED = {"test_fulfils_the_contract", "test_has_a_lasting_name"}
"""Laws of every component; the router's suite proves them for all."""

settings.register_profile(
    "seeded",
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


def gives(value: Any) -> Any:
    """Make a method that returns a value whatever it is asked."""

    async def method(self: Any, *_: Any, **__: Any) -> Any:
        return value

    return method


def fails(error: BaseException) -> Any:
    """Make a method that raises."""

    async def method(self: Any, *_: Any, **__: Any) -> Any:
        raise error

    return method


def yields(*items: Any, error: BaseException | None = None) -> Any:
    """Make a method that is an async generator."""

    async def method(self: Any, *_: Any, **__: Any) -> Any:
        for item in items:
            yield item
        if error is not None:
            raise error

    return method


def clings(result: Any = None) -> Any:
    """Make a method that will not be cancelled."""

    async def method(self: Any, *_: Any, **__: Any) -> Any:
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            return result
        return result

    return method


def counts(make: Callable[[int], Any]) -> Any:
    """Make a method whose result depends on how often any was called."""
    calls = iter(range(1_000_000))

    async def method(self: Any, *_: Any, **__: Any) -> Any:
        return make(next(calls))

    return method


def spoilt(good: Any, members: dict[str, Any]) -> Callable[[], Any]:
    """Make a maker of components with other methods and other values of attributes."""
    methods = {name: value for name, value in members.items() if callable(value)}
    kind = type("Spoilt", (good,), methods)

    def make() -> Any:
        component = kind()
        for name in members.keys() - methods.keys():
            object.__setattr__(component, name, members[name])
        return component

    return make


class Proof:
    """Collects the laws that a bug has broken."""

    def __init__(self, suite: type[Contract[Any]], good: Any, **attributes: Any) -> None:
        self.suite, self.good, self.attributes = suite, good, attributes
        self.broken: set[str] = set()

    def laws(self) -> set[str]:
        return {name for name in dir(self.suite) if name.startswith("test_")}

    def run(self, law: str, make: Callable[[], Any], **attributes: Any) -> None:
        members = {"examples": 8, **self.attributes, **attributes, "make": lambda _: make()}
        getattr(type("Seeded", (self.suite,), members)(), law)()

    def bug(
        self,
        law: str,
        why: str,
        make: Any = None,
        /,
        *,
        raises: type[Exception] = AssertionError,
        **members: Any,
    ) -> None:
        """Break `members` of the good component, or make another; `law` fails and says `why`."""
        self.broken.add(law)
        if make is None:
            make, members = spoilt(self.good, members), {}
        with pytest.raises(raises, match=re.escape(why)):
            self.run(law, make, **members)


@contextmanager
def proving(
    suite: type[Contract[Any]], good: Any, *, exempt: set[str] = SHARED, **attributes: Any
) -> Iterator[Callable[..., None]]:
    """See that `good` passes the whole suite, then that each of its laws is broken by a bug."""
    before = settings._current_profile
    settings.load_profile("seeded")
    try:
        proof = Proof(suite, good, **attributes)
        for law in sorted(proof.laws()):
            proof.run(law, good, examples=4)
        yield proof.bug
    finally:
        settings.load_profile(before)
    assert proof.laws() - proof.broken - exempt == set(), "laws that nothing has broken"
