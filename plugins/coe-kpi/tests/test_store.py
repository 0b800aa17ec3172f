"""The roll-ups' file is several processes', and several connections' of each."""

import subprocess
import sys
from pathlib import Path

from coe_kpi.fact import Scope, TurnFact
from coe_kpi.store import RollupStore
from coe_kpi.view import Cut
from coe_kpi.window import Window

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
        (found,) = store.turns([Window(0, 9)], Cut(by="group"))
    return {group: sum(sums.turns for sums in some.values()) for group, some in found.items()}
