"""Cases as files: what is written is read back, and valid by the published schema."""

from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from attrs import evolve
from coe_regress.case import Case, ModelCall, Recording, Seen, Step, ToolAnswer
from coe_regress.folder import Folder, InvalidCase, read, written
from hypothesis import given, settings
from hypothesis import strategies as st

from coe_core.codec import decode, unstructure
from coe_core.error import NotFound
from coe_core.message import FunctionCall, Message, ToolCall, assistant, user
from coe_core.model import Usage
from coe_core.record import Feedback, Pointer
from coe_core.request import ChatRequest
from coe_core.testing import strategies
from coe_core.turn import Passage, Route

from .conftest import FAILED, called

SPECS = Path(__file__).parents[3] / "specs" / "regress"

# What YAML cannot hold, and the masker never leaves: control characters.
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    text, at = draw(TEXTS), draw(strategies.instants())
    call = ToolCall(id="c1", function=FunctionCall(name="find", arguments=text))
    said = (user(draw(TEXTS)), Message(role="assistant", tool_calls=(call,)), assistant(text))
    passage = Passage(id="1", text=text, layer="global", source=text, score=0.5)
    feedback = Feedback(id="f", turn_id="t", group="g", text=text or "-", actor="key", at=at)
    return evolve(
        FAILED,
        failure=draw(st.sampled_from(["timeout", "low_confidence", "no_route"])),
        request=ChatRequest(model=text or "auto", messages=said),
        context=evolve(FAILED.context, started_at=at, history=said, summary=draw(TEXTS)),
        decision=draw(st.none() | st.just(Route(model="main", name=text, confidence=0.25))),
        recording=Recording(
            models=(ModelCall(model="main", says=text, calls=(call,), usage=Usage()),),
            tools=(ToolAnswer(tool="find", arguments={"a": text}, result=[1, None]),),
            passages=(passage,),
        ),
        count=draw(st.integers(1, 10**9)),
        seen=(
            Seen(
                turn_id="t",
                at=at,
                pointer=Pointer(segment="a", offset=1, length=2, sha256="0"),
                said=(feedback,),
            ),
        ),
        history=(Step(state="candidate", at=at, by=text),),
    )


@settings(deadline=None)  # the first call makes the converter
@given(case=cases())
def test_what_is_written_is_read_back(case: Case, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "written.case.yaml"
    path.write_text(written(case), encoding="utf-8")
    assert read(path) == case


@pytest.mark.skipif(not SPECS.exists(), reason="the specs are not in the wheel")
@given(case=cases())
def test_what_is_written_is_valid_by_the_schema(case: Case) -> None:
    assert [error.message for error in schema().iter_errors(unstructure(case))] == []


@cache
def schema() -> Any:
    return jsonschema_rs.validator_for(decode((SPECS / "case.schema.json").read_bytes()))


def test_a_time_without_quotation_marks_is_a_time(folder: Folder) -> None:
    path = folder.write(FAILED)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("'2026-11-01T09:00:00.000000Z'", "2026-11-01T09:00:00Z"))
    assert "'2026" not in path.read_text(encoding="utf-8")
    assert read(path) == FAILED


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [", "no YAML"),
        ("- 1", "expected an object"),
        (written(FAILED).replace("reviewed", "seen"), "state: expected one of"),
        (written(FAILED).replace("signature:", "signatures:"), "'signature' is missing"),
    ],
)
def test_what_is_no_case_is_told_with_its_place(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "x.case.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidCase, match=why):
        read(path)


def test_cases_are_chosen_by_the_beginning_of_their_ids(folder: Folder) -> None:
    every = [called(FAILED, number) for number in (1, 2, 12)]
    for case in every:
        folder.write(case)
    assert folder.chosen([]) == [every[0], every[2], every[1]]
    assert folder.chosen(["target-error-1-1"]) == [every[0], every[2]]
    with pytest.raises(NotFound, match="no case 'x'"):
        folder.chosen(["x"])


def test_a_case_that_was_moved_stays_where_it_is(folder: Folder) -> None:
    folder.write(FAILED)
    below = folder.path / "mail"
    below.mkdir()
    (folder.path / "target-error-1.case.yaml").rename(below / "target-error-1.case.yaml")
    assert folder.write(evolve(FAILED, state="active")).parent == below
    assert [case.state for case in folder.cases()] == ["active"]
