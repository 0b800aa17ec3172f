"""Korean is found by its morphemes too, where the settings say so."""

import pytest
from coe_retrieval.morpheme import words_and_morphemes
from coe_retrieval.plugin import RetrievalPlugin
from coe_retrieval.settings import Settings
from coe_retrieval.term import terms
from hypothesis import given
from hypothesis import strategies as st

from coe_core.knowledge import SearchQuery
from coe_core.service import KnowledgeIndex, KnowledgeStore
from coe_core.testing import make_turn
from coe_core.testing.host import deployment
from coe_core.testing.knowledge import MemoryKnowledgePlugin

from .conftest import add

PLUGINS = {"memory": MemoryKnowledgePlugin, "retrieval": RetrievalPlugin}


@given(st.text(max_size=60))
def test_terms_are_read_as_without(text: str) -> None:
    assert words_and_morphemes(text)[: len(terms(text))] == terms(text)


@pytest.mark.parametrize(("morphemes", "found"), [("true", True), ("false", False)])
async def test_another_form_of_a_verb_is_found(morphemes: str, *, found: bool) -> None:
    settings = f"[plugins.retrieval]\nmorphemes = {morphemes}\n"
    async with deployment(settings, plugins=PLUGINS) as host:
        application = host.application
        await add(application.need(KnowledgeStore), "group:default", ["손님 앞에서 구워 드립니다."])
        query = SearchQuery(text="굽는", layers=("group:default",))
        turn = make_turn(application=application)
        passages = await application.need(KnowledgeIndex).search(query, parent=turn)
    assert bool(passages) == found


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coe_retrieval.settings.find_spec", lambda _: None)
    assert not Settings().morphemes
    with pytest.raises(ValueError, match=r"pip install 'coe-retrieval\[morphemes\]'"):
        Settings(morphemes=True)
