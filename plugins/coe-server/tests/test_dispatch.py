from urllib.parse import quote

import pytest
from coe_server.dispatch import RouteTable
from hypothesis import given
from hypothesis import strategies as st

from coe_core.error import MethodNotAllowed, NotFound
from coe_core.http import HttpRequest, HttpResponse, HttpRoute


async def nothing(_: HttpRequest) -> HttpResponse:
    return HttpResponse()


def route(method: str, path: str) -> HttpRoute:
    return HttpRoute(method=method, path=path, handler=nothing, summary="")  # type: ignore[arg-type]


TABLE = RouteTable.of(
    [
        route("GET", "/things"),
        route("POST", "/things"),
        route("GET", "/things/{id}"),
        route("DELETE", "/things/{id}"),
        route("GET", "/things/newest"),
        route("GET", "/things/{id}/parts/{part}"),
    ]
)

segments = st.text(min_size=1).filter(lambda text: text != "newest")


@given(segments, segments)
def test_takes_any_segment_as_it_was_before_it_was_quoted(thing: str, part: str) -> None:
    match = TABLE.match("GET", f"/things/{quote(thing, safe='')}/parts/{quote(part, safe='')}")
    assert match.route.path == "/things/{id}/parts/{part}"
    assert match.params == {"id": thing, "part": part}


def test_a_literal_segment_wins() -> None:
    assert TABLE.match("GET", "/things/newest").route.path == "/things/newest"


def test_a_literal_segment_without_the_method_leaves_it_to_the_other() -> None:
    match = TABLE.match("DELETE", "/things/newest")
    assert match.route.path == "/things/{id}"
    assert match.params == {"id": "newest"}


def test_head_is_get() -> None:
    assert TABLE.match("HEAD", "/things").route.method == "GET"


@pytest.mark.parametrize("path", ["/", "", "*", "/thing", "/things/", "/things/a/parts"])
def test_knows_no_other_path(path: str) -> None:
    with pytest.raises(NotFound):
        TABLE.match("GET", path)


def test_tells_which_methods_would_do() -> None:
    with pytest.raises(MethodNotAllowed, match="DELETE, GET") as raised:
        TABLE.match("POST", "/things/a")
    assert raised.value.allow == "DELETE, GET"  # type: ignore[attr-defined]
    with pytest.raises(MethodNotAllowed, match="DELETE, GET"):
        TABLE.match("POST", "/things/newest")


def test_the_first_of_two_equal_routes_stays() -> None:
    first, second = route("GET", "/a/{x}"), route("GET", "/a/{y}")
    assert RouteTable.of([first, second]).match("GET", "/a/b").route is first
