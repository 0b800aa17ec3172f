"""History from and for other systems: nothing lost, nothing made up, nothing twice."""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click import Command, Context
from click.testing import CliRunner, Result
from coe_records.audit import audit
from coe_records.command import records_command
from coe_records.folder import DataFolder
from coe_records.formats import read
from coe_records.importing import BATCH_LINES
from coe_records.log import Log
from coe_records.rebuild import rebuild
from coe_records.settings import Settings
from coe_records.writer import Draft, Writer
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from coe_core.cli import Frame
from coe_core.cli.program import run
from coe_core.codec import decode, encode, structure, unstructure
from coe_core.error import InvalidField, RecordDamaged, StartRefused
from coe_core.message import Message, assistant, user
from coe_core.model import Usage
from coe_core.record import Feedback, Interaction
from coe_core.settings import Secret
from coe_core.testing.clock import EPOCH
from coe_core.testing.strategies import conversations

Lose = Callable[[DataFolder], None]
Open = Callable[..., Writer]
MakeTurn = Callable[..., Interaction]
Tables = Callable[[DataFolder], dict[str, list[Any]]]

ASKED = {"role": "user", "content": "서울의 날씨는?"}
ANSWER = {"role": "assistant", "content": "Mild."}
MORE = {"role": "user", "content": "And tomorrow?"}
LAST = {"role": "assistant", "content": "Rain."}

LITELLM = {
    "request_id": "chatcmpl-1",
    "call_type": "acompletion",
    "spend": 0.00125,
    "prompt_tokens": 12,
    "completion_tokens": 3,
    "startTime": "2026-10-01T09:00:00.000Z",
    "endTime": "2026-10-01T09:00:02.500Z",
    "model": "gpt-4o-mini",
    "model_group": "small",
    "custom_llm_provider": "openai",
    "session_id": "s1",
    "end_user": "kim",
    "status": "success",
    "messages": [ASKED],
    "response": {"choices": [{"message": ANSWER | {"tool_calls": None}}]},
}
OPENAI_DETAILS = {
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
LANGFUSE = {
    "id": "o1",
    "traceId": "t1",
    "type": "GENERATION",
    "startTime": "2026-10-01T09:00:00.000Z",
    "endTime": "2026-10-01T09:00:02.500Z",
    "model": "gpt-4o-mini",
    "input": json.dumps([ASKED]),
    "output": json.dumps(ANSWER),
    "usageDetails": {"input": 8, "input_cached_tokens": 4, "output": 3, "total": 15},
    "costDetails": {"input": 0.001, "output": 0.00025, "total": 0.00125},
}


def coe_records(folder: DataFolder, *arguments: str) -> Result:
    server = Secret(f"file:{folder.path}.server") if folder.server else None
    frame = Frame(given_data_dir=folder.path)
    return CliRunner().invoke(
        records_command(Settings(database=server)),
        arguments,
        parent=Context(Command("coe"), obj=frame),
    )


def write(folder: DataFolder, *lines: Any) -> Path:
    path = folder.path / "history.jsonl"
    texts = [line if isinstance(line, bytes) else encode(line) for line in lines]
    path.write_bytes(b"\n".join(texts))
    return path


def take(folder: DataFolder, *lines: Any, group: str = "research") -> dict[str, Any]:
    path = write(folder, *lines)
    result = coe_records(folder, "import", str(path), "--group", group, "--json")
    assert result.exit_code in (0, 1), result.exception
    return dict(json.loads(result.stdout))


def exported(folder: DataFolder, *arguments: str) -> list[Any]:
    result = coe_records(folder, "export", "-", *arguments)
    assert result.exit_code == 0, result.exception
    return [json.loads(line) for line in result.stdout.split("\n")[:-1]]


def turns(folder: DataFolder) -> list[Interaction]:
    log = Log(folder.events)
    entries = [entry for path in log.segments() for entry in log.entries(path)]
    return [structure(decode(e.line.body), Interaction) for e in entries if e.line]


def in_order(lines: Sequence[Any]) -> list[bytes]:
    return sorted(encode(line["messages"]) for line in lines)


class TestRoundTrip:
    def test_gives_the_same_conversations(
        self, folder: DataFolder, tables: Tables, lose_database: Lose
    ) -> None:
        lines = [
            {"messages": [ASKED, ANSWER, MORE, LAST], "session_id": "s1"},
            {"messages": [ASKED, ANSWER], "metadata": {"tag": "x"}, "split": "train"},
            {"messages": [{"role": "system", "content": "Be brief."}, ASKED]},
            {"messages": [ASKED, LAST], "started_at": "2026-10-01T09:00:00Z", "model": "small"},
        ]
        assert take(folder, *lines)["turns"] == 5
        assert audit(folder).faults == ()
        before = tables(folder)
        lose_database(folder)
        rebuild(folder)
        assert tables(folder) == before
        back = exported(folder)
        assert in_order(back) == in_order(lines)
        (tagged,) = (line for line in back if "metadata" in line)
        assert tagged["metadata"] == {"tag": "x", "split": "train"}
        (dated,) = (line for line in back if "started_at" in line)
        assert (dated["started_at"], dated["model"]) == ("2026-10-01T09:00:00.000000Z", "small")

    def test_goes_on_in_another_segment_where_the_settings_say(
        self, folder: DataFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COE_PLUGINS__RECORDS__SEGMENT_BYTES", "1")
        path = write(folder, *({"messages": [user(f"{n}")]} for n in range(2 * BATCH_LINES)))
        command = ["records", "import", str(path), "--group", "g", "--data", str(folder.path)]
        assert run(command) == 0
        assert len(Log(folder.events).segments()) == 2

    def test_takes_its_own_lines_for_known(self, folder: DataFolder) -> None:
        take(folder, {"messages": [ASKED, ANSWER, MORE, LAST]})
        result = take(folder, *exported(folder))
        assert (result["turns"], result["known"]) == (0, 2)

    def test_takes_the_calls_of_a_conversation_for_known(self, folder: DataFolder) -> None:
        more = {"request_id": "r2", "messages": [ASKED, ANSWER, MORE], "response": LAST}
        take(folder, LITELLM, LITELLM | more)
        result = take(folder, *exported(folder))
        assert (result["turns"], result["known"]) == (0, 2)

    @settings(max_examples=15, deadline=None, phases=[Phase.generate])
    @given(said=st.lists(conversations(), min_size=1, max_size=3))
    def test_of_any_conversations(self, new_folder: Callable[[], DataFolder], said: Any) -> None:
        folder = new_folder()
        lines = {encode(unstructure(messages)): messages for messages in said if messages}
        taken = take(folder, *({"messages": unstructure(each)} for each in lines.values()))
        assert taken["rejected"] == 0
        assert in_order(exported(folder)) == sorted(lines)
        assert audit(folder).faults == ()


class TestRoundTripOfServedTurns:
    @pytest.fixture
    def served(self, folder: DataFolder, open_writer: Open, make_turn: MakeTurn) -> Interaction:
        """Return the last turn of a conversation in which a tool was called; another forks."""
        call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        asks = structure({"role": "assistant", "tool_calls": [call]}, Message)
        told = structure({"role": "tool", "tool_call_id": "c1", "content": "Rain."}, Message)
        first = make_turn(0, exchange=(asks, told))
        last, fork = (make_turn(n, follows=first.id, session=f"s{n}") for n in (1, 2))
        with closing(open_writer(folder)) as writer:
            writer.commit([Draft.of(turn) for turn in (first, last, fork)])
        return last

    @pytest.mark.usefixtures("served")
    def test_changes_nothing(self, folder: DataFolder, tables: Tables) -> None:
        before, lines = tables(folder), exported(folder)
        result = take(folder, *lines)
        assert (result["turns"], result["known"], result["rejected"]) == (0, 4, 0)
        assert tables(folder) == before

    def test_changes_nothing_where_the_conversation_has_gone_on(
        self, folder: DataFolder, served: Interaction, open_writer: Open, make_turn: MakeTurn
    ) -> None:
        lines = exported(folder)
        with closing(open_writer(folder)) as writer:
            writer.commit([Draft.of(make_turn(3, follows=served.id, session=served.session))])
        assert take(folder, *lines)["turns"] == 0

    @pytest.mark.usefixtures("served")
    def test_goes_to_another_group_and_another_folder(
        self, folder: DataFolder, new_folder: Callable[[], DataFolder]
    ) -> None:
        lines = exported(folder)
        there = new_folder()
        for target, group in ((folder, "support"), (there, "research")):
            counts = [take(target, *lines, group=group)["turns"] for _ in range(2)]
            assert counts == [6, 0]  # One for each answer, in each session.
            back = exported(target, "--group", group)
            assert in_order(back) == in_order(lines)
            assert not any("metadata" in line for line in back)

    def test_trusts_no_id(self, folder: DataFolder, served: Interaction) -> None:
        """It could hide a line, or stand for a turn of others."""
        (line,) = (each for each in exported(folder) if each["coe_turn_id"] == served.id)
        forged = [
            line | {"messages": [*line["messages"][:-1], LAST]},
            line | {"messages": [*line["messages"], LAST]},
            line | {"session_id": "another"},
            line | {"coe_turn_id": f"{served.id}\0", "session_id": "a third"},
            line | {"coe_turn_id": served.root_id[:-1], "session_id": "a third"},
            line | {"coe_turn_id": [served.id], "session_id": "a fourth"},
        ]
        assert [take(folder, each)["turns"] > 0 for each in forged] == [
            *[True] * 4,
            False,  # As the one before, but for an id that says nothing.
            True,
        ]
        assert take(folder, line, group="support")["turns"] > 0
        ids = [turn.id for turn in turns(folder)]
        assert len(ids) == len({*ids})
        assert audit(folder).faults == ()


class TestImport:
    def test_is_idempotent(self, folder: DataFolder) -> None:
        lines = [{"messages": [ASKED, ANSWER]}, {"messages": [ASKED, LAST]}]
        assert take(folder, *lines)["turns"] == 2
        again = take(folder, *lines, {"messages": [MORE, LAST]})
        assert (again["turns"], again["known"]) == (1, 2)
        assert len(turns(folder)) == 3

    def test_of_two_groups_gives_each_its_own(self, folder: DataFolder) -> None:
        line = {"messages": [ASKED, ANSWER], "session_id": "s1"}
        for group in ("research", "support"):
            assert take(folder, line, group=group)["turns"] == 1
        assert len(exported(folder)) == 2
        assert [each["group"] for each in exported(folder, "--group", "support")] == ["support"]

    def test_sets_bad_lines_aside_with_number_and_reason(self, folder: DataFolder) -> None:
        bad = {
            2: (b'{"messages": [', "JSON"),
            3: (b'["messages"]', "object"),
            5: ({"messages": []}, "no messages"),
            6: ({"messages": [{"role": "nobody", "content": "x"}]}, "role"),
            7: ({"question": "x"}, "no known format"),
            8: (b'{"messages": [{"role": "user", "content": "\xff"}]}', "JSON"),
            9: ({"messages": [ASKED], "usage": {"prompt_tokens": 10**20}}, "recorded"),
            10: ({"messages": [ASKED], "usage": {"prompt_tokens": -1}}, "number of tokens"),
            11: ({"messages": [ASKED], "cost_usd": "1e400"}, "cost"),
            12: ({"messages": [ASKED], "cost_usd": -1}, "cost"),
            13: ({"messages": [ASKED], "started_at": True}, "no time"),
            14: ({"id": "t1", "observations": [LANGFUSE]}, "trace"),
        }
        good = {1: {"messages": [ASKED, ANSWER]}, 4: {"messages": [MORE, LAST]}}
        lines = {n: line for n, (line, _) in bad.items()} | good
        result = take(folder, *(lines[n] for n in sorted(lines)))
        assert (result["turns"], result["rejected"]) == (2, len(bad))
        rejects = [json.loads(line) for line in Path(result["rejects"]).read_text().splitlines()]
        assert sorted(r["line"] for r in rejects) == list(bad)
        for reject in rejects:
            line, reason = bad[reject["line"]]
            assert reason in reject["reason"]
            if not isinstance(line, bytes):
                assert json.loads(reject["text"]) == line
        assert in_order(exported(folder)) == in_order(list(good.values()))

    def test_leaves_no_old_rejects_behind(self, folder: DataFolder) -> None:
        rejects = Path(take(folder, b"{")["rejects"])
        assert take(folder, {"messages": [ASKED, ANSWER]})["rejected"] == 0
        assert not rejects.exists()

    def test_of_an_array_says_how_to_make_lines_of_it(self, folder: DataFolder) -> None:
        path = write(folder, [{"messages": [ASKED]}])
        result = coe_records(folder, "import", str(path), "--group", "research")
        assert isinstance(result.exception, InvalidField)
        assert "jq" in str(result.exception)

    def test_reads_past_the_mark_that_windows_puts_before_utf_8(self, folder: DataFolder) -> None:
        marked = b"\xef\xbb\xbf" + encode({"messages": [ASKED, ANSWER]})
        assert take(folder, marked)["turns"] == 1
        path = write(folder, [{"messages": [ASKED]}])
        path.write_text('{"messages": []}', encoding="utf-16")
        result = coe_records(folder, "import", str(path), "--group", "research")
        assert isinstance(result.exception, InvalidField)
        assert "iconv" in str(result.exception)

    def test_is_for_a_group_with_a_name(self, folder: DataFolder) -> None:
        path = write(folder, {"messages": [ASKED]})
        result = coe_records(folder, "import", str(path), "--group", "")
        assert isinstance(result.exception, InvalidField)

    def test_takes_numbers_for_names(self, folder: DataFolder) -> None:
        both = [{"id": n, "session_id": 7, "messages": [ASKED, ANSWER]} for n in (1, 2)]
        assert take(folder, *both)["turns"] == 2
        assert in_order(exported(folder)) == in_order(
            [line | {"id": str(line["id"]), "session_id": "7"} for line in both]
        )

    def test_tells_of_its_export_whose_it_becomes(
        self, folder: DataFolder, new_folder: Callable[[], DataFolder]
    ) -> None:
        take(folder, {"messages": [ASKED, ANSWER], "metadata": {"group": "vip"}})
        there = new_folder()
        take(there, *exported(folder), group="support")
        (line,) = exported(there)
        assert (line["group"], line["metadata"]) == ("support", {"group": "vip"})

    def test_makes_nothing_up(self, folder: DataFolder) -> None:
        take(folder, {"messages": [ASKED, ANSWER]}, {"messages": [MORE]})
        answered, unanswered = turns(folder)
        assert answered.attempts == unanswered.attempts == ()
        assert answered.provenance is not None
        assert answered.provenance.at is None
        assert answered.outcome.status == "success"
        assert unanswered.outcome.status == "cancelled"


class TestCalls:
    @pytest.mark.parametrize(
        ("row", "form"), [(LITELLM, "litellm"), (LANGFUSE, "langfuse")], ids=["litellm", "langfuse"]
    )
    def test_keep_what_they_used_and_cost(self, folder: DataFolder, row: Any, form: str) -> None:
        assert take(folder, row)["turns"] == 1
        (turn,) = turns(folder)
        assert turn.provenance is not None
        assert turn.provenance.format == form
        assert [m.content for m in turn.messages] == ["서울의 날씨는?", "Mild."]
        (attempt,) = turn.attempts
        assert attempt.cost_usd == Decimal("0.00125")
        cached = 4 if form == "langfuse" else 0
        assert attempt.usage == Usage(input_tokens=12, output_tokens=3, cached_input_tokens=cached)
        assert (attempt.name, attempt.duration_s) == ("gpt-4o-mini", 2.5)
        assert turn.started_at.isoformat() == "2026-10-01T09:00:00+00:00"
        (line,) = exported(folder)
        assert (line["cost_usd"], line["usage"]["prompt_tokens"]) == ("0.00125", 12)

    @pytest.mark.parametrize(
        ("row", "usage"),
        [
            (LITELLM | {"metadata": {"additional_usage_values": OPENAI_DETAILS}}, (12, 3, 4, 2)),
            (
                LITELLM
                | {"metadata": '{"additional_usage_values": {"cache_read_input_tokens": 4}}'},
                (12, 3, 4, 0),
            ),
            (
                LANGFUSE
                | {
                    "usageDetails": {
                        "input": "8",
                        "cache_read_input_tokens": "4",
                        "cache_creation_input_tokens": "1",
                        "output": "3",
                    }
                },
                (13, 3, 4, 0),
            ),
            (
                LANGFUSE
                | {"usageDetails": {"prompt_tokens": 12, "completion_tokens": 3} | OPENAI_DETAILS},
                (12, 3, 4, 2),
            ),
            (
                LANGFUSE
                | {"usageDetails": {}, "usage": {"input": 12, "output": 3, "inputCost": 0.5}},
                (12, 3, 0, 0),
            ),
        ],
    )
    def test_count_what_was_cached_once(
        self, folder: DataFolder, row: Any, usage: tuple[int, ...]
    ) -> None:
        assert take(folder, row)["turns"] == 1
        ((attempt,),) = [turn.attempts for turn in turns(folder)]
        assert attempt.usage == Usage(
            input_tokens=usage[0],
            output_tokens=usage[1],
            cached_input_tokens=usage[2],
            reasoning_tokens=usage[3],
        )

    def test_have_no_usage_where_langfuse_had_none(self) -> None:
        older = {"usageDetails": None, "usage": {"input": 0, "output": 0}, "costDetails": None}
        assert read(encode(LANGFUSE | older)).call is None

    def test_keep_a_user_whose_name_looks_like_json(self) -> None:
        assert read(encode(LANGFUSE | {"userId": '{"device": 1}'})).user == '{"device": 1}'

    @pytest.mark.parametrize("row", [LITELLM, LANGFUSE], ids=["litellm", "langfuse"])
    def test_go_on_with_their_conversation(self, folder: DataFolder, row: Any) -> None:
        ids = {"request_id": "r2"} if "request_id" in row else {"id": "o2"}
        asked = {"messages" if "request_id" in row else "input": [ASKED, ANSWER, MORE]}
        answer = {"response" if "request_id" in row else "output": LAST}
        take(folder, row, row | ids | asked | answer)
        first, second = turns(folder)
        assert (second.follows, second.session) == (first.id, first.session)
        assert [m.content for m in second.new_messages] == [MORE["content"]]
        (line,) = exported(folder)
        assert [m["content"] for m in line["messages"]] == [
            each["content"] for each in (ASKED, ANSWER, MORE, LAST)
        ]

    def test_without_what_came_before_are_whole(self, folder: DataFolder) -> None:
        take(folder, LITELLM | {"messages": [ASKED, ANSWER, MORE], "response": "Rain."})
        (turn,) = turns(folder)
        assert len(turn.new_messages) == 3
        assert turn.follows is None

    def test_failed_ones_are_failures(self, folder: DataFolder) -> None:
        take(folder, LITELLM | {"status": "failure"}, LANGFUSE | {"level": "ERROR"})
        assert {turn.outcome.status for turn in turns(folder)} == {"failed"}

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            (LITELLM | {"messages": {}, "proxy_server_request": {}}, "store_prompts"),
            (LITELLM | {"call_type": "aembedding"}, "aembedding"),
            (LANGFUSE | {"type": "SPAN"}, "SPAN"),
            (LANGFUSE | {"input": None}, "no messages"),
            (LANGFUSE | {"startTime": "yesterday"}, "yesterday"),
            (LITELLM | {"spend": "much"}, "decimal"),
        ],
    )
    def test_that_cannot_be_read_say_why(self, folder: DataFolder, row: Any, reason: str) -> None:
        result = take(folder, row)
        assert (result["turns"], result["rejected"]) == (0, 1)
        assert reason in Path(result["rejects"]).read_text()

    def test_of_the_export_to_blob_storage_read_alike(self) -> None:
        snake = {
            "".join(f"_{c.lower()}" if c.isupper() else c for c in name): value
            for name, value in LANGFUSE.items()
        } | {"start_time": "2026-10-01 09:00:00.000000", "provided_model_name": "gpt-4o-mini"}
        assert read(encode(snake)) == read(encode(LANGFUSE))


class TestExport:
    def test_gives_the_log_s_own_lines(
        self, folder: DataFolder, open_writer: Open, make_turn: MakeTurn
    ) -> None:
        made = [make_turn(n, group=group) for n, group in enumerate(["research", "support"] * 2)]
        said = Feedback(
            id="f1", turn_id=made[0].id, group="research", rating=1, actor="k", at=EPOCH
        )
        writer = open_writer(folder)
        writer.commit([Draft.of(record) for record in (*made, said)])
        writer.close()
        lines = exported(folder, "--format", "envelope", "--group", "research")
        assert [line["body"]["id"] for line in lines] == [made[0].id, made[2].id, "f1"]
        raw = (folder.events / "2026-11-01/interactions.jsonl").read_bytes()
        path = folder.path / "out.jsonl"
        coe_records(folder, "export", str(path), "--format", "envelope")
        assert sorted(path.read_bytes().splitlines()) == sorted(raw.splitlines())

    def test_says_what_was_written(
        self, folder: DataFolder, open_writer: Open, make_turn: MakeTurn
    ) -> None:
        writer = open_writer(folder)
        writer.commit([Draft.of(make_turn(n)) for n in range(3)])
        writer.close()
        path = folder.path / "out.jsonl"
        told = json.loads(coe_records(folder, "export", str(path), "--json").stdout)
        assert told == {"path": str(path), "lines": 3, "size_bytes": path.stat().st_size}
        assert len(path.read_text().splitlines()) == 3
        refused = coe_records(folder, "export", "-", "--json")
        assert isinstance(refused.exception, InvalidField)
        assert refused.stdout == ""

    @pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
    def test_that_fails_leaves_the_file_that_was_there(
        self, folder: DataFolder, open_writer: Open, make_turn: MakeTurn
    ) -> None:
        writer = open_writer(folder)
        writer.commit([Draft.of(make_turn(n)) for n in range(3)])
        writer.close()
        path = folder.path / "out.jsonl"
        coe_records(folder, "export", str(path))
        before = path.read_bytes()
        segment = folder.events / "2026-11-01/interactions.jsonl"
        segment.write_bytes(segment.read_bytes().replace(b"answer 2", b"answer 7"))
        result = coe_records(folder, "export", str(path))
        assert isinstance(result.exception, RecordDamaged)
        assert path.read_bytes() == before
        assert not path.with_name("out.jsonl.part").exists()

    @pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
    def test_of_what_is_no_database_says_what_to_do(
        self, folder: DataFolder, open_writer: Open
    ) -> None:
        open_writer(folder).close()
        folder.database.write_bytes(b"no database" * 1000)
        result = coe_records(folder, "export", "-")
        assert isinstance(result.exception, StartRefused)
        assert "rebuild" in str(result.exception)

    def test_goes_to_what_is_no_file(
        self, folder: DataFolder, open_writer: Open, make_turn: MakeTurn
    ) -> None:
        writer = open_writer(folder)
        writer.commit([Draft.of(make_turn())])
        writer.close()
        read, write = os.pipe()
        try:
            assert coe_records(folder, "export", f"/dev/fd/{write}").exit_code == 0
            assert os.read(read, 1 << 16).count(b"\n") == 1
        finally:
            os.close(read)
            os.close(write)

    def test_keeps_to_its_window(
        self, folder: DataFolder, open_writer: Open, make_turn: MakeTurn
    ) -> None:
        writer = open_writer(folder)
        made = [
            make_turn(n, started_at=EPOCH.replace(day=n + 1), answer=(assistant(f"{n}"),))
            for n in range(4)
        ]
        writer.commit([Draft.of(turn) for turn in made])
        writer.close()
        window = ("--since", "2026-11-02", "--until", "2026-11-04T09:00:00")
        kept = [line["messages"][-1]["content"] for line in exported(folder, *window)]
        assert kept == [str(n) for n in range(4) if n in (1, 2)]

    def test_gives_each_fork_whole(
        self, folder: DataFolder, open_writer: Open, make_turn: MakeTurn
    ) -> None:
        first = make_turn(0)
        forks = [
            make_turn(n, follows=first.id, new_messages=(user(f"q{n}"),), answer=(assistant("a"),))
            for n in (1, 2)
        ]
        writer = open_writer(folder)
        writer.commit([Draft.of(turn) for turn in (first, *forks)])
        writer.close()
        lines = exported(folder)
        assert [[m["content"] for m in line["messages"]][2] for line in lines] == ["q1", "q2"]
        assert all(len(line["messages"]) == 4 for line in lines)
