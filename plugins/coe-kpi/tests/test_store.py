"""The roll-ups' file is several processes', and several connections' of each."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from coe_kpi.fact import Scope, TurnFact
from coe_kpi.fold import SUCCESS
from coe_kpi.store import RollupStore, Sought
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
