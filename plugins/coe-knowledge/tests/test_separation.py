"""Groups are separate: whatever is asked with another group's layers, nothing of this one comes."""

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from coe_knowledge.library import Upload, document_id

from coe_core import Card, Database, Document, KnowledgeStore, Passage
from coe_core.testing.postgres import new_schema
from coe_core.turn import GLOBAL, group_layer

from .conftest import Open, library_of

GROUPS = ("law", "sales", "law%", "LAW", "", "group:law", "' OR 1=1 --")
AT = datetime(2026, 11, 27, tzinfo=UTC)


async def fill(store: KnowledgeStore, layer: str) -> list[str]:
    """Put a document and a card that say whose they are, and return every id there is of them."""
    name = f"{layer} handbook.md"
    document = Document(
        id=document_id(layer, name),
        layer=layer,
        source=name,
        title=name,
        media_type="text/markdown",
        sha256="0" * 64,
        size_bytes=1,
        added_at=AT,
    )
    passages = [
        Passage(
            id=f"psg_{layer}_{position}",
            text=f"of {layer}",
            layer=layer,
            source=name,
            item=document.id,
            kind="document",
            position=position,
        )
        for position in range(3)
    ]
    await store.put_document(document, passages)
    card = Card(id=f"card_{layer}", layer=layer, kind="fact", text=f"of {layer}", state="active")
    await store.put_card(card)
    return [document.id, card.id, *(passage.id for passage in passages)]


GUESSES = 1_000


async def probe(store: KnowledgeStore, choose: random.Random, ids: list[str]) -> int:
    """Ask for anything there is, of layers that a group may name; return for how many ids."""
    layers = [choose.choice([group_layer(group), GLOBAL]) for group in choose.choices(GROUPS, k=2)]
    some = [choose.choice(ids) + choose.choice(["", "", "%", "'", "\x00"]) for _ in range(GUESSES)]
    found: list[Any]
    asked = 1
    match choose.randrange(5):
        case 0:
            found = [await store.item(layers, some[0])]
        case 1:
            found, asked = list(await store.passages(layers, some)), GUESSES
        case 2:
            found = list(await store.neighbours(layers, some[0], -1, choose.randrange(4)))
        case 3:
            found = list(await store.items(layers, after=choose.choice(["", some[0][:5]])))
        case _:
            strange = [group_layer(group) for group in ("sales", "group:law", "law ")]
            assert not await store.remove(strange, some[0]), f"{some[0]} was removed by {strange}"
            found = []
    strangers = {each.layer for each in found if each is not None} - set(layers)
    assert not strangers, f"asked as {layers} for {some}, there came something of {strangers}"
    return asked


async def probed(store: KnowledgeStore, probes: int) -> None:
    layers = [GLOBAL, *(group_layer(group) for group in ("law", "law%", "LAW"))]
    ids = [id_ for layer in layers for id_ in await fill(store, layer)]
    choose = random.Random(20261127)
    asked = 0
    while asked < probes:
        asked += await probe(store, choose, ids)
    left = {item.id for layer in layers for item in await store.items([layer])}
    assert left == {id_ for id_ in ids if not id_.startswith("psg_")}


@pytest.mark.parametrize("probes", [50_000, pytest.param(1_000_000, marks=pytest.mark.faults)])
async def test_no_probe_finds_anything_of_another_layer(opened: Open, probes: int) -> None:
    async with opened() as application:
        await probed(application.need(KnowledgeStore), probes)


async def test_postgres_itself_shows_a_group_its_own_rows_alone(
    opened: Open, postgres_url: str, tmp_path: Path
) -> None:
    import sqlalchemy as sa

    (address := tmp_path / "address").write_text(new_schema(postgres_url))
    async with opened(f'[plugins.records]\ndatabase = "file:{address}"') as application:
        store, database = application.need(KnowledgeStore), application.need(Database)
        await probed(store, 20_000)
        for table in ("knowledge_items", "knowledge_passages"):
            query = sa.text(f"SELECT DISTINCT group_name FROM {table}")
            seen = await database.read("law", lambda c, q=query: set(c.execute(q).scalars()))
            assert seen == {"", "law"}
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            await database.read(
                "law", lambda c: c.execute(sa.text("SELECT * FROM knowledge_removals")).all()
            )


async def test_same_source_is_another_document_in_another_layer(opened: Open) -> None:
    async with opened() as application:
        library = library_of(application)
        added = [
            await library.add(Upload(layer=layer, source="a.md", content=b"the same"), "kim")
            for layer in ("group:law", "group:sales", "global")
        ]
        assert len({each.id for each in added}) == 3
        await library.remove("group:law", added[0].id, "kim")
        left = [await library.store.item([each.layer], each.id) for each in added]
        assert [item is not None for item in left] == [False, True, True]
