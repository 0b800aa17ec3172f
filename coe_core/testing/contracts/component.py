"""What holds of every service and every component."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, ClassVar, TypeVar

from coe_core.codec import decode, encode
from coe_core.plugin import violations
from coe_core.testing.contracts.law import PATIENCE_S, Contract, law
from coe_core.turn import Turn

C = TypeVar("C")


class ServiceContract(Contract[C]):
    """What holds of every service."""

    contract: ClassVar[type[Any]]
    """The Protocol in `coe_core.service` or `coe_core.contract`."""
    contracts: ClassVar[tuple[type[Any], ...]] = ()
    """Instead of `contract`, for a suite whose `make` returns several that belong together."""

    @law()
    async def test_fulfils_the_contract(self, component: C) -> None:
        """Every attribute and method of the contract is there, async where that is."""
        several = component if isinstance(component, tuple) else (component,)
        for part, wanted in zip(several, self.contracts or (self.contract,), strict=True):
            broken = violations(part, wanted)
            assert not broken, f"{type(part).__name__} is no {wanted.__name__}: {'; '.join(broken)}"


class ComponentContract(ServiceContract[C]):
    """What holds of every component; the suites for the single extension points add their laws."""

    @law()
    async def test_has_a_lasting_name(self, component: C) -> None:
        """A component has a name, the same in every instance made alike: settings and toggles
        speak of it by that.
        """
        name = getattr(component, "name", None)
        assert isinstance(name, str), f"name is {name!r}; give the component a `name: str`"
        assert name.strip() == name != "", f"name is {name!r}; take a word or two, no blanks around"
        async with self.running() as again:
            other = getattr(again, "name", None)
        assert other == name, f"name was {name!r}, then {other!r}; it may not change"


@contextmanager
def untouched(*values: Any) -> Iterator[None]:
    """See that what was passed in is the same afterwards."""
    before = [deepcopy(_own(value)) for value in values]
    yield
    for value, old in zip(values, before, strict=True):
        assert _own(value) == old, (
            f"the {type(value).__name__} that was passed in was changed; it belongs to the turn "
            "and others read it: copy what you want to change, or use attrs.evolve"
        )


def _own(value: Any) -> Any:
    """Return what of a value nobody else may change: of a turn, not its ledger."""
    if isinstance(value, Turn):
        return value.request, value.session, dict(value.params), dict(value.headers)
    return value


async def survives_cancellation(work: Coroutine[Any, Any, Any], steps: int) -> None:
    """Cancel work after some steps of the event loop, and see that it ends as cancelled."""
    task = asyncio.create_task(work)
    for _ in range(steps):
        await asyncio.sleep(0)
    if task.done():
        task.result()
        return
    task.cancel()
    await asyncio.wait([task], timeout=PATIENCE_S)
    assert task.done(), (
        f"was cancelled, and still ran {PATIENCE_S:g} s later; do not catch "
        "asyncio.CancelledError, nor block the event loop"
    )
    assert task.cancelled(), (
        "was cancelled, and ended as if it had not been; `except Exception` lets "
        "asyncio.CancelledError pass, `except BaseException` and a bare `except` swallow it"
    )


def is_json(value: Any) -> bool:
    """Whether a value survives JSON unchanged."""
    try:
        return bool(decode(encode(value)) == value)
    except (TypeError, ValueError):
        return False
