"""The laws of routers."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from hypothesis import strategies as st

from coe_core.contract import Router
from coe_core.testing.contracts.component import (
    ComponentContract,
    survives_cancellation,
    untouched,
)
from coe_core.testing.contracts.law import law
from coe_core.testing.strategies import turns
from coe_core.turn import Route, Turn


class RouterContract(ComponentContract[Router]):
    """What holds of every router, whatever a turn says."""

    contract = Router
    deterministic: ClassVar[bool] = True
    """Say False for a router that learns or draws lots."""

    @law(turn=turns())
    async def test_decides_or_declines(self, router: Router, turn: Turn) -> None:
        """A router returns a `Route` or None for any text, and raises for none."""
        route = await router.route(turn)
        assert route is None or isinstance(route, Route), (
            f"route() returned {route!r}; return a coe_core.Route, "
            "or None to leave the decision to the next router"
        )

    @law(turn=turns())
    async def test_says_how_sure_it_is_and_why(self, router: Router, turn: Turn) -> None:
        """A decision has a confidence from 0 to 1 and a reason: both are in the record."""
        if (route := await router.route(turn)) is None:
            return
        assert 0 <= route.confidence <= 1, (
            f"confidence is {route.confidence!r}; it is a share, from 0 (a guess) to 1 (certain)"
        )
        assert route.reason.strip(), "reason is empty; say in a few words why, for the record"

    @law(turn=turns())
    async def test_leaves_the_turn_alone(self, router: Router, turn: Turn) -> None:
        """A router reads the turn and changes nothing in it."""
        with untouched(turn):
            await router.route(turn)

    @law(turn=turns())
    async def test_decides_alike(self, router: Router, turn: Turn) -> None:
        """The same turn gets the same decision, unless the suite says `deterministic = False`."""
        if self.deterministic:
            first, second = await router.route(turn), await router.route(turn)
            assert first == second, (
                f"one turn was routed to {first!r}, then to {second!r}; "
                "if that is meant, write `deterministic = False` in the test class"
            )

    @law(some=st.lists(turns(), min_size=2, max_size=3))
    async def test_decides_many_at_once(self, router: Router, some: list[Turn]) -> None:
        """Turns that are routed at the same time do not disturb each other."""
        together = await asyncio.gather(*(router.route(turn) for turn in some))
        if self.deterministic:
            alone = [await router.route(turn) for turn in some]
            assert together == alone, (
                f"turns routed at once went to {together!r}, one by one to {alone!r}; "
                "keep nothing of a turn in the router"
            )

    @law(turn=turns(), steps=st.integers(0, 3))
    async def test_lets_itself_be_cancelled(self, router: Router, turn: Turn, steps: int) -> None:
        """A client that goes away cancels the routing; the router then still works."""
        await survives_cancellation(router.route(turn), steps)
        await router.route(turn)
