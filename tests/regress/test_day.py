"""A scripted day: every failure is captured, as a case that fails before the mend and not after."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from coe_kpi.fact import FAILURES, TurnFact, facts
from coe_regress.folder import Folder
from coe_regress.replay import replay

from coe_core.codec import encode
from coe_core.service import RecordReader

from .day import AFTER, NAMES, capturing, day, stage, start_of

TURNS = 80


@pytest.mark.parametrize("turns", [TURNS, pytest.param(1000, marks=pytest.mark.faults)])
async def test_every_failure_becomes_a_case_that_a_mend_flips(tmp_path: Path, turns: int) -> None:
    folder = Folder(tmp_path / "cases")
    async with day(tmp_path / "data", seed=turns) as today:
        await today.pass_(turns)
        reader = today.host.application.need(RecordReader)
        recorded = [turn async for turn in reader.interactions(None)]
        failed = {
            fact.id: fact.result
            for fact in facts(recorded)
            if isinstance(fact, TurnFact) and fact.result in FAILURES
        }
        assert failed.keys() <= today.injected.keys()
        assert {today.injected[id_] for id_ in failed} == {*failed.values()}
        async with capturing(today, folder) as capturer:
            captured = [each async for each in capturer.since(None, start_of(today))]

        found = {each.turn_id for each in captured}
        wrong = found ^ today.injected.keys()
        assert [turn for turn in recorded if turn.id in wrong] == []
        kinds = {each.turn_id: each.case.failure for each in captured}
        assert kinds == today.injected
        assert {*kinds.values()} == {*FAILURES, "low_confidence"}
        cases = list(folder.cases())
        assert sum(case.count for case in cases) == len(today.injected)
        assert len(cases) < len(today.injected)

        with stage(today, today.host.config, folder) as before:
            seen = {case.id: await replay(case, before) for case in cases}
        for case in cases:
            assert case.reproduces, case
            assert seen[case.id].unrecorded == (), case
            assert seen[case.id].misses(case), case

        after = tmp_path / "after.toml"
        after.write_text(AFTER, encoding="utf-8")
        with stage(today, after, folder, records=True) as mended:
            for case in cases:
                passed = await replay(case, mended)
                assert passed.misses(case) == [], (case.id, passed)
    holds_no_personal_data(folder)


def holds_no_personal_data(folder: Folder) -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in folder.files())
    assert not [name for name in NAMES if name in text]


@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.faults)])
async def test_replays_are_the_same_every_time_in_any_order(tmp_path: Path, times: int) -> None:
    folder = Folder(tmp_path / "cases")
    async with day(tmp_path / "data", seed=1) as today:
        await today.pass_(TURNS)
        async with capturing(today, folder) as capturer:
            assert [each async for each in capturer.since(None, start_of(today))]
        runs: Counter[bytes] = Counter()
        cases = list(folder.cases())
        for _ in range(times):
            today.chance.shuffle(cases)
            with stage(today, today.host.config, folder) as fresh:
                found = {case.id: await replay(case, fresh) for case in cases}
            runs[encode({id_: found[id_] for id_ in sorted(found)})] += 1
        assert list(runs.values()) == [times]
