"""Sums of the audit: pairs of one probe, ranks with ties against the library."""

import threading

import pytest
from hypothesis import given, strategies as st
from scipy.stats import spearmanr

from preceptor.contract.audit import AuditEntry
from preceptor.contract.base import now
from preceptor.contract.distillations import Gain
from preceptor.contract.ids import DISTILLATION, PROBE, RECOMMENDATION, TEACHER, new_id
from service.actions import audit as actions
from service.actions.audit import audit, spearman

pytestmark = pytest.mark.anyio


class Kept:
    """Entries in memory, read as records are."""

    def __init__(self, entries: list[AuditEntry]) -> None:
        self.audits = self
        self.entries = entries

    async def all(self):
        for entry in self.entries:
            yield entry


FIRST, SECOND = new_id(PROBE), new_id(PROBE)


def entry(probe: str, cost: float, leep: float, gain: float | None) -> AuditEntry:
    return AuditEntry(
        id=new_id(DISTILLATION),
        created_at=now(),
        recommendation=new_id(RECOMMENDATION),
        data=probe,
        teacher=new_id(TEACHER),
        name="t",
        rank=1,
        of=3,
        scores={"prediction_transport": cost, "leep": leep},
        higher_is_better={"prediction_transport": False, "leep": True},
        accuracy=0.5,
        gain=None if gain is None else Gain(mean=gain, low=gain - 0.02, high=gain + 0.02),
    )


async def test_pairs_are_of_one_probe_and_directions_count() -> None:
    entries = [
        entry(FIRST, 0.2, -1.0, 0.10),
        entry(FIRST, 0.4, -2.0, 0.05),
        entry(FIRST, 0.3, -3.0, -0.05),
        entry(SECOND, 0.1, -9.0, 0.01),
        entry(FIRST, 0.1, -9.0, None),
    ]
    found = await audit(Kept(entries))  # pyright: ignore[reportArgumentType]
    assert (found.entries, found.probes, found.helped, found.hurt) == (4, 2, 2, 1)
    assert found.mean_gain == pytest.approx(0.0275)
    leep, cost = found.estimators
    assert (leep.estimator, leep.entries, leep.pairs, leep.agreement, leep.kendall) == ("leep", 4, 3, 1.0, 1.0)
    assert (cost.pairs, cost.agreement, cost.kendall) == (
        3,
        pytest.approx(2 / 3, abs=1e-4),
        pytest.approx(1 / 3, abs=1e-4),
    )
    assert [row.gain is not None for row in found.latest] == [True] * 4


async def test_nothing_to_audit() -> None:
    found = await audit(Kept([entry(FIRST, 0.1, -1, None)]))  # pyright: ignore[reportArgumentType]
    assert (found.entries, found.mean_gain, found.estimators, found.latest) == (0, None, [], [])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=30))
def test_spearman_equals_the_library(pairs: list[tuple[int, int]]) -> None:
    a, b = [float(x) for x, _ in pairs], [float(y) for _, y in pairs]
    if len(set(a)) < 2 or len(set(b)) < 2:
        assert spearman(a, b) is None
    else:
        assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-4)


async def test_the_newest_are_audited_outside_of_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "_READ", 3)
    threads: list[str] = []
    monkeypatch.setattr(actions, "spearman", lambda *_: threads.append(threading.current_thread().name))
    entries = [entry(FIRST, 0.1 * number, 1.0, None if number == 1 else 0.01 * number) for number in range(10)]
    found = await audit(Kept(entries))  # pyright: ignore[reportArgumentType]
    assert [row.id for row in found.latest] == [entries[0].id, entries[2].id]
    assert found.entries == 2
    assert threads
    assert threading.main_thread().name not in threads


async def test_teams_are_counted_apart_and_judge_no_estimator() -> None:
    single = [entry(FIRST, 0.2, -1.0, 0.10), entry(FIRST, 0.4, -2.0, 0.05)]
    teams = [entry(FIRST, 0.1, -9.0, gain).model_copy(update={"team": 3}) for gain in (0.3, -0.1)]
    found = await audit(Kept([*teams, *single]))  # pyright: ignore[reportArgumentType]
    assert (found.entries, found.helped, found.hurt, found.mean_gain) == (2, 2, 0, pytest.approx(0.075))
    assert [row.agreement for row in found.estimators] == [1.0, 1.0]
    assert (found.teams.entries, found.teams.helped, found.teams.hurt) == (2, 1, 1)
    assert found.teams.mean_gain == pytest.approx(0.1)
    assert found.teams.latest == teams
    assert found.latest == single
