"""Which label sets are accepted, and what the owner of a refused one reads."""

import pytest

from worker.teachers.errors import TeacherUnusable
from worker.teachers.labels import agreed_labels, checked_labels, config_labels


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
    with pytest.raises(TeacherUnusable, match=r"another order \(position 0: 'dog', which is position 1"):
        agreed_labels(["dog", "cat", "fox"], ["cat", "dog", "fox"])


@pytest.mark.parametrize(
    ("given", "carried"),
    [
        (["entailment", "neutral", "contradiction"], ["CONTRADICTION", "NEUTRAL", "ENTAILMENT"]),
        (["card payment", "cash-withdrawal"], ["CashWithdrawal", "card_payment"]),
        (["crème", "Brûlée"], ["brulee", "creme"]),
        (["ＣＡＴ", "dog"], ["dog", "cat"]),
        (["goldfish", "tench"], ["n01440764 tench, Tinca tinca", "n01443537 goldfish, Carassius auratus"]),
        (["a", "A", "b"], ["A", "a", "b"]),
        (["negative", "mixed", "positive"], ["Positive", "Neutral", "Negative"]),
        (["отрицательный", "положительный"], ["Положительный", "Отрицательный"]),
    ],
)
def test_the_same_names_in_another_order_are_refused_however_they_are_spelled(
    given: list[str], carried: list[str]
) -> None:
    with pytest.raises(TeacherUnusable, match="another order"):
        agreed_labels(given, carried)


@pytest.mark.parametrize(
    ("given", "carried"),
    [
        (["Entailment", "neutral"], ["ENTAILMENT", "NEUTRAL"]),
        (["card payment", "cash withdrawal"], ["card_payment", "CashWithdrawal"]),
        (["wolf", "dog", "cat"], ["cat", "dog", "LABEL_2"]),
        (["a", "A"], ["a", "a (2)"]),
        (["tench", "goldfish"], ["tench, Tinca tinca", "goldfish, Carassius auratus"]),
        (["red", "green", "blue"], ["x", "y", "z"]),
        (["red", "green", "blue"], ["green", "red"]),
    ],
)
def test_other_spellings_and_other_names_in_the_same_order_are_taken(given: list[str], carried: list[str]) -> None:
    assert agreed_labels(given, carried) == given


def test_the_two_tables_of_a_config_must_agree() -> None:
    names = {"0": "cat", "1": "dog", "2": "fox"}
    assert config_labels({"id2label": names, "label2id": {"cat": 0, "dog": 1, "fox": 2}}) == ["cat", "dog", "fox"]
    assert config_labels({"id2label": names, "label2id": {"fox": "2", "dog": "1", "CAT": "0"}}) == ["cat", "dog", "fox"]
    assert config_labels({"id2label": names, "label2id": {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}}) == [
        "cat", "dog", "fox",
    ]  # fmt: skip
    for numbers in ({"dog": 0, "cat": 1, "fox": 2}, {"DOG": 0, "Cat": 1, "fox": 2}, {"fox": "0", "dog": "1", "cat": 2}):
        with pytest.raises(TeacherUnusable, match="contradicts itself"):
            config_labels({"id2label": names, "label2id": numbers})


def test_id2label_alone_names_the_classes() -> None:
    names = {"0": "cat", "1": "dog"}
    assert config_labels({"label2id": {"dog": 1, "cat": 0}}) is None
    assert config_labels({}) is None
    for odd in ({"dog": 1, "cat": 1}, {"dog": "x", "cat": None}, {"dog": 0}, {}, 3, None):
        assert config_labels({"id2label": names, "label2id": odd}) == ["cat", "dog"]
