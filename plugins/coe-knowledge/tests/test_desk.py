"""Over HTTP a group is told the same, to the letter, whether or not others have something.

The same requests are made of two deployments; only in the second have other groups documents and
cards. Answers, errors and their texts must be equal.
"""

import random
from typing import Any

import pytest
from coe_knowledge.library import Library
from coe_knowledge.route import routes
from coe_knowledge.settings import Settings

from coe_core import Clock, Journal, KnowledgeStore
from coe_core.access import AccessRole, GroupName, Principal
from coe_core.error import CoeError
from coe_core.http import HttpRequest, HttpRoute
from coe_core.testing import MemoryKnowledgeStore, scripted_application
from coe_core.turn import GLOBAL, group_layer

from .test_separation import fill

MINE = ("law",)
OTHERS = ("sales", "LAW", "law%", "law ")
ROLES: tuple[AccessRole, ...] = ("viewer", "member", "operator", "admin")
NAMES = ("list", "show", "passage", "remove")


class World:
    """A deployment's routes over a store that groups have filled."""

    def __init__(self) -> None:
        """Make an empty one."""
        self.application = scripted_application()
        need = self.application.need
        self.store: KnowledgeStore = MemoryKnowledgeStore()
        made = routes(Library(self.store, need(Journal), need(Clock), Settings()))
        self.routes = {route.handler.__name__: route for route in made}

    async def told(self, name: str, query: dict[str, str], id_: str, role: AccessRole) -> Any:
        """Ask as the group law, and return everything that comes back."""
        route: HttpRoute = self.routes[name]
        request = HttpRequest(
            method=route.method,
            path=route.path.replace("{id}", id_),
            path_params={"id": id_},
            query=query,
            principal=Principal(group=GroupName("law"), role=role),
            application=self.application,
            request_id="req_1",
        )
        try:
            response = await route.handler(request)
        except CoeError as error:
            return type(error), error.code, error.message, error.param
        return response.status, response.body, response.headers


@pytest.mark.parametrize("probes", [5_000, pytest.param(1_000_000, marks=pytest.mark.faults)])
async def test_no_request_tells_whether_others_have_something(probes: int) -> None:
    alone, crowded = World(), World()
    shared: list[str] = []
    for world in (alone, crowded):
        shared = [id_ for g in MINE for id_ in await fill(world.store, group_layer(g))]
        shared += await fill(world.store, GLOBAL)
    strange = [id_ for g in OTHERS for id_ in await fill(crowded.store, group_layer(g))]
    choose = random.Random(probes)
    answers = set()
    for _ in range(probes):
        name, role = choose.choice(NAMES), choose.choice(ROLES)
        of = strange if name == "remove" else shared + strange
        id_ = choose.choice([*of, "unknown"]) + choose.choice(["", "", "", "%", "'", "\x00"])
        query = {} if name != "list" else listed(choose, id_)
        mine = await alone.told(name, query, id_, role)
        seen = await crowded.told(name, query, id_, role)
        assert seen == mine, f"{name} {id_!r} {query} as {role} tells of another group"
        answers.add(str(mine[0]))
    assert len(answers) >= 3  # Answers, and errors of several kinds.
    left = {item.id for g in OTHERS for item in await crowded.store.items([group_layer(g)])}
    assert left == {id_ for id_ in strange if not id_.startswith("psg_")}


def listed(choose: random.Random, id_: str) -> dict[str, str]:
    """Ask for some page."""
    every = {
        "after": choose.choice([id_, id_[:5], ""]),
        "limit": choose.choice(["1", "3", "100", "x"]),
        "layer": choose.choice([GLOBAL, *(group_layer(group) for group in (*MINE, *OTHERS))]),
    }
    return {name: value for name, value in every.items() if choose.random() < 0.6}
