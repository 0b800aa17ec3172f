"""Feedback: over HTTP, on the command line, in the log and in the tables."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from attrs import define, evolve, field
from click.testing import CliRunner, Result
from coe_records import feedback
from coe_records.audit import audit
from coe_records.folder import DataFolder
from coe_records.plugin import RecordsPlugin
from coe_records.rebuild import rebuild
from coe_records.writer import Draft, Writer

from coe_core import hookimpl
from coe_core.access import LOCAL, GroupName, Principal
from coe_core.cli import Frame
from coe_core.codec import decode, encode, structure
from coe_core.error import InvalidField, NotFound, StartRefused
from coe_core.host import Host
from coe_core.http import HttpRequest
from coe_core.record import Feedback, Interaction, Record
from coe_core.service import Journal
from coe_core.testing import deployment
from coe_core.testing.clock import EPOCH

Lose = Callable[[DataFolder], None]
Open = Callable[..., Writer]
MakeTurn = Callable[..., Interaction]
Tables = Callable[[DataFolder], dict[str, list[Any]]]

EXTRA = """
    INSERT INTO feedback
    SELECT 'f3', turn_id, group_name, rating, label, route, content, actor, at, segment,
        offset_bytes, length_bytes, sha256
    FROM feedback WHERE id = 'f1'
"""

MEMBER = Principal(group=GroupName("research"), key_id="k1")


@define
class KeepingSink:
    name: str = "keeping"
    kept: list[Record] = field(factory=list)

    async def receive(self, record: Record) -> None:
        self.kept.append(record)


SINK = KeepingSink()


class SinkPlugin:
    @hookimpl
    def coe_event_sinks(self, ctx: Any) -> Any:
        return [SINK]


def settings(folder: DataFolder) -> str:
    return f'[plugins.records]\ndatabase = "file:{folder.path}.server"\n' if folder.server else ""


@pytest.fixture
async def host(folder: DataFolder) -> AsyncIterator[Host]:
    plugins = {"records": RecordsPlugin, "sink": SinkPlugin}
    SINK.kept.clear()
    async with deployment(settings(folder), plugins=plugins, data_dir=folder.path) as host:
        yield host


@pytest.fixture
async def turn(host: Host, make_turn: MakeTurn) -> Interaction:
    turn = make_turn()
    await host.application.need(Journal).append(turn)
    return turn


async def post(host: Host, body: Any, principal: Principal = MEMBER) -> Feedback:
    request = HttpRequest(
        method="POST",
        path=feedback.ROUTE.path,
        body=encode(body),
        principal=principal,
        application=host.application,
        request_id="r1",
    )
    response = await feedback.give_feedback(request)
    assert response.status == 201
    assert isinstance(response.body, bytes)
    return structure(decode(response.body), Feedback)


async def test_becomes_a_record_a_row_and_an_event(
    host: Host, turn: Interaction, folder: DataFolder, tables: Tables
) -> None:
    said = {"rating": -1, "label": "wrong_route", "route": "large", "text": "틀렸다"}
    given = await post(host, {"turn_id": turn.id} | said)
    known = {"id": given.id, "at": given.at, "turn_id": turn.id}
    assert given == Feedback(group="research", actor="k1", **known, **said)
    (row,) = tables(folder)["feedback"]
    assert row[:7] == (given.id, turn.id, "research", -1, "wrong_route", "large", "틀렸다")
    assert SINK.kept == [given]
    assert audit(folder).faults == ()


@pytest.mark.parametrize("prefix", ["chatcmpl-", "resp_"])
async def test_knows_a_turn_by_its_answer(host: Host, turn: Interaction, prefix: str) -> None:
    given = await post(host, {"turn_id": prefix + turn.id, "rating": 1})
    assert given.turn_id == turn.id


async def test_turn_of_another_group_is_like_one_that_never_was(
    host: Host, turn: Interaction, folder: DataFolder, tables: Tables
) -> None:
    stranger = evolve(MEMBER, group=GroupName("support"))
    with pytest.raises(NotFound) as theirs:
        await post(host, {"turn_id": turn.id, "rating": 1}, stranger)
    with pytest.raises(NotFound) as nobodys:
        await post(host, {"turn_id": "x", "rating": 1}, stranger)
    with pytest.raises(NotFound):
        await post(host, {"turn_id": "x\0", "rating": 1}, stranger)
    assert theirs.value.message.replace(turn.id, "x") == nobodys.value.message
    assert tables(folder)["feedback"] == []


@pytest.mark.parametrize(
    "said",
    [{}, {"rating": 2}, {"rating": "good"}, {"label": ""}, {"text": 1}, {"route": None}],
)
async def test_nothing_and_nonsense_are_refused(
    host: Host, turn: Interaction, said: dict[str, Any]
) -> None:
    with pytest.raises(InvalidField):
        await post(host, {"turn_id": turn.id} | said)


async def test_without_keys_it_is_the_machine_s_own(host: Host, make_turn: MakeTurn) -> None:
    turn = make_turn(group="default")
    await host.application.need(Journal).append(turn)
    assert (await post(host, {"turn_id": turn.id, "rating": 0}, LOCAL)).actor == "local"


def on(turn: Interaction, feedback_id: str = "f1") -> Feedback:
    return Feedback(
        id=feedback_id, turn_id=turn.id, group=turn.group, rating=1, actor="k1", at=EPOCH
    )


class TestOnceOnly:
    def test_delivered_again_it_is_not_written_again(
        self, folder: DataFolder, open_writer: Open, make_turn: MakeTurn
    ) -> None:
        turn = make_turn()
        draft = Draft.of(on(turn))
        writer = open_writer(folder)
        _, first, second = writer.commit([Draft.of(turn), draft, draft])
        assert first == second == writer.commit([draft])[0]
        writer.close()
        assert audit(folder).records == 2

    def test_of_two_lines_the_earlier_counts(
        self, folder: DataFolder, open_writer: Open, make_turn: MakeTurn, tables: Tables
    ) -> None:
        """As when a database was lost between two deliveries."""
        draft = Draft.of(on(make_turn()))
        writers = [open_writer(folder), open_writer(folder)]
        pointers = []
        for writer in writers:
            pointers += writer.commit([draft])
            writer._projection.connection.execute("DELETE FROM feedback")
        for writer in writers:
            writer.close()
        assert rebuild(folder).records == 2
        (row,) = tables(folder)["feedback"]
        assert row[-4] == pointers[0].segment
        assert audit(folder).faults == ()


class TestTables:
    @pytest.fixture(autouse=True)
    def said(self, folder: DataFolder, open_writer: Open, make_turn: MakeTurn) -> None:
        turn = make_turn()
        writer = open_writer(folder)
        writer.commit([Draft.of(turn), Draft.of(on(turn)), Draft.of(on(turn, "f2"))])
        writer.close()

    def test_come_back_from_the_log_alone(
        self, folder: DataFolder, tables: Tables, lose_database: Lose
    ) -> None:
        before = tables(folder)
        assert len(before["feedback"]) == 2
        lose_database(folder)
        rebuild(folder)
        assert tables(folder) == before

    @pytest.mark.parametrize(
        ("statement", "kind"),
        [
            ("DELETE FROM feedback WHERE id = 'f1'", "missing"),
            ("UPDATE feedback SET rating = -1 WHERE id = 'f1'", "altered"),
            ("UPDATE feedback SET offset_bytes = 7", "altered"),
            (EXTRA, "extra"),
        ],
    )
    def test_are_verified(self, folder: DataFolder, sql: Any, statement: str, kind: str) -> None:
        sql.execute(statement)
        assert {fault.kind for fault in audit(folder).faults} == {kind}


def coe_feedback(folder: DataFolder, *arguments: str) -> Result:
    config = folder.path / "coe.toml"
    config.write_text(settings(folder))
    frame = Frame(config=config, given_data_dir=folder.path)
    return CliRunner().invoke(feedback.command, arguments, obj=frame)


class TestCommand:
    @pytest.fixture
    def turn(self, folder: DataFolder, open_writer: Open, make_turn: MakeTurn) -> Interaction:
        turn = make_turn()
        writer = open_writer(folder)
        writer.commit([Draft.of(turn)])
        writer.close()
        return turn

    def test_records(self, folder: DataFolder, turn: Interaction, tables: Tables) -> None:
        said = ("--group", "research", "--rating", "1", "--label", "good", "--json")
        result = coe_feedback(folder, turn.id, *said)
        assert result.exit_code == 0, result.output
        (row,) = tables(folder)["feedback"]
        assert row[:2] == (decode(result.stdout)["id"], turn.id)

    def test_of_nothing_is_refused(self, folder: DataFolder, turn: Interaction) -> None:
        result = coe_feedback(folder, turn.id, "--label", "")
        assert isinstance(result.exception, InvalidField)

    def test_says_that_the_records_did_not_open(
        self, folder: DataFolder, turn: Interaction, sql: Any
    ) -> None:
        sql.execute("UPDATE records_version SET version_num = '9999'")
        result = coe_feedback(folder, turn.id, "--group", "research", "--rating", "1")
        assert isinstance(result.exception, StartRefused)
        assert "9999" in str(result.exception)

    def test_knows_no_turn_of_another_group(self, folder: DataFolder, turn: Interaction) -> None:
        result = coe_feedback(folder, turn.id, "--rating", "1")
        assert isinstance(result.exception, NotFound)
