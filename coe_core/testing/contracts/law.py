"""Laws: what must hold of everything that fulfils a contract, as tests that a class inherits."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Generic, TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

C = TypeVar("C")

PATIENCE_S = 1.0
"""How long something may take that should happen at once."""

UNHURRIED = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
"""What is tested may be a model; what it is tested with, a schema of any kind."""


class Contract(Generic[C]):
    """The laws of one contract.

    Subclass it in a class whose name begins with `Test`, and write `make`. A component's `open`
    and `close` are called around each example, as the engine would.
    """

    examples: ClassVar[int] = 20
    """How many examples each law is tried on; take fewer for what is slow to make."""

    def make(self) -> Any:
        """Return a new component. As an async generator, yield it and clean up after it."""
        msg = f"write {type(self).__name__}.make(self): it returns what is to be tested"
        raise NotImplementedError(msg)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[C]:
        """Make a component and open it; close it again, and see that nothing of it goes on."""
        before = asyncio.all_tasks()
        async with self._made() as component:
            parts = _parts(component)
            for part in parts:
                await _call(part, "open")
            try:
                yield component
            finally:
                for part in reversed(parts):
                    await _call(part, "close")
        if left := asyncio.all_tasks() - before:
            _, left = await asyncio.wait(left, timeout=PATIENCE_S)
        assert not left, (
            f"after close() {len(left)} tasks were still running: {left}; "
            "keep a reference to each task that is started, cancel it in close() and await it"
        )

    @asynccontextmanager
    async def _made(self) -> AsyncIterator[C]:
        made: Any = self.make()
        if not hasattr(made, "__anext__"):
            yield await made if inspect.isawaitable(made) else made
            return
        try:
            yield await anext(made)
        finally:
            await anext(made, None)


def _parts(component: object) -> list[object]:
    """Whatever of a component is opened, each once: a suite may take two that belong together."""
    several = component if isinstance(component, tuple) else (component,)
    return list({id(part): part for part in several if not isinstance(part, type)}.values())


async def _call(component: object, name: str) -> None:
    method = getattr(component, name, None)
    if method is None:
        return
    assert inspect.iscoroutinefunction(method), f"write `async def {name}(self)`: it is awaited"
    await method()


def law(
    **strategies: SearchStrategy[Any],
) -> Callable[[Callable[..., Awaitable[None]]], Callable[[Contract[Any]], None]]:
    """Make a test of an async method: it is given a new component, opened, and an example of
    each strategy; without strategies it runs once. Its docstring is the law.
    """

    def decorate(check: Callable[..., Awaitable[None]]) -> Callable[[Contract[Any]], None]:
        def test(self: Contract[Any]) -> None:
            __tracebackhide__ = True

            async def example(values: dict[str, Any]) -> None:
                try:
                    async with self.running() as component:
                        await check(self, component, **values)
                except Exception as error:
                    error.add_note(f"The law: {inspect.getdoc(check)}")
                    raise

            def holds(**values: Any) -> None:
                __tracebackhide__ = True
                asyncio.run(example(values))

            _name_after(holds, check)
            if strategies:
                tried = settings(
                    max_examples=self.examples,
                    deadline=None,
                    # Explaining traces every line, of this package too: minutes for a failure.
                    phases=set(settings().phases) - {Phase.explain},
                    suppress_health_check=UNHURRIED,
                )
                tried(given(**strategies)(holds))()
            else:
                holds()

        _name_after(test, check)
        return test

    return decorate


def _name_after(function: Any, original: Any) -> None:
    # Not `functools.wraps`: pytest would take the original's parameters for fixtures.
    for attribute in ("__name__", "__qualname__", "__doc__", "__module__"):
        setattr(function, attribute, getattr(original, attribute))
