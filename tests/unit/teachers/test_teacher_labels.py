"""Which label sets are accepted, and what the owner of a refused one reads."""

import pytest

from worker.teachers.errors import TeacherUnusable
from worker.teachers.labels import agreed_labels, checked_labels


@pytest.mark.parametrize(
    "labels",
    [
        ["cat", "dog"],
        ["a", "A", "b", "B"],
        ["猫", "犬", "狐"],
        ["747-400", "A380", "DC-3"],
        ["zero", "one", "2"],
        ["type 1 diabetes", "type 2 diabetes"],
    ],
)
def test_names_with_meaning_are_kept_in_order(labels: list[str]) -> None:
    assert checked_labels(labels) == labels


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["cat"], "at least 2"),
        (["cat", "dog", "LABEL_2"], "LABEL_2"),
        (["LABEL_0", "LABEL_1"], "id2label"),
        (["0", "1", "2"], "digits as words"),
        (["class_0", "class_1", "class_2"], "class_0"),
        (["Class 1", "Class 2", "other"], "Class 1"),
        (["n01440764", "n01443537"], "n01440764"),
        (["cat", "dog", "cat"], "position 2 equals 'cat' at position 0"),
        (["red fox", "dog", "red_fox"], "distinct"),
        (["crane", "dog", "crane "], "distinct"),
        (["cat", " "], "empty"),
        (["cat", "d\x07g"], "control characters"),
        (["cat", "d" * 300], "200"),
    ],
)
def test_names_without_meaning_are_refused(labels: list[str], told: str) -> None:
    with pytest.raises(TeacherUnusable) as refused:
        checked_labels(labels)
    assert told in refused.value.detail


def test_a_registration_repairs_names_but_may_not_reorder_them() -> None:
    assert agreed_labels(None, ["cat", "dog"]) == ["cat", "dog"]
    assert agreed_labels(["cat", "dog"], None) == ["cat", "dog"]
    assert agreed_labels(["cat", "dog"], ["LABEL_0", "LABEL_1"]) == ["cat", "dog"]
    assert agreed_labels(None, None) is None
    with pytest.raises(TeacherUnusable, match=r"another order \(position 0: 'dog' against 'cat'\)"):
        agreed_labels(["dog", "cat", "fox"], ["cat", "dog", "fox"])
