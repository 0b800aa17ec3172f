"""Who is asking: credentials, and the rules for a server without keys (design §9)."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Collection, Mapping

from attrs import evolve

from coe_core.access import LOCAL, NOBODY, Credentials, Principal
from coe_core.application import Application
from coe_core.error import Forbidden, ForgedHost, Unauthenticated, Unavailable
from coe_core.http import KEY_COOKIE, HttpRoute

CREDENTIAL_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key"}
)
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
MAKE_A_KEY = "make a key with `coe keys create`"


async def admit(
    application: Application,
    credentials: Credentials,
    route: HttpRoute,
    allowed_hosts: Collection[str],
) -> Principal:
    """Say who this is and that the role suffices; a page says itself what it thinks of the role.

    Raises `Unauthenticated`, `Forbidden`, `Unavailable` while keys exist that nothing can read,
    or, while no key exists, `ForgedHost`.
    """
    if route.page and route.method != "GET":
        check_same_origin(credentials.headers)
    if not application.wants_keys:
        check_local(credentials, allowed_hosts)
        return LOCAL
    if route.page and credentials.token is None:
        credentials = evolve(credentials, token=_cookie(credentials.headers, KEY_COOKIE))
    if route.page or route.role is None:
        return await _whoever(application, credentials)
    principal = await authenticate(application, credentials)
    if not principal.may(route.role):
        raise Forbidden(f"this needs the role {route.role!r}; the key has {principal.role!r}")
    return principal


def _cookie(headers: Mapping[str, str], wanted: str) -> str | None:
    for pair in headers.get("cookie", "").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == wanted:
            return value
    return None


def check_same_origin(headers: Mapping[str, str]) -> None:
    """Let only this server's own pages change something: a browser sends the cookie along with
    what another page makes it send, and says so. Raises `Forbidden`.
    """
    if (site := headers.get("sec-fetch-site")) is not None:
        is_ours = site == "same-origin"
    elif (origin := headers.get("origin")) is not None:  # An older browser.
        is_ours = origin.partition("://")[2] == headers.get("host")
    else:
        is_ours = True  # No browser at all.
    if not is_ours:
        raise Forbidden("the request comes from a page of another site")


async def authenticate(application: Application, credentials: Credentials) -> Principal:
    """Ask the authenticators in order; the first answer counts. Raises `Unauthenticated`, or
    `Unavailable` while keys exist that nothing in force can read.
    """
    if not application.authenticators:
        raise Unavailable(
            "keys exist, but no plugin in force reads them, so nobody can be let in; "
            "`coe plugins` on the server says what is wrong or switched off"
        )
    for authenticator in application.authenticators:
        if (principal := await authenticator.authenticate(credentials)) is not None:
            return principal
    if credentials.token is None:
        raise Unauthenticated("send an API key: the header `Authorization: Bearer KEY`")
    raise Unauthenticated("the API key is not known; check that it was copied whole")


async def _whoever(application: Application, credentials: Credentials) -> Principal:
    """Say who asks where nobody has to; a key that is not good is as none."""
    if credentials.token is None:
        return NOBODY
    try:
        return await authenticate(application, credentials)
    except (Unauthenticated, Unavailable):
        return NOBODY


def check_local(credentials: Credentials, allowed_hosts: Collection[str]) -> None:
    """Let only this machine's own user in: no other machine, and no page in the user's browser.

    A page of a foreign site reaches loopback under a name of its own (DNS rebinding: the Host
    header tells) or by a blind POST (the Origin header tells).
    """
    headers = credentials.headers
    if not is_loopback(credentials.client_host) or any(name in headers for name in FORWARDED):
        raise Unauthenticated(f"without keys only this machine itself is served: {MAKE_A_KEY}")
    _check_name(headers, "host", headers.get("host", ""), allowed_hosts)
    if origin := headers.get("origin"):
        _check_name(headers, "origin", origin.partition("://")[2], allowed_hosts)


@functools.lru_cache(maxsize=256)
def is_loopback(host: str | None) -> bool:
    """Tell whether an address, or the name `localhost`, is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _check_name(
    headers: Mapping[str, str], header: str, netloc: str, allowed_hosts: Collection[str]
) -> None:
    name = host_name(netloc)
    if not is_loopback(name) and name not in allowed_hosts:
        raise ForgedHost(
            f"the header {header!r} is {headers.get(header, '')!r:.200}: without keys only "
            "localhost is served; name others in [plugins.server] allowed_hosts, or " + MAKE_A_KEY
        )


def host_name(netloc: str) -> str:
    """Take the port, the brackets and the final dot off a Host header."""
    if netloc.startswith("["):
        return netloc[1:].partition("]")[0]
    return netloc.partition(":")[0].rstrip(".").lower()
