"""Names that name nothing are recognised in any spelling, and real names with numbers in them are not."""

import pytest

from service.core.labels.class_names import placeholder_names, placeholders


@pytest.mark.parametrize(
    "names",
    [
        ["LABEL_0", "LABEL_1"],
        ["label 0", "Label-1"],
        ["__label__0", "__label__1"],
        ["cat", "dog", "LABEL_2"],
        ["0", "1", "2"],
        ["0.0", "1.0"],
        ["-1", "1"],
        ["１", "２"],
        ["class_0", "class_1", "class_2"],
        ["Class 1", "Class 2", "other"],
        ["Klasse 1", "Klasse 2"],
        ["类别1", "类别2"],
        ["cluster_0", "cluster_1"],
        ["#1", "#2"],
        ["[0]", "[1]"],
        ["c0", "c1"],
        ["id: 7", "id: 8"],
        ["n01440764", "n01443537"],
    ],
)
def test_placeholders_are_recognised(names: list[str]) -> None:
    assert placeholder_names(names)
    assert set(placeholders(names)) <= set(names)


@pytest.mark.parametrize(
    "names",
    [
        ["cat", "dog"],
        ["a", "b", "c", "y"],
        ["747-400", "A380", "DC-3"],
        ["zero", "one", "2"],
        ["1 star", "2 stars", "3 stars"],
        ["type 1 diabetes", "type 2 diabetes"],
        ["n01440764 tench", "n01443537 goldfish"],
        ["label", "class"],
        ["LABEL_A", "LABEL_B"],
        ["model 3", "model s"],
        ["1990s", "2000s"],
        ["S1", "S2", "S3"],
        ["猫", "犬"],
        [],
    ],
)
def test_names_with_meaning_are_not(names: list[str]) -> None:
    assert not placeholder_names(names)
    assert placeholders(names) == []


def test_which_names_are_meant() -> None:
    assert placeholders(["cat", "LABEL_1", "3"]) == ["LABEL_1"]
    assert placeholders(["cat", "1", "2"]) == ["1", "2"]
    assert placeholders(["cat", "2"]) == []
