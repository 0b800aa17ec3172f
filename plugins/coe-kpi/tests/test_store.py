"""The roll-ups' file is several processes', and several connections' of each."""

import itertools
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from coe_kpi.fact import Call, Scope, TurnFact
from coe_kpi.fold import SUCCESS
from coe_kpi.report import Query, kpis_by
from coe_kpi.store import MOST_FITS, RollupStore, Sought
from coe_kpi.view import Cut
from coe_kpi.window import Window
from hypothesis import given, settings
from hypothesis import strategies as st

ANOTHER_PROCESS = """
import sys
from pathlib import Path
from coe_kpi.store import RollupStore
store = RollupStore.open(Path(sys.argv[1]))
assert store.add([], behind=sys.argv[2], cursor=sys.argv[3])
store.close()
"""


def test_another_process_takes_nothing_away_from_who_has_the_file_open(tmp_path: Path) -> None:
    """A descriptor of the file that is closed takes this process's locks with it (POSIX): the last
    one out elsewhere would think itself alone, and remove the write-ahead log that is in use.
    """
    path = tmp_path / "kpi.sqlite"
    stores = [RollupStore.open(path) for _ in range(2)]
    for behind, cursor in (("", "a"), ("b", "c")):
        arguments = [sys.executable, "-c", ANOTHER_PROCESS, str(path), behind, cursor]
        subprocess.run(arguments, check=True)
        assert [store.cursor for store in stores] == [cursor, cursor]
        assert stores[0].add([], behind=cursor, cursor=chr(ord(cursor) + 1))
    for store in stores:
        store.close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_tables_that_another_began_again_are_read_and_written_as_they_are(tmp_path: Path) -> None:
    first, second = [RollupStore.open(tmp_path / "kpi.sqlite") for _ in range(2)]
    first.add([turn("a", "research"), turn("b", "sales")], behind="", cursor="1")
    assert groups(first) == groups(second) == {"research": 1, "sales": 1}
    second.clear()
    second.add([turn("b", "sales")], behind="", cursor="1")
    first.add([turn("c", "sales"), turn("d", "legal")], behind="1", cursor="2")
    assert groups(first) == groups(second) == {"sales": 2, "legal": 1}
    first.close()
    second.close()


def turn(id_: str, group: str) -> TurnFact:
    return TurnFact(id=id_, minute=7, scope=Scope(group), result="success")


def groups(store: RollupStore) -> dict[str, int]:
    with store.snapshot():
        parts, cut = [Window(0, 9)], Cut(by="group")
        (found,) = store.turns(parts, cut, store.largest(parts, {"turns": cut}, 9))
    return {group: sum(sums.turns for sums in some.values()) for group, some in found.items()}


@settings(deadline=None, max_examples=60)
@given(
    turns=st.lists(
        st.tuples(
            st.one_of(st.integers(0, 200), st.integers(0, 9000)),
            st.sampled_from(["research", "sales"]),
            st.sampled_from(["success", "timeout"]),
            st.integers(0, 1),
        ),
        max_size=30,
    ),
    ends=st.tuples(st.integers(0, 9000), st.integers(0, 9000)),
    group=st.sampled_from([None, "research", "nobody"]),
    with_tools=st.booleans(),
)
def test_the_turns_behind_a_number_are_those_that_it_counts(
    turns: list[Any], ends: tuple[int, int], group: str | None, with_tools: bool
) -> None:
    facts = [
        TurnFact(id=f"{n:03d}", minute=at, scope=Scope(whose, f"r{n}"), result=how, tool_calls=used)
        for n, (at, whose, how, used) in enumerate(turns)
    ]
    part, cut = Window(min(ends), max(ends)), Cut({"group": group} if group else {})
    with TemporaryDirectory() as folder, closing(RollupStore.open(Path(folder) / "k")) as store:
        store.add(facts, behind="", cursor="1")
        sought = Sought(part=part, cut=cut, results=(SUCCESS,), with_tools=with_tools)
        found = [*store.behind(sought)]
        (sums,) = store.turns([part], cut)
    assert [(b.minute, b.id) for b in found] == sorted(
        (
            (fact.minute, fact.id)
            for fact in facts
            if part.since <= fact.minute < part.until
            and fact.result == "success"
            and group in (None, fact.scope.group)
            and (fact.tool_calls or not with_tools)
        ),
        reverse=True,
    )
    counted = sums.get("", {}).get(SUCCESS)
    if counted is not None:
        assert len(found) == (counted.tool_turns if with_tools else counted.turns)


HOURS = Window(0, 120)
SCOPES = [*itertools.product(("research", "sales"), ("code", "refunds"), ("small", "large"))]
WHERE = [
    {label: value for label, value in zip(("group", "route", "model"), scope, strict=True) if value}
    for scope in itertools.product((None, "research"), (None, "code"), (None, "small"))
]


def kpis_of(store: RollupStore, where: dict[str, str], by: Any) -> Any:
    return kpis_by(store, [HOURS], Query(**where), by)


def turns_of(store: RollupStore, where: dict[str, str], _: Any) -> Any:
    cut = Cut({"target" if label == "model" else label: v for label, v in where.items()})
    return [*store.behind(Sought(part=HOURS, cut=cut, results=(SUCCESS,)))]


ASKS = [(kpis_of, where, by) for where in WHERE for by in (None, "group", "route", "model")]
ASKS += [(turns_of, where, None) for where in WHERE]


@settings(deadline=None, max_examples=10)
@given(order=st.permutations(ASKS))
def test_answers_do_not_depend_on_what_was_asked_before(order: list[Any]) -> None:
    with TemporaryDirectory() as folder, closing(RollupStore.open(Path(folder) / "k")) as store:
        turns = [of_model(f"{n}", *scope) for n, scope in enumerate(SCOPES)]
        store.add(turns, behind="", cursor="1")
        for ask, where, by in order:
            with closing(RollupStore.open(Path(folder) / "k")) as another:
                assert ask(store, where, by) == ask(another, where, by)


def of_model(id_: str, group: str, route: str, model: str) -> TurnFact:
    call = Call(scope=Scope(group, route, model, model, "chat"), input_tokens=5)
    scope = Scope(group, route, model)
    return TurnFact(id=id_, minute=60, scope=scope, result="success", calls=(call,))


def test_junk_that_is_asked_for_does_not_stay(tmp_path: Path) -> None:
    with closing(RollupStore.open(tmp_path / "k")) as store:
        store.add([of_model("a", "research", "code", "small")], behind="", cursor="1")
        for number in range(3 * MOST_FITS):
            kpis_of(store, {"route": f"junk-{number}"}, None)
        assert len(store._fits) <= MOST_FITS
