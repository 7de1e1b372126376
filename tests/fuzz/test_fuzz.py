"""A short campaign with a fixed seed, and a proof that one finds faults. `python -m tests.fuzz` is the long one."""

import json
from pathlib import Path

import pytest

from tests.fuzz import corpus
from tests.fuzz.__main__ import report, resume, rows_of, table, write
from tests.fuzz.broken_parser import FAULTS
from tests.fuzz.campaign import Campaign, Plan
from tests.fuzz.parsers import ENTRIES, Entry

LIGHT = ("probe_parsers", "store_parsers", "outside_parsers", "http_parsers", "key_parsers")
TEACHERS = ("onnx_parsers", "folder_parsers", "teacher_parsers")
CASES = {LIGHT: 100, TEACHERS: 20}


def names_in(modules: tuple[str, ...]) -> list[str]:
    return [name for name, entry in ENTRIES.items() if entry.module in modules]


def test_every_parser_is_tried_with_every_run_of_the_tests() -> None:
    assert sorted([*names_in(LIGHT), *names_in(TEACHERS)]) == sorted(ENTRIES)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("modules", [LIGHT, TEACHERS], ids=["uploads and requests", "teachers"])
def test_hostile_inputs_are_refused_in_good_order(modules: tuple[str, ...]) -> None:
    names, cases = names_in(modules), CASES[modules]
    campaign = Campaign(Plan(seconds=200, seed=7, parsers=names, most=cases, batch_seconds=60))
    campaign.run()
    print(table(campaign))
    assert campaign.holds, table(campaign)
    rows = rows_of(campaign)[:-1]
    assert [row["parser"] for row in rows] == names
    for row in rows:
        assert row["inputs"] == cases, row
        assert row["accepted"] > 0, row
        assert row["refused"] > 0, row


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_what_once_failed_does_not_fail_again() -> None:
    names = [name for name in ENTRIES if corpus.kept(name)]
    # Each folder belongs to a parser: none is forgotten when one is given another name.
    assert sorted(corpus.place(name).name for name in names) == sorted(path.name for path in corpus.FOLDER.iterdir())
    campaign = Campaign(Plan(seconds=200, parsers=names, kept=True, batch_seconds=60))
    campaign.run()
    wrong = {
        (found.parser, corpus.names(found.parser)[case]) for found in campaign.findings.values() for case in found.cases
    }
    assert wrong == corpus.OPEN, table(campaign)
    assert {name: row.inputs for name, row in campaign.rows.items()} == {name: len(corpus.kept(name)) for name in names}


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_every_fault_is_found_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENTRIES, "broken", Entry("broken_parser"))
    plan = Plan(seconds=100, parsers=["broken"], most=len(FAULTS), batch_seconds=60, hang_cpu=1.0)
    campaign = Campaign(plan)
    campaign.run()
    found = {entry.cases[0]: (entry.outcome, entry.signature) for entry in campaign.findings.values()}
    assert campaign.rows["broken"].outcomes["accepted"] == 2  # that with no fault, and what shows only at the end
    assert {FAULTS[number]: outcome for number, (outcome, _) in found.items()} == {
        "raise": "crash",
        "abort": "crash",
        "hang": "hang",
        "memory": "memory",
        "left": "left",
        "status": "5xx",
        "descriptors": "leak",
    }
    assert "SIGABRT" in found[FAULTS.index("abort")][1]
    assert not campaign.holds


def test_a_report_can_be_gone_on_with(tmp_path: Path) -> None:
    first = Campaign(Plan(seconds=0, seed=3, parsers=["picture", "token"]))
    row = first.rows["token"]
    row.outcomes.update({"accepted": 5, "refused": 7, "crash": 1})
    row.stages["read"] = 12
    row.next_case = 13
    first._note("token", 12, "hang", "hang", "did not end in time")
    write(first, tmp_path / "fuzz.json")
    second = Campaign(Plan(seconds=0, seed=3, parsers=["picture", "token"]))
    resume(second, json.loads((tmp_path / "fuzz.json").read_text()))
    assert report(second) == report(first)
    assert second.rows["token"].next_case == 13
    found = report(second)["found"]
    assert [found[name] for name in ("inputs", "crashes", "hangs", "leaks", "targets met")] == [14, 1, 1, 0, False]
    with pytest.raises(ValueError, match="give --seed 3"):
        resume(Campaign(Plan(seconds=0, seed=4, parsers=["token"])), json.loads((tmp_path / "fuzz.json").read_text()))
