"""Adding documents: what is cut, what is kept when it is added again, and what is recorded."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from coe_knowledge.block import Block, Unreadable
from coe_knowledge.cut import cut
from coe_knowledge.library import Library, Upload
from coe_knowledge.sentence import detected_language, sentences
from hypothesis import given
from hypothesis import strategies as st

from coe_core import Application, Document, RecordReader
from coe_core.caller import estimate_tokens
from coe_core.cli.program import run
from coe_core.codec import decode
from coe_core.error import InvalidField
from coe_core.record import StateChange
from coe_core.testing.clock import EPOCH
from coe_core.testing.strategies import korean, texts
from coe_core.turn import Place

from .conftest import Open, library_of

LAW = "group:law"


def upload(content: str | bytes, source: str = "a.md", layer: str = LAW) -> Upload:
    written = content.encode() if isinstance(content, str) else content
    return Upload(layer=layer, source=source, content=written)


async def passages(library: Library, id_: str) -> list[tuple[str, str]]:
    found = await library.store.neighbours([LAW], id_, 0, 10**6)
    return [(passage.id, passage.text) for passage in found]


async def test_same_bytes_again_change_nothing(library: Library) -> None:
    first = await library.add(upload("one\n\ntwo"), "kim")
    cursor = [changes.cursor async for changes in library.store.follow()][-1]
    again = await library.add(upload("one\n\ntwo"), "lee")
    assert (first.outcome, again.outcome, again.id) == ("added", "unchanged", first.id)
    assert [changes async for changes in library.store.follow(cursor)] == []
    (item,) = await library.store.items([LAW])
    assert isinstance(item, Document)
    assert item.added_by == "kim"


async def test_other_bytes_take_the_place_and_the_rest_stays(library: Library) -> None:
    first = await library.add(upload("# A\nstays\n# B\ngoes\n# C\nstays too"), "kim")
    before = await passages(library, first.id)
    cursor = [changes.cursor async for changes in library.store.follow()][-1]
    changed = await library.add(upload("# A\nstays\n# B\ncomes\n# C\nstays too"), "kim")
    after = await passages(library, first.id)
    assert changed.outcome == "changed"
    assert [after[0], after[2]] == [before[0], before[2]]
    (changes,) = [each async for each in library.store.follow(cursor)]
    assert ([p.id for p in changes.put], changes.removed) == ([after[1][0]], (before[1][0],))


async def test_passages_are_cut_anew_when_they_shall_be_shorter(
    application: Application, library: Library
) -> None:
    text = "A first sentence is here. A second one is there. " * 12
    first = await library.add(upload(text), "kim")
    shorter = library_of(application, passage_tokens=32)
    assert (await shorter.add(upload(text), "kim")).outcome == "unchanged"
    assert (await shorter.add(upload(text), "kim", again=True)).passages > first.passages


async def test_change_is_recorded_without_the_text(
    application: Application, library: Library
) -> None:
    added = await library.add(upload("a secret text"), "kim")
    await library.remove(LAW, added.id, "lee")
    stretches = [s async for s in application.need(RecordReader).follow()]
    changes = [r for s in stretches for r in s.records if isinstance(r, StateChange)]
    told = [(c.key, c.actor, c.value is None) for c in changes]
    key = f"knowledge/{LAW}/{added.id}"
    assert told == [(key, "kim", False), (key, "lee", True)]
    assert "secret" not in str(changes)


@pytest.mark.parametrize("layer", ["", "law", "group:", "everybody", "Global"])
async def test_what_is_no_layer_is_refused(library: Library, layer: str) -> None:
    with pytest.raises(InvalidField, match="is no layer"):
        await library.add(upload("x", layer=layer), "kim")


async def test_macos_and_linux_name_one_source_alike(library: Library) -> None:
    first = await library.add(upload("x", source="휴가.md"), "kim")
    again = await library.add(upload("x", source="\u1112\u1172\u1100\u1161.md"), "kim")
    assert (again.id, again.outcome) == (first.id, "unchanged")


async def test_large_file_is_refused(opened: Open) -> None:
    async with opened() as application:
        library = library_of(application, largest_mb=1)
        with pytest.raises(Unreadable, match="a.md has 2 MB, of 1 at most: split it, or raise"):
            await library.add(upload(b"x" * 2 * 1024 * 1024), "kim")


DOCUMENT = Document(
    id="doc",
    layer=LAW,
    source="a.md",
    title="A",
    media_type="text/plain",
    sha256="0" * 64,
    size_bytes=1,
    added_at=EPOCH,
)
BLOCKS = st.lists(
    st.builds(
        Block,
        text=st.one_of(texts(), korean(), st.text("가나다. !\n", max_size=200)).filter(str.strip),
        place=st.builds(
            Place, headings=st.sampled_from([("A",), ("A", "B")]), page=st.sampled_from([1, 2])
        ),
    ),
    max_size=8,
)


@given(blocks=BLOCKS, limit=st.integers(16, 60))
def test_cutting_loses_no_letter_and_keeps_the_limit(blocks: list[Block], limit: int) -> None:
    passages = cut(DOCUMENT, blocks, limit_tokens=limit)

    def letters(parts: list[str]) -> str:
        return "".join("".join(parts).split())

    assert letters([p.text for p in passages]) == letters([b.text for b in blocks])
    assert all(estimate_tokens(passage.text) <= limit for passage in passages)
    assert all(passage.text.strip() for passage in passages)
    assert [passage.position for passage in passages] == list(range(len(passages)))
    assert len({passage.id for passage in passages}) == len(passages)
    assert {p.place.headings for p in passages} == {b.place.headings for b in blocks}


def test_lines_of_a_long_paragraph_are_told() -> None:
    text = "\n".join(f"line {n} has some words in it" for n in range(1, 21))
    block = Block(text=text, place=Place(first_line=1, last_line=20))
    for passage in cut(DOCUMENT, [block], limit_tokens=40):
        first, last = passage.place.first_line, passage.place.last_line
        assert first is not None
        assert last is not None
        assert passage.text == "\n".join(text.split("\n")[first - 1 : last])


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("연차는 15일입니다. 반차는 오전과 오후로 나눕니다.", 2),
        ("환불은 3.5일 걸립니다. 정말인가요? 네!", 3),
        ('그는 "좋습니다." 라고 했습니다. 끝.', 3),
        ("- 신청서 작성\n- 팀장 승인\n- 제출", 3),
        ("Dr. Kim signs. See No. 3, e.g. the form. Done.", 3),
        ("출발。도착！ 정말？ 네", 3),
    ],
)
def test_sentences_end_where_a_reader_would_say(text: str, count: int) -> None:
    found = sentences(text)
    assert "".join(found) == text
    assert len(found) == count, found


@given(texts())
def test_sentences_are_the_text(text: str) -> None:
    assert "".join(sentences(text)) == text


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("연차는 15일입니다.", "ko"),
        ("API key는 DB에 저장", "ko"),
        ("Leave", "en"),
        ("42", ""),
    ],
)
def test_language_is_told_by_its_letters(text: str, language: str) -> None:
    assert detected_language(text) == language


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    docs = tmp_path / "docs"
    (docs / "sub").mkdir(parents=True)
    (docs / "leave.md").write_text("# 휴가\n연차는 15일입니다.", "utf-8")
    (docs / "sub" / "old.txt").write_bytes("환불은 사흘 걸립니다.".encode("cp949"))
    (docs / "broken.pdf").write_bytes(b"%PDF-1.7 rubbish")
    (docs / ".hidden.md").write_text("hidden")
    (docs / "picture.png").write_bytes(b"\x89PNG")
    return docs


def test_command_adds_a_folder_and_names_what_it_cannot_read(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["knowledge", "add", "docs", "--group", "law"]) == 1
    told = capsys.readouterr()
    assert told.out == "2 added, 0 changed, 0 unchanged, 1 failed; 2 passages\n"
    assert "error: docs/broken.pdf is a broken PDF" in told.err
    assert run(["knowledge", "add", "docs/**/*.txt", "--group", "law", "--json"]) == 0
    again = decode(capsys.readouterr().out)
    assert [(d["source"], d["outcome"]) for d in again["documents"]] == [
        ("docs/sub/old.txt", "unchanged")
    ]
    assert run(["knowledge", "list", "--group", "law", "--json"]) == 0
    listed = {item["source"]: item for item in decode(capsys.readouterr().out)}
    assert listed["docs/leave.md"]["title"] == "휴가"
    assert run(["knowledge", "list", "--group", "sales"]) == 0
    assert capsys.readouterr().out == ""
    id_ = listed["docs/leave.md"]["id"]
    assert run(["knowledge", "show", id_, "--group", "law"]) == 0
    assert "휴가, lines 1-2\n# 휴가\n연차는 15일입니다." in capsys.readouterr().out
    assert run(["knowledge", "remove", id_, "--group", "sales"]) == 1
    assert run(["knowledge", "remove", id_, "--layer", "group:law"]) == 0
    assert run(["knowledge", "show", id_, "--group", "law"]) == 1
    card = ["knowledge", "add", "--card", "fact", "--text", "Open from 8.", "--layer", "global"]
    assert run(card) == 0
    assert "added card_" in capsys.readouterr().out


def test_command_refuses_what_is_too_large_or_not_there_unread(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (folder / "huge.pdf").open("wb") as file:
        file.truncate(200 * 1024 * 1024)
    (folder / "broken.pdf").unlink()
    assert run(["knowledge", "add", "docs"]) == 1
    told = capsys.readouterr()
    assert told.out == "2 added, 0 changed, 0 unchanged, 1 failed; 2 passages\n"
    assert "error: docs/huge.pdf has 200 MB, of 50 at most: split it, or raise" in told.err
    assert run(["knowledge", "add", "nowhere/*.md"]) == 2
    assert "There is no nowhere/*.md." in capsys.readouterr().err


@pytest.mark.parametrize("what", [["search", "leave"], ["reindex"]])
def test_command_says_what_to_install_where_nothing_searches(
    what: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder.parent / "coe.toml").write_text("[plugins.retrieval]\nenabled = false\n")
    assert run(["knowledge", *what]) == 1
    assert "install coe-retrieval" in capsys.readouterr().err


ADDING = """
import sys
from coe_core.cli.program import run
sys.exit(run(["knowledge", "add", "docs"]))
"""


def test_killed_while_adding_what_was_acknowledged_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    for number in range(80):
        text = "\n\n".join(f"# Part {part}\nof {number}" for part in range(5))
        (tmp_path / "docs" / f"{number}.md").write_text(text)
    child = subprocess.Popen([sys.executable, "-c", ADDING], stderr=subprocess.DEVNULL)
    database = tmp_path / "coe-data" / "plugins.db"
    try:
        while not (database.exists() and _count(database)):
            assert child.poll() is None
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    held = _count(database)
    assert held > 0
    assert run(["knowledge", "list", "--json"]) == 0
    kept = decode(capsys.readouterr().out)
    assert len(kept) >= held
    assert run(["knowledge", "add", "docs"]) == 0
    assert f"{len(kept)} unchanged, 0 failed; 400 passages" in capsys.readouterr().out


def _count(database: Path) -> int:
    import sqlite3
    from contextlib import closing

    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM knowledge_items").fetchone()
    except sqlite3.OperationalError:
        return 0
    return int(count)
