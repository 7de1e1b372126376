"""Seven text teachers, each with its own view of diagnoses: by organ, by tumour site, by injured region, ..."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from .diagnoses import Classification, Diagnosis
from .folder import TeacherFolder
from .static_text import LinearHead, WordVectors, fit_head, graph_of, preprocessing

STUDENT_CHAPTER: Final = 17
"""Congenital malformations: the student's data; no teacher trains on them."""
_ORGANS: Final = (6, 7, 8, 9, 10, 11, 12, 13, 14)
_NOT_BY_SITE: Final = ("C7A", "C7B", "C76-C80", "C81-C96")
_MOST: Final = 300
"""Largest number of texts a class, so that large classes do not outweigh small ones."""
_HELD_OUT: Final = 0.15
_ORIGIN: Final = (
    "data: PyPI simple-icd-10-cm 1.5.0 (ICD-10-CM, public domain); vectors: PyPI wordllama 0.4.0.post1 (MIT)"
)


@dataclass(frozen=True)
class Subject:
    """What a teacher distinguishes: class keys in label order, their names, and the class of a diagnosis."""

    slug: str
    name: str
    description: str
    names: dict[str, str]
    key: Callable[[Diagnosis], str]


def subjects(known: Classification) -> list[Subject]:
    """The label sets of the seven teachers."""

    def block(diagnosis: Diagnosis) -> str:
        return diagnosis.block

    def chapter(diagnosis: Diagnosis) -> str:
        return str(diagnosis.chapter)

    sites = {
        key: title
        for key, title in known.blocks_of(2, least=14).items()
        if key.startswith("C") and key not in _NOT_BY_SITE
    }
    regions = {key: title for key, title in known.blocks_of(19).items() if key.startswith("S")}
    most = [number for number in known.chapters if number not in (2, 16, STUDENT_CHAPTER, 19, 22)]
    return [
        Subject(
            "diseases-by-organ-system",
            "Diseases by organ system",
            "Acquired diseases, by the system of the body they affect.",
            {str(number): known.chapters[number] for number in _ORGANS},
            chapter,
        ),
        Subject("tumours-by-site", "Tumours by site", "Malignant tumours, by where they grow.", sites, block),
        Subject("injuries-by-region", "Injuries by body region", "Injuries, by part of the body.", regions, block),
        Subject("infections", "Infections", "Infectious diseases, by kind.", known.blocks_of(1), block),
        Subject(
            "external-causes",
            "External causes",
            "What happened: traffic accidents, falls, weapons, weather. Unrelated to organs.",
            known.blocks_of(20),
            block,
        ),
        Subject("mental-disorders", "Mental disorders", "Mental disorders, by kind.", known.blocks_of(5), block),
        Subject(
            "all-diagnosis-blocks",
            "Diagnoses, all blocks",
            "The largest text teacher: every block of most chapters.",
            known.blocks_of(*most),
            block,
        ),
    ]


def _train(subject: Subject, known: Classification, vectors: WordVectors, seed: int) -> tuple[LinearHead, float]:
    """The head, and its accuracy on held-out texts of its own task."""
    position = {key: number for number, key in enumerate(subject.names)}
    of_class: list[list[str]] = [[] for _ in position]
    for diagnosis in known.diagnoses:
        if diagnosis.chapter != STUDENT_CHAPTER and subject.key(diagnosis) in position:
            of_class[position[subject.key(diagnosis)]].append(diagnosis.text)
    random = np.random.default_rng(seed)
    texts: list[str] = []
    labels: list[int] = []
    for number, found in enumerate(of_class):
        chosen = random.permutation(len(found))[:_MOST]
        texts += [found[i] for i in chosen]
        labels += [number] * len(chosen)
    rows, wanted = vectors.means(texts), np.array(labels, dtype=np.int64)
    held_out = random.random(len(texts)) < _HELD_OUT
    head = fit_head(rows[~held_out], wanted[~held_out], len(position))
    right = head.logits(rows[held_out]).argmax(axis=1) == wanted[held_out]
    return head, round(float(right.mean()), 4)


def write(
    out: Path, known: Classification, vectors: WordVectors, seed: int = 0, only: Collection[str] | None = None
) -> None:
    """Train the teachers (those whose slug is in `only`, or all) and write their folders."""
    for subject in subjects(known):
        if only is not None and subject.slug not in only:
            continue
        head, accuracy = _train(subject, known, vectors, seed)
        folder = TeacherFolder(out, subject.slug)
        onnx.save(graph_of(vectors, head), folder.path / "model.onnx")
        (folder.path / "tokenizer.json").write_text(vectors.tokenizer_json, encoding="utf-8")
        folder.describe(
            name=subject.name,
            description=subject.description,
            source={"kind": "onnx", "preprocessing": preprocessing(), "output": "logits"},
            modality="text",
            labels=list(subject.names.values()),
            accuracy=accuracy,
            licence="Apache-2.0",
            origin=_ORIGIN,
        )
