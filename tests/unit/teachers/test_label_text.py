"""Names as people write them in code and file names come out as words."""

import pytest

from worker.label_encoder import readable


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("freeze_account", "freeze account"),
        ("__private__", "private"),
        ("cardPayment", "card Payment"),
        ("AnkleBoot", "Ankle Boot"),
        ("talk.politics.guns", "talk politics guns"),
        ("n01440764 tench, Tinca tinca", "tench, Tinca tinca"),
        ("n01440764_tench", "tench"),
        ("281: tabby, tabby cat", "tabby, tabby cat"),
        ("  great\twhite   shark ", "great white shark"),
        ("ｃａｔ", "cat"),  # full-width letters
        ("🐟", "fish"),
        ("✈️ trips", "airplane trips"),
    ],
)
def test_code_like_names_become_words(written: str, read: str) -> None:
    assert readable(written) == read


@pytest.mark.parametrize(
    "name",
    ["iPod", "McDonald", "LaTeX", "T-shirt/top", "St. Bernard", "7", "3.5 inch", "A", "n01440764", "金魚"],
)
def test_what_carries_meaning_as_it_is_stays(name: str) -> None:
    assert readable(name) == name


def test_reading_twice_changes_nothing() -> None:
    for name in ("freeze_account", "cardPayment", "n01440764 tench", "281: tabby"):
        assert readable(readable(name)) == readable(name)


def test_separators_alone_leave_nothing() -> None:
    assert readable("_ __") == ""
