"""A short campaign: some faults of each kind among mixed jobs. `python -m tests.chaos` is the long one."""

from pathlib import Path

import pytest

from tests.chaos.__main__ import table
from tests.chaos.campaign import Plan, run


@pytest.mark.slow
@pytest.mark.timeout(330)
def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    plan = Plan(
        seconds=35,
        between=2.5,
        pause=0.5,
        workers=(1, 1),
        callers=2,
        killers=1,
        delivery_limit=4,
        settle_seconds=160,  # A busy machine starts a worker in half a minute, and one job kills four.
        seed=3,
    )
    report = run(plan, keep=tmp_path)
    print(table(report))
    assert report.holds, table(report)
    assert sum(report.jobs.values()) >= 20
    assert report.kills >= 3
