"""SQLite's file is several processes', and several connections' of each."""

import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

from coe_records.sqlite import connect

ANOTHER_PROCESS = """
import sys
from pathlib import Path
from coe_records.sqlite import connect
connection = connect(Path(sys.argv[1]))
connection.execute("INSERT INTO kept VALUES ('theirs')")
connection.close()
"""


def test_another_process_takes_nothing_away_from_who_has_the_file_open(tmp_path: Path) -> None:
    """A descriptor of the file that is closed takes this process's locks with it (POSIX): the last
    one out elsewhere would think itself alone, and remove the write-ahead log that is in use.
    """
    path = tmp_path / "coe.db"
    with ExitStack() as stack:
        both = [stack.enter_context(closing(connect(path))) for _ in range(2)]
        both[0].execute("CREATE TABLE kept (whose)")
        for _ in range(2):
            subprocess.run([sys.executable, "-c", ANOTHER_PROCESS, str(path)], check=True)
            both[0].execute("INSERT INTO kept VALUES ('ours')")
        kept = [("theirs",), ("ours",), ("theirs",), ("ours",)]
        assert both[1].execute("SELECT whose FROM kept").fetchall() == kept
    assert path.stat().st_mode & 0o777 == 0o600
