"""A short campaign with a fixed seed, and a proof that one finds faults. `python -m tests.fuzz` is the long one."""

import pytest

from tests.fuzz.__main__ import rows_of, table
from tests.fuzz.broken_parser import FAULTS
from tests.fuzz.campaign import Campaign, Plan
from tests.fuzz.parsers import ENTRIES, Entry

LIGHT = [name for name, entry in ENTRIES.items() if entry.module in ("probe_parsers", "http_parsers")]
TEACHERS = ["tokenizer", "safetensors", "torch.export"]


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("names", [LIGHT, TEACHERS], ids=["uploads and requests", "teachers"])
def test_hostile_inputs_are_refused_in_good_order(names: list[str]) -> None:
    cases = 150 if names == LIGHT else 40
    campaign = Campaign(Plan(seconds=200, seed=7, parsers=names, most=cases, batch_seconds=60))
    campaign.run()
    print(table(campaign))
    assert campaign.holds, table(campaign)
    for row in rows_of(campaign)[:-1]:
        assert row["inputs"] == cases
        assert row["accepted"] > 0
        assert row["refused"] > 0


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_every_fault_is_found_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENTRIES, "broken", Entry("broken_parser"))
    plan = Plan(seconds=100, parsers=["broken"], most=len(FAULTS), batch_seconds=60, hang_cpu=1.0)
    campaign = Campaign(plan)
    campaign.run()
    found = {entry.cases[0]: (entry.outcome, entry.signature) for entry in campaign.findings.values()}
    assert campaign.rows["broken"].outcomes["accepted"] == 1
    assert {FAULTS[number]: outcome for number, (outcome, _) in found.items()} == {
        "raise": "crash",
        "abort": "crash",
        "hang": "hang",
        "memory": "memory",
        "left": "left",
        "status": "5xx",
    }
    assert "SIGABRT" in found[FAULTS.index("abort")][1]
    assert not campaign.holds
