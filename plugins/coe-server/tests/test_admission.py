"""Who is let in: with keys by the key, without keys this machine alone."""

from typing import Any

import attrs
import httpx
import pytest
from attrs import evolve, frozen
from coe_server.admission import check_local, host_name
from coe_server.openapi import document
from coe_server.routes import ROUTES
from coe_server.settings import Settings

from coe_core.access import AccessRole, Credentials, GroupName, Principal
from coe_core.application import PluginProblem
from coe_core.clock import SystemClock
from coe_core.ephemeral import ClosedJournal, EphemeralRecords
from coe_core.error import ForgedHost, Unauthenticated
from coe_core.http import HttpRequest, HttpResponse, HttpRoute, json_response
from coe_core.service import Clock, Journal
from coe_core.testing.turn import empty_application

LOOPBACK = "127.0.0.1"


def shown(client_host: str | None = LOOPBACK, **headers: str) -> Credentials:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Credentials(headers=named, client_host=client_host)


class TestWithoutKeys:
    @pytest.mark.parametrize(
        "host", ["localhost", "LOCALHOST:8420", "127.0.0.1:8420", "127.9.9.9", "[::1]:8420", "coe."]
    )
    def test_the_machine_itself_is_served(self, host: str) -> None:
        check_local(shown(host=host), ["coe"])
        check_local(shown("::1", host=host, origin=f"http://{host}"), ["coe"])

    @pytest.mark.parametrize("client_host", ["10.0.0.7", "192.168.1.2", "8.8.8.8", "fe80::1", None])
    def test_other_machines_are_not(self, client_host: str | None) -> None:
        with pytest.raises(Unauthenticated, match="coe keys create"):
            check_local(shown(client_host, host="localhost"), [])

    @pytest.mark.parametrize("header", ["x_forwarded_for", "forwarded", "x_real_ip"])
    def test_nor_whoever_a_proxy_speaks_for(self, header: str) -> None:
        with pytest.raises(Unauthenticated):
            check_local(shown(host="localhost", **{header: "10.0.0.7"}), [])

    @pytest.mark.parametrize(
        "host",
        [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "0.0.0.0",
            "[::2]",
        ],
    )
    def test_a_forged_host_is_refused(self, host: str) -> None:
        with pytest.raises(ForgedHost, match="allowed_hosts"):
            check_local(shown(host=host), [])

    @pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://[", "localhost"])
    def test_a_page_of_a_foreign_site_is_refused(self, origin: str) -> None:
        with pytest.raises(ForgedHost):
            check_local(shown(host="localhost", origin=origin), [])

    @pytest.mark.parametrize("role", ["admin", None])
    async def test_a_forged_host_is_refused_on_every_route(
        self, serve: Any, role: AccessRole | None
    ) -> None:
        async with serve(whoami(role)) as server, httpx.AsyncClient(base_url=server.url) as client:
            forged = await client.get("/who", headers={"Host": "evil.example"})
            served = await client.get("/who")
        assert (forged.status_code, forged.json()["error"]["code"]) == (403, "forbidden_host")
        assert served.json() == {"group": "default", "role": "admin"}

    async def test_a_name_may_be_allowed(self, serve: Any) -> None:
        settings = Settings(allowed_hosts=("coe.example",))
        async with (
            serve(whoami("admin"), settings=settings) as server,
            httpx.AsyncClient(base_url=server.url) as client,
        ):
            response = await client.get("/who", headers={"Host": "coe.example:80"})
        assert response.status_code == 200


@pytest.mark.parametrize(
    ("netloc", "name"),
    [("A.example:80", "a.example"), ("[::1]:80", "::1"), ("a.", "a"), ("", ""), ("[::1", "::1")],
)
def test_host_name(netloc: str, name: str) -> None:
    assert host_name(netloc) == name


def whoami(role: AccessRole | None) -> HttpRoute:
    async def answer(request: HttpRequest) -> HttpResponse:
        return json_response({"group": request.principal.group, "role": request.principal.role})

    return HttpRoute(method="GET", path="/who", handler=answer, role=role, summary="")


@frozen
class RoleKeys:
    """An authenticator: the key `r-ROLE` has that role."""

    has_keys: bool = True
    name: str = "role-keys"

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        if credentials.token is None or not credentials.token.startswith("r-"):
            return None
        role: Any = credentials.token.removeprefix("r-")
        if role == "expired":
            raise Unauthenticated("the key has expired")
        return Principal(group=GroupName("g"), role=role)


@frozen
class Others:
    """An authenticator that says nothing of whether it has keys."""

    name: str = "others"

    async def authenticate(self, _: Credentials) -> Principal | None:
        return None


class TestWithKeys:
    @pytest.mark.parametrize(
        ("authorization", "status", "code"),
        [
            (None, 401, "invalid_api_key"),
            ("Bearer", 401, "invalid_api_key"),
            ("Basic r-member", 401, "invalid_api_key"),
            ("Bearer unknown", 401, "invalid_api_key"),
            ("Bearer r-expired", 401, "invalid_api_key"),
            ("Bearer r-viewer", 403, "forbidden"),
            ("Bearer r-member", 200, None),
            ("bearer r-admin", 200, None),
        ],
    )
    async def test_the_key_decides(
        self, serve: Any, authorization: str | None, status: int, code: str | None
    ) -> None:
        headers = {"Authorization": authorization} if authorization else {}
        async with (
            serve(whoami("member"), authenticators=(Others(), RoleKeys())) as server,
            httpx.AsyncClient(base_url=server.url) as client,
        ):
            response = await client.get("/who", headers={"Host": "any.example", **headers})
        assert response.status_code == status
        assert response.json().get("error", {}).get("code") == code

    @pytest.mark.parametrize(
        ("headers", "who"),
        [
            ({}, {"group": "", "role": "viewer"}),
            ({"Authorization": "Bearer unknown"}, {"group": "", "role": "viewer"}),
            ({"Authorization": "Bearer r-expired"}, {"group": "", "role": "viewer"}),
            ({"Authorization": "Bearer r-operator"}, {"group": "g", "role": "operator"}),
        ],
    )
    async def test_a_route_without_a_role_wants_no_key_and_knows_a_good_one(
        self, serve: Any, headers: dict[str, str], who: dict[str, str]
    ) -> None:
        async with (
            serve(whoami(None), authenticators=(RoleKeys(),)) as server,
            httpx.AsyncClient(base_url=server.url) as client,
        ):
            response = await client.get("/who", headers=headers)
        assert response.json() == who

    @pytest.mark.parametrize("key", [None, "r-member", "r-operator", "r-admin"])
    async def test_why_a_plugin_does_not_work_is_for_operators(
        self, serve: Any, key: str | None
    ) -> None:
        problem = PluginProblem(
            plugin="p", stage="open", text="it cannot write /srv/secret", mend="Mount /srv."
        )
        route = next(route for route in ROUTES if route.path == "/readyz")
        keys = RoleKeys()
        async with (
            serve(
                route, authenticators=(keys,), problems=(problem,), services={Clock: SystemClock()}
            ) as server,
            httpx.AsyncClient(base_url=server.url) as client,
        ):
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            response = await client.get("/readyz", headers=headers)
        (told,) = response.json()["problems"]
        if key in ("r-operator", "r-admin"):
            assert told == attrs.asdict(problem)
        else:
            assert told == {"plugin": "p", "stage": "open"}
            assert "/srv" not in response.text

    @pytest.mark.parametrize("journal", [None, EphemeralRecords(), ClosedJournal("/srv is full")])
    @pytest.mark.parametrize("key", ["r-member", "r-operator"])
    async def test_who_can_record_no_turn_is_not_ready(
        self, serve: Any, journal: Any, key: str
    ) -> None:
        route = next(route for route in ROUTES if route.path == "/readyz")
        services = {Clock: SystemClock()} | ({Journal: journal} if journal else {})
        async with (
            serve(route, authenticators=(RoleKeys(),), services=services) as server,
            httpx.AsyncClient(base_url=server.url) as client,
        ):
            response = await client.get("/readyz", headers={"Authorization": f"Bearer {key}"})
        is_refusing = isinstance(journal, ClosedJournal)
        assert response.status_code == (503 if is_refusing else 200)
        assert response.json()["status"] == ("refusing" if is_refusing else "ready")
        assert "/srv" not in response.text

    async def test_a_body_is_not_read_before_the_key(self, serve: Any) -> None:
        route = HttpRoute(method="POST", path="/who", handler=whoami(None).handler, summary="")
        async with (
            serve(route, authenticators=(RoleKeys(),)) as server,
            httpx.AsyncClient(base_url=server.url) as client,
        ):
            response = await client.post("/who", content=b"x" * 1_000_000)
        assert response.status_code == 401
        assert response.headers["connection"] == "close"

    async def test_while_no_key_was_made_loopback_is_served(self, serve: Any) -> None:
        async with (
            serve(whoami("admin"), authenticators=(RoleKeys(has_keys=False),)) as server,
            httpx.AsyncClient(base_url=server.url) as client,
        ):
            assert (await client.get("/who")).json()["role"] == "admin"

    async def test_an_authenticator_that_says_nothing_of_keys_has_some(self, serve: Any) -> None:
        async with (
            serve(whoami("admin"), authenticators=(Others(),)) as server,
            httpx.AsyncClient(base_url=server.url) as client,
        ):
            assert (await client.get("/who")).status_code == 401


def page(method: Any = "GET") -> HttpRoute:
    return evolve(whoami("viewer"), method=method, path="/page", page=True, name="")


class TestPages:
    @pytest.mark.parametrize(
        ("headers", "group"),
        [
            ({}, ""),
            ({"Cookie": "a=b; coe_key=r-admin"}, "g"),
            ({"Cookie": "coe_key=r-expired"}, ""),
            ({"Cookie": "coe_key"}, ""),
            ({"Authorization": "Bearer r-viewer", "Cookie": "coe_key=r-expired"}, "g"),
        ],
    )
    async def test_the_key_may_be_in_the_cookie(
        self, serve: Any, headers: dict[str, str], group: str
    ) -> None:
        async with (
            serve(page(), whoami("viewer"), authenticators=(RoleKeys(),)) as server,
            httpx.AsyncClient(base_url=server.url) as client,
        ):
            seen = await client.get("/page", headers=headers)
            elsewhere = await client.get("/who", headers={"Cookie": "coe_key=r-admin"})
        assert seen.json()["group"] == group
        assert elsewhere.status_code == 401

    @pytest.mark.parametrize("keys", [(), (RoleKeys(),)])
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({}, 200),
            ({"Sec-Fetch-Site": "same-origin", "Origin": "http://{host}"}, 200),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:1"}, 403),
            ({"Origin": "http://127.0.0.1:1"}, 403),
            ({"Origin": "null"}, 403),
        ],
    )
    async def test_what_changes_something_comes_from_a_page_of_ours(
        self, serve: Any, keys: Any, headers: dict[str, str], status: int
    ) -> None:
        async with (
            serve(page("POST"), authenticators=keys) as server,
            httpx.AsyncClient(base_url=server.url) as client,
        ):
            host = server.url.removeprefix("http://")
            sent = {name: text.format(host=host) for name, text in headers.items()}
            answer = await client.post("/page", headers=sent)
        assert answer.status_code == status

    async def test_keys_that_nothing_reads_let_nobody_in(self, serve: Any) -> None:
        async with (
            serve(page(), holds_keys=True) as server,
            httpx.AsyncClient(base_url=server.url) as client,
        ):
            answer = await client.get("/page", headers={"Cookie": "coe_key=r-admin"})
        assert answer.json() == {"group": "", "role": "viewer"}

    async def test_they_are_no_part_of_the_interface(self) -> None:
        described = document(empty_application(http_routes=(page(), whoami("viewer"))))
        assert list(described["paths"]) == ["/who"]  # type: ignore[call-overload,index]
