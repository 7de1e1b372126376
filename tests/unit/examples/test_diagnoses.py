"""The text data of the demo zoo is what its docstring says."""

import pytest

pytest.importorskip("simple_icd_10_cm", reason="the demo zoo's packages are not installed (extra 'demo')")

from examples.demo_zoo.diagnoses import Classification
from examples.demo_zoo.tasks import BIRTH_DEFECTS, split


def test_texts_are_many_distinct_and_of_known_classes(known: Classification) -> None:
    texts = [diagnosis.text.lower() for diagnosis in known.diagnoses]
    assert len(texts) > 30_000
    assert len(set(texts)) == len(texts)
    assert {diagnosis.block for diagnosis in known.diagnoses} <= known.blocks.keys()
    assert all(known.chapter_of[d.block] == d.chapter for d in known.diagnoses)


def test_titles_are_official_and_without_codes(known: Classification) -> None:
    assert known.chapters[9] == "Diseases of the circulatory system"
    assert known.blocks["S00-S09"] == "Injuries to the head"
    assert not any(title.endswith("-S99)") for title in known.blocks.values())


def test_a_known_heart_defect_is_filed_under_the_circulatory_system(known: Classification) -> None:
    found = [d for d in known.diagnoses if d.text == "Tetralogy of Fallot"]
    assert [BIRTH_DEFECTS[d.block] for d in found] == ["circulatory system"]


def test_split_is_disjoint_complete_and_balanced() -> None:
    import numpy as np

    labels = np.repeat(np.arange(4), 50)
    few, unlabelled, test = split(labels, few=3, unlabelled=90, seed=1)
    assert np.bincount(labels[few]).tolist() == [3, 3, 3, 3]
    assert len(unlabelled) == 90
    assert sorted([*few, *unlabelled, *test]) == list(range(200))
