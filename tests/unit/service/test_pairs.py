"""Pairs that two quantities order alike: the count by bisection is the count of all pairs."""

import time
from itertools import combinations

from hypothesis import given, strategies as st

from service.actions.audit import ordered_pairs


def by_definition(rows: list[tuple[float, float]]) -> tuple[int, int]:
    signs = [((x > u) - (x < u)) * ((y > v) - (y < v)) for (x, y), (u, v) in combinations(rows, 2)]
    return signs.count(1), signs.count(-1)


FEW = st.integers(-3, 3).map(float)
MANY = st.floats(allow_nan=False)
NUMBER = FEW | MANY


@given(st.lists(st.tuples(NUMBER, NUMBER), max_size=40))
def test_it_is_the_definition(rows: list[tuple[float, float]]) -> None:
    assert ordered_pairs(rows) == by_definition(rows)


@given(st.lists(st.tuples(FEW, FEW), max_size=40))
def test_ties_count_for_neither(rows: list[tuple[float, float]]) -> None:
    assert ordered_pairs(rows) == by_definition(rows)


def test_five_thousand_take_no_time() -> None:
    rows = [(float(number * 7919 % 5003), float(number * 104729 % 4999)) for number in range(5000)]
    started = time.process_time()
    alike, unlike = ordered_pairs(rows)
    assert time.process_time() - started < 1.0  # All pairs one by one take some seconds.
    assert 12_000_000 < alike + unlike <= 5000 * 4999 // 2
