"""A card is in a layer once, keeps what was counted, and points to the turns it was made of."""

import asyncio
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from attrs import evolve
from coe_knowledge.library import AddedCard, Library, evidence_of

from coe_core import Application, KnowledgeStore
from coe_core.cli.program import run
from coe_core.codec import decode
from coe_core.error import NotFound
from coe_core.service import RecordReader
from coe_core.testing import deployment
from coe_core.turn import GLOBAL

from .conftest import records
from .test_tally import AT, answer, counted, rate

LAW = "group:law"


async def test_the_same_card_again_changes_nothing(library: Library) -> None:
    first = await library.add_card(layer=LAW, kind="fact", text="Open from 8.", actor="kim")
    assert first.outcome == "added"
    cursor = [changes.cursor async for changes in library.store.follow()][-1]
    again = await library.add_card(layer=LAW, kind="fact", text="Open from 8.", actor="lee")
    assert again == AddedCard(first.card, "unchanged")
    assert [changes async for changes in library.store.follow(cursor)] == []
    others = [
        await library.add_card(layer=layer, kind=kind, text=text, actor="kim")
        for layer, kind, text in (
            (GLOBAL, "fact", "Open from 8."),
            (LAW, "answer", "Open from 8."),
            (LAW, "fact", "Open from 9."),
        )
    ]
    assert len({added.card.id for added in (first, *others)}) == 4


async def test_a_card_that_is_added_again_ends_when_it_did_unless_told_otherwise(
    library: Library,
) -> None:
    add = partial(library.add_card, layer=LAW, kind="fact", text="Open from 8.", actor="kim")
    first = await add(valid_until=AT)
    assert await add() == AddedCard(first.card, "unchanged")
    later = await add(valid_until=AT + timedelta(days=1))
    assert later == AddedCard(evolve(first.card, valid_until=AT + timedelta(days=1)), "changed")


async def test_a_card_that_is_added_again_is_active_and_keeps_its_counters(
    application: Application, library: Library
) -> None:
    add = partial(library.add_card, layer=LAW, kind="fact", text="Open from 8.", actor="kim")
    first = (await add()).card
    for rating in (1, 1, -1):
        await rate(application, await answer(application, "law", first.id), "law", rating)
    assert await counted(application, first.id) == (3, 3, 2, 1)
    await library.store.put_card(evolve(first, state="expired"))  # As it was read before.
    again = (await add()).card
    assert (again.used, again.feedback_count, again.helped, again.hurt) == (3, 3, 2, 1)
    assert again.state == "active"
    assert await library.store.item([LAW], first.id) == again


async def test_a_card_that_was_removed_is_answered_with_the_counters_that_it_has(
    application: Application, library: Library
) -> None:
    add = partial(library.add_card, layer=LAW, kind="fact", text="Open from 8.", actor="kim")
    first = (await add()).card
    await rate(application, await answer(application, "law", first.id), "law", 1)
    assert await counted(application, first.id) == (1, 1, 1, 0)
    await library.remove(LAW, first.id, "kim")
    again = (await add()).card
    assert (again.used, again.feedback_count, again.helped, again.hurt) == (1, 1, 1, 0)
    assert await library.store.item([LAW], first.id) == again


async def test_evidence_points_into_the_record(application: Application, library: Library) -> None:
    reader = application.need(RecordReader)
    turn = await answer(application, "law", "psg_1", kind="document")
    pointers = await evidence_of(reader, "law", [turn])
    added = await library.add_card(
        layer=LAW, kind="answer", text="From 8 to 18.", evidence=pointers, actor="kim"
    )
    kept = await application.need(KnowledgeStore).item([LAW], added.card.id)
    assert kept == added.card
    assert added.card.evidence == (await reader.pointer("law", turn),)


@pytest.mark.parametrize("group", ["sales", "LAW"])
async def test_a_turn_of_another_group_is_no_evidence(application: Application, group: str) -> None:
    turn = await answer(application, "law", "psg_1", kind="document")
    reader = application.need(RecordReader)
    with pytest.raises(NotFound) as of_another:
        await evidence_of(reader, group, [turn])
    with pytest.raises(NotFound) as of_nobody:
        await evidence_of(reader, group, [turn[:-1] + "x"])
    assert str(of_another.value).replace(turn, "") == str(of_nobody.value).replace(
        turn[:-1] + "x", ""
    )


@pytest.mark.parametrize(
    ("into", "status"),
    [
        (["--group", "law"], 0),
        (["--layer", LAW], 0),
        (["--layer", LAW, "--group", "sales"], 0),
        (["--layer", GLOBAL, "--group", "law"], 0),
        (["--layer", GLOBAL], 1),
        (["--layer", "group:sales", "--group", "law"], 1),
    ],
)
def test_command_looks_for_evidence_in_the_group_of_the_layer(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    into: list[str],
    status: int,
) -> None:
    async def told() -> str:
        plugins = {"records": records()}
        async with deployment(plugins=plugins, data_dir=tmp_path / "coe-data") as host:
            return await answer(host.application, "law", "psg_1", kind="document")

    monkeypatch.chdir(tmp_path)
    card = ["knowledge", "add", "--card", "fact", "--text", "Open from 8.", "--json", *into]
    assert run([*card, "--evidence", asyncio.run(told())]) == status
    said = capsys.readouterr()
    if status:
        assert "there is no turn" in said.err
    else:
        assert len(decode(said.out)["evidence"]) == 1
