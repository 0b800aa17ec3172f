"""Let a reverse proxy say who is asking."""

from attrs import frozen

from coe_core import Credentials, Principal, hookimpl
from coe_core.access import GroupName
from coe_core.compose import Context


@frozen(kw_only=True)
class Settings:
    proxy: str = "127.0.0.1"
    """The address of the proxy; the headers of anybody else are not believed."""
    header: str = "x-forwarded-group"
    """The header in which the proxy names the group, in lower case."""


@frozen
class ExampleAuthenticator:
    proxy: str = "127.0.0.1"
    header: str = "x-forwarded-group"
    name: str = "example"

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        group = credentials.headers.get(self.header)
        if credentials.client_host != self.proxy or not group:
            return None
        return Principal(group=GroupName(group))


@frozen
class ExamplePlugin:
    settings: Settings

    @hookimpl
    def coe_authenticators(self, ctx: Context) -> list[ExampleAuthenticator]:
        return [ExampleAuthenticator(self.settings.proxy, self.settings.header)]
