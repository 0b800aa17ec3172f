"""SQLite's file is several processes', and several connections' of each."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from coe_records.database import raised
from coe_records.sqlite import SqliteFile, connect

ANOTHER_PROCESS = """
import sys
from pathlib import Path
from coe_records.sqlite import connect
connection = connect(Path(sys.argv[1]))
connection.execute("INSERT INTO kept VALUES ('theirs')")
connection.close()
"""


def keep_a_copy(path: Path) -> None:
    SqliteFile(path).keep_copy("now")


@pytest.mark.parametrize("meanwhile", [lambda path: connect(path).close(), keep_a_copy])
def test_another_process_takes_nothing_away_from_who_has_the_file_open(
    tmp_path: Path, meanwhile: Callable[[Path], None]
) -> None:
    """A descriptor of the file that is closed takes this process's locks with it (POSIX): the last
    one out elsewhere would think itself alone, and remove the write-ahead log that is in use.
    """
    path = tmp_path / "coe.db"
    with ExitStack() as stack:
        both = [stack.enter_context(closing(connect(path))) for _ in range(2)]
        both[0].execute("CREATE TABLE kept (whose)")
        for _ in range(2):
            meanwhile(path)
            subprocess.run([sys.executable, "-c", ANOTHER_PROCESS, str(path)], check=True)
            both[0].execute("INSERT INTO kept VALUES ('ours')")
        kept = [("theirs",), ("ours",), ("theirs",), ("ours",)]
        assert both[1].execute("SELECT whose FROM kept").fetchall() == kept
    assert path.stat().st_mode & 0o777 == 0o600


def test_kept_copy_has_the_damaged_bytes(tmp_path: Path) -> None:
    path = tmp_path / "coe.db"
    with closing(connect(path)) as connection:
        connection.execute("CREATE TABLE kept (text)")
        connection.execute("INSERT INTO kept VALUES ('what is written')")
    path.write_bytes(path.read_bytes().replace(b"is written", b"is wri\xfften"))
    SqliteFile(path).keep_copy("now")
    copy = tmp_path / "coe.db.now.damaged"
    assert b"what is wri\xfften" in copy.read_bytes()
    assert copy.stat().st_mode & 0o777 == 0o600


def test_message_that_quotes_damaged_bytes_is_the_database_s(tmp_path: Path) -> None:
    path = tmp_path / "coe.db"
    with closing(connect(path)) as connection:
        connection.execute("CREATE TABLE kept (text PRIMARY KEY)")
    index = b"sqlite_autoindex_kept"
    path.write_bytes(path.read_bytes().replace(index, index[:-1] + b"\xff"))
    with closing(connect(path, writable=False)) as connection, pytest.raises(raised()):
        connection.execute("SELECT text FROM kept")
    assert SqliteFile(path).set_aside_unless_sound() is not None
    assert not path.exists()
