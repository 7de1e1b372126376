"""The students' data: few labelled items, many unlabelled ones, and a test set; real, and unseen by any teacher."""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from . import digits
from .diagnoses import Classification
from .text_teachers import STUDENT_CHAPTER

BIRTH_DEFECTS: Final = {
    "Q00-Q07": "nervous system",
    "Q10-Q18": "eye, ear, face and neck",
    "Q20-Q28": "circulatory system",
    "Q30-Q34": "respiratory system",
    "Q38-Q45": "digestive system",
    "Q50-Q56": "genital organs",
    "Q60-Q64": "urinary system",
    "Q65-Q79": "musculoskeletal system",
    "Q90-Q99": "chromosomal abnormalities",
}
"""The blocks "Congenital malformations of the ..." without the words that they share."""


DISTILLATION: Final[dict[str, Any]] = {
    "student": {"kind": "builtin", "name": "auto"},
    "loss": {"name": "transport", "ground_cost": "joint", "weight": "auto"},
    "training": {"epochs": 20, "seeds": 1},
}
"""The part of a `DistillationBody` that was measured on these tasks."""


def split(
    labels: NDArray[np.int64], few: int, unlabelled: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Row numbers of the labelled items (`few` a class), of the unlabelled items and of the test items (the rest)."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    labelled = np.concatenate([shuffled[labels[shuffled] == c][:few] for c in np.unique(labels)])
    rest = shuffled[~np.isin(shuffled, labelled)]
    return labelled, rest[:unlabelled], rest[unlabelled:]


def birth_defects(
    out: Path, known: Classification, few: int = 3, unlabelled: int = 700, seed: int = 0
) -> dict[str, Any]:
    """Malformations by organ system, as JSON lines."""
    keys = list(BIRTH_DEFECTS)
    items = [d for d in known.diagnoses if d.chapter == STUDENT_CHAPTER and d.block in BIRTH_DEFECTS]
    labels = np.array([keys.index(item.block) for item in items], dtype=np.int64)
    names = list(BIRTH_DEFECTS.values())
    folder = out / "probes" / "birth-defects"
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, str] = {}
    for part, rows in zip(("labelled", "unlabelled", "test"), split(labels, few, unlabelled, seed), strict=True):
        lines: list[dict[str, str]] = []
        for row in rows:
            line = {"text": items[row].text}
            if part != "unlabelled":
                line["label"] = names[labels[row]]
            lines.append(line)
        written = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / f"{part}.jsonl").write_text(written, encoding="utf-8")
        files[part] = f"probes/birth-defects/{part}.jsonl"
    return {
        "slug": "birth-defects",
        "title": "Birth defects by organ system",
        "story": (
            "A hospital wants to sort descriptions of birth defects by the system of the body they affect. It has "
            f"{few} labelled examples of each class. No teacher was trained on birth defects, and no teacher has a "
            "class with the name of a student's class; but some cover organs."
        ),
        "modality": "text",
        "labels": names,
        **files,
        "distillation": DISTILLATION,
        "expected_best": "diseases-by-organ-system",
    }


def handwritten_digits(out: Path, few: int = 3, unlabelled: int = 400, seed: int = 0) -> dict[str, Any]:
    """Digits by other writers than the teachers', as Parquet with PNG pictures."""
    pictures, found = digits.load()
    pictures, labels = pictures[digits.TEACHERS_SHARE :], found[digits.TEACHERS_SHARE :]
    folder = out / "probes" / "digits"
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, str] = {}
    for part, rows in zip(("labelled", "unlabelled", "test"), split(labels, few, unlabelled, seed), strict=True):
        images = [{"bytes": digits.png(pictures[row]), "path": f"{part}-{n}.png"} for n, row in enumerate(rows)]
        features: dict[str, Any] = {"image": {"_type": "Image"}}
        columns: dict[str, Any] = {"image": pa.array(images)}
        if part != "unlabelled":
            features["label"] = {"names": list(digits.NAMES), "_type": "ClassLabel"}
            columns["label"] = pa.array(labels[rows])
        described = json.dumps({"info": {"features": features}})
        pq.write_table(pa.table(columns, metadata={"huggingface": described}), folder / f"{part}.parquet")
        files[part] = f"probes/digits/{part}.parquet"
    return {
        "slug": "digits",
        "title": "Digits by new writers",
        "story": (
            f"{few} labelled examples of each digit, by writers whom no teacher has seen. Several teachers cover "
            "some of the digits; one covers all; one has all the names but was trained on wrong labels."
        ),
        "modality": "image",
        "labels": list(digits.NAMES),
        **files,
        "distillation": DISTILLATION,
        "expected_best": "digits-all",
    }
