"""A second embedder weighs what was found by what it means, each content embedded once."""

import pytest
from attrs import evolve
from coe_retrieval.embedding import Embedding
from coe_retrieval.second import SecondEmbedder

from coe_core.application import Application
from coe_core.error import MissingModel
from coe_core.service import Embedder
from coe_core.testing import RerankerContract, make_turn, scripted_application
from coe_core.turn import Passage

from .conftest import HANDBOOK, TopicProvider

ASKED = "며칠이나 쉬는 게 되나"
FOUND = [
    Passage(id=text, text=text, layer="global", source="handbook", kind="document", score=0.5)
    for text in HANDBOOK
]


def second(application: Application, alias: str = "scripted-embed") -> SecondEmbedder:
    return SecondEmbedder(Embedding(application.need(Embedder)), alias, share=0.3)


class TestSecondEmbedder(RerankerContract):
    def make(self) -> SecondEmbedder:
        return second(scripted_application())


async def test_what_it_finds_near_rises(scripted: Application) -> None:
    turn = make_turn(application=scripted)
    scores = await second(scripted).rerank(ASKED, FOUND, parent=turn)
    assert max(scores) == scores[0] > 0.5
    assert min(scores) >= 0.7 * 0.5


async def test_earlier_turns_keep_their_scores(scripted: Application) -> None:
    turn = make_turn(application=scripted)
    said = [evolve(passage, kind="turn") for passage in FOUND]
    alone = await second(scripted).rerank(ASKED, FOUND, parent=turn)
    together = await second(scripted).rerank(ASKED, [*said, *FOUND], parent=turn)
    assert [*together] == [0.5] * len(said) + [*alone]


async def test_a_content_is_embedded_once(scripted: Application, provider: TopicProvider) -> None:
    turn, asked = make_turn(application=scripted), second(scripted)
    first = await asked.rerank(ASKED, FOUND[:2], parent=turn)
    again = await asked.rerank(ASKED, FOUND, parent=turn)
    assert [*again][:2] == [*first]
    assert sorted(text for text in provider.embedded if text in HANDBOOK) == sorted(HANDBOOK)


async def test_a_model_that_is_none_is_an_error(scripted: Application) -> None:
    with pytest.raises(MissingModel, match="'embed-none' is no embedder"):
        await second(scripted, "embed-none").rerank(
            ASKED, FOUND, parent=make_turn(application=scripted)
        )
