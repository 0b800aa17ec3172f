"""The laws of authenticators."""

from __future__ import annotations

import asyncio

from hypothesis import strategies as st

from coe_core.access import RANK, Credentials, Principal
from coe_core.contract import Authenticator
from coe_core.error import Unauthenticated
from coe_core.testing.contracts.component import (
    ComponentContract,
    survives_cancellation,
    untouched,
)
from coe_core.testing.contracts.law import law
from coe_core.testing.strategies import credentials

REVEALING_LENGTH = 4
"""Shorter texts may stand in any message by accident."""


class AuthenticatorContract(ComponentContract[Authenticator]):
    """What holds of every authenticator."""

    contract = Authenticator

    def valid(self, authenticator: Authenticator) -> Credentials | None:
        """Override it to return credentials that are good: the suite then sees that they are."""
        return None

    @law(shown=credentials())
    async def test_knows_refuses_or_declines(
        self, authenticator: Authenticator, shown: Credentials
    ) -> None:
        """Any credentials get a principal, None, or `Unauthenticated`; no other error, whatever
        stands in a header.
        """
        try:
            principal = await authenticator.authenticate(shown)
        except Unauthenticated:
            return
        except Exception as error:
            raise AssertionError(
                f"raised {error!r}; raise Unauthenticated, or return None for credentials of "
                "another kind"
            ) from error
        if principal is not None:
            check_principal(principal)

    @law(shown=credentials())
    async def test_reveals_no_token(self, authenticator: Authenticator, shown: Credentials) -> None:
        """The text of a refusal does not hold the token: it goes into logs."""
        try:
            await authenticator.authenticate(shown)
        except Unauthenticated as refusal:
            token = (shown.token or "").strip()
            assert len(token) < REVEALING_LENGTH or token not in refusal.message, (
                f"the message {refusal.message!r} holds the token; name the key's public id"
            )

    @law()
    async def test_lets_the_right_ones_in(self, authenticator: Authenticator) -> None:
        """Good credentials get the same principal each time, also many at once."""
        if (shown := self.valid(authenticator)) is None:
            return
        with untouched(shown):
            several = (authenticator.authenticate(shown) for _ in range(3))
            found = await asyncio.gather(*several)
        assert found[0] is not None, "the credentials of `valid` were declined"
        check_principal(found[0])
        assert found[0] == found[1] == found[2], f"one key got several principals: {found}"

    @law(shown=credentials(), steps=st.integers(0, 3))
    async def test_lets_itself_be_cancelled(
        self, authenticator: Authenticator, shown: Credentials, steps: int
    ) -> None:
        """A client that goes away cancels the look-up."""

        async def look_up() -> None:
            try:
                await authenticator.authenticate(shown)
            except Unauthenticated:
                return

        await survives_cancellation(look_up(), steps)


def check_principal(principal: Principal) -> None:
    """See that a principal has a group and a known role."""
    assert isinstance(principal, Principal), (
        f"authenticate() returned {principal!r}; return coe_core.Principal or None"
    )
    assert principal.group, "a principal has no group"
    assert principal.role in RANK, f"role is {principal.role!r}; there are {', '.join(RANK)}"
