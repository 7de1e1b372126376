"""The text teachers of the demo zoo, part by part; `test_demo_zoo.py` builds the whole."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer

pytest.importorskip("wordllama", reason="the demo zoo's packages are not installed (extra 'demo')")
pytest.importorskip("simple_icd_10_cm", reason="the demo zoo's packages are not installed (extra 'demo')")

from examples.demo_zoo import tasks, text_teachers
from examples.demo_zoo.diagnoses import Classification
from examples.demo_zoo.folder import TeacherFolder
from examples.demo_zoo.static_text import LinearHead, WordVectors, fit_head, graph_of
from preceptor.contract.teachers import TeacherBody
from service.core.settings import Settings
from service.ingest import ingest


@pytest.fixture(scope="module")
def vectors() -> WordVectors:
    return WordVectors(64)


def test_vectors_know_what_is_alike(vectors: WordVectors) -> None:
    rows = vectors.means(["heart attack", "myocardial infarction", "broken window", ""])
    assert (rows.shape, rows.dtype) == ((4, 64), np.float32)
    assert not rows[3].any()
    near, far = (float(rows[0] @ row / np.linalg.norm(rows[0]) / np.linalg.norm(row)) for row in rows[1:3])
    assert near > far + 0.1


def test_the_head_is_the_regression_it_claims_to_be() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 120)
    rows = (random.normal(size=(120, 5)) * [1, 5, 0.1, 20, 1] + 3 * labels[:, None]).astype(np.float32)
    head = fit_head(rows, labels, 3, penalty=0.01)
    standard = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-6)
    # C counts the sum of losses and half the norm; the head counts their mean and the whole norm.
    wanted = LogisticRegression(C=1 / (2 * 0.01 * 120), tol=1e-8, max_iter=1000).fit(standard, labels)
    logits = head.logits(rows)
    found = np.exp(logits - logits.max(axis=1, keepdims=True))
    found /= found.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, wanted.predict_proba(standard), atol=2e-3)


def test_the_graph_answers_as_the_head_does_whatever_the_padding(vectors: WordVectors) -> None:
    random = np.random.default_rng(1)
    weight, bias = random.normal(size=(4, 64)).astype(np.float32), random.normal(size=4).astype(np.float32)
    head = LinearHead(weight, bias)
    texts = ["Tetralogy of Fallot", "fall from a ladder in a warehouse, first visit", ""]
    tokenizer = Tokenizer.from_str(vectors.tokenizer_json)
    ids = [tokenizer.encode(text).ids for text in texts]
    inputs = np.full((3, max(map(len, ids)) + 2), 7, dtype=np.int64)
    mask = np.zeros_like(inputs)
    for row, tokens in enumerate(ids):
        inputs[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    session = onnxruntime.InferenceSession(graph_of(vectors, head).SerializeToString())
    found = np.asarray(session.run(["logits"], {"input_ids": inputs, "attention_mask": mask})[0])
    np.testing.assert_allclose(found, head.logits(vectors.means(texts)), atol=1e-4)


def test_no_label_set_holds_the_students_texts(known: Classification) -> None:
    made = text_teachers.subjects(known)
    assert len({subject.slug for subject in made}) == len(made) == 7
    student = [d for d in known.diagnoses if d.chapter == text_teachers.STUDENT_CHAPTER]
    assert len(student) > 1000
    for subject in made:
        assert len(subject.names) >= 9
        assert not {subject.key(diagnosis) for diagnosis in student} & subject.names.keys()


def test_one_teacher_is_trained_and_described(tmp_path: Path, known: Classification, vectors: WordVectors) -> None:
    text_teachers.write(tmp_path, known, vectors, only={"mental-disorders"})
    (folder,) = (tmp_path / "teachers").iterdir()
    described = json.loads((folder / "teacher.json").read_text())
    assert described["accuracy"] > 0.7  # of 9 classes, with 64 columns
    fields = TeacherBody.model_fields.keys()
    body = TeacherBody.model_validate({key: value for key, value in described.items() if key in fields})
    assert (body.source.kind, body.labels) == ("onnx", described["labels"])
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "tokenizer.json", "teacher.json"}


def test_a_description_is_the_same_at_every_run(tmp_path: Path) -> None:
    written: list[bytes] = []
    for _ in range(2):
        folder = TeacherFolder(tmp_path, "x")
        folder.describe(
            name="Ä",
            description="d",
            source={"kind": "hub"},
            modality="text",
            labels=["a", "b"],
            licence="l",
            origin="o",
        )
        written.append((folder.path / "teacher.json").read_bytes())
    assert written[0] == written[1]
    assert "Ä" in written[0].decode()


def test_the_students_texts_are_probes_and_do_not_overlap(tmp_path: Path, known: Classification) -> None:
    task = tasks.birth_defects(tmp_path, known)
    texts: dict[str, set[str]] = {}
    for part in ("labelled", "unlabelled", "test"):
        path = tmp_path / task[part]
        texts[part] = {json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()}
        found = ingest(
            path,
            filename=path.name,
            format=None,
            labels=None if part == "unlabelled" else task["labels"],
            settings=Settings(),
            target=tmp_path / "probe",
        ).description
        assert found["labels"] == (None if part == "unlabelled" else task["labels"])
        assert found["counts"] == [3] * 9 if part == "labelled" else found["items"] > 500
    assert sum(map(len, texts.values())) == len(set.union(*texts.values())) == 27 + 700 + len(texts["test"])
