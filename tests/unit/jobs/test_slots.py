"""Which jobs may begin: no caller holds all places, and a quick job finds one."""

import pytest

from preceptor.contract.jobs import JobKind
from service.core.lanes import QUICK_NAMES, is_quick
from worker.jobs.slots import SIZES, Size, Slots


def test_a_caller_holds_a_share_of_the_long_jobs() -> None:
    slots = Slots(Size(long=4, quick=1, share=2))
    slots.begin(1, "a", quick=False)
    assert slots.excluded(quick=False) == set()
    slots.begin(2, "a", quick=False)
    assert slots.excluded(quick=False) == {"a"}
    assert slots.excluded(quick=True) == set(), "quick jobs of the same caller do not wait for its long ones"
    slots.end(1)
    assert slots.excluded(quick=False) == set()


def test_requests_without_a_key_have_no_share() -> None:
    slots = Slots(Size(long=3, quick=1, share=2))
    for job in range(3):
        assert slots.any_free
        slots.begin(job, "", quick=False)
        assert slots.excluded(quick=False) == set()
    assert not slots.any_free


def test_long_jobs_leave_the_place_of_quick_ones() -> None:
    slots = Slots(Size(long=2, quick=1, share=2))
    slots.begin(1, "a", quick=False)
    slots.begin(2, "b", quick=False)
    assert (slots.any_free, slots.quick_free, slots.free) == (False, True, 1)
    slots.begin(3, "c", quick=True)
    assert (slots.any_free, slots.quick_free, slots.free) == (False, False, 0)


def test_quick_jobs_use_the_places_of_long_ones() -> None:
    slots = Slots(Size(long=2, quick=1, share=2))
    slots.begin(1, "a", quick=True)
    assert (slots.any_free, slots.free) == (True, 2)
    slots.begin(2, "a", quick=True)
    slots.begin(3, "a", quick=True)
    assert (slots.any_free, slots.quick_free, slots.free) == (False, False, 0)


def test_a_quick_job_that_takes_long_frees_the_place_of_quick_ones() -> None:
    slots = Slots(Size(long=1, quick=1, share=2))
    slots.begin("long", "a", quick=False)
    slots.begin("first", "b", quick=True)
    assert not slots.quick_free
    assert slots.overrun("first")
    assert not slots.overrun("first"), "it counts once"
    assert slots.quick_free
    assert slots.excluded(quick=True) == set()
    slots.begin("second", "b", quick=True)
    assert slots.overrun("second")
    assert slots.excluded(quick=True) == {"b"}, "who sends many of them waits"
    slots.end("second")
    assert slots.excluded(quick=True) == set()


def test_what_was_misjudged_is_bounded() -> None:
    slots = Slots(Size(long=1, quick=1, share=9))
    slots.begin("long", "a", quick=False)
    begun = 0
    while slots.quick_free:
        slots.begin(begun, f"caller {begun}", quick=True)
        slots.overrun(begun)
        begun += 1
    assert begun == 4


@pytest.mark.parametrize("lane", SIZES)
def test_an_idle_worker_has_room(lane: str) -> None:
    slots = Slots(SIZES[lane])  # type: ignore[index]
    assert slots.any_free
    assert slots.quick_free
    assert slots.free == SIZES[lane].long + SIZES[lane].quick  # type: ignore[index]


NAMES = [f"name {number}" for number in range(QUICK_NAMES)]


@pytest.mark.parametrize(
    ("kind", "request_", "quick"),
    [
        ("recommendation", {"student": {"labels": ["cat"]}}, True),
        ("recommendation", {"student": "lbl_1"}, True),
        ("recommendation", {"student": {"labels": NAMES}}, True),
        ("recommendation", {"student": {"labels": [*NAMES, "cat"]}}, False),
        ("recommendation", {"student": {"labels": ["cat"]}, "candidates": [{"labels": NAMES}]}, False),
        ("recommendation", {"student": {"labels": ["cat"]}, "candidates": [{"labels": ["dog"]}]}, True),
        ("recommendation", {"student": {"labels": ["cat"]}, "probe": "prb_1"}, False),
        ("recommendation", {"student": {"labels": ["cat"]}, "encoder": "wordllama"}, False),
        ("validation", {"teacher": "tch_1"}, False),
        ("distillation", {"teachers": ["tch_1"]}, False),
    ],
)
def test_what_counts_as_quick(kind: JobKind, request_: dict[str, object], quick: bool) -> None:
    assert is_quick(kind, request_) is quick
