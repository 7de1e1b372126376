"""The main job: register teachers, rank them on a probe, distil the winner, use the student as a teacher."""

import hashlib
import io
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from preceptor import Client, JobCanceledError, NotFoundError, TeacherRejectedError
from preceptor.contract.jobs import JobStatus
from preceptor.contract.teachers import Teacher
from tests import digits_zoo

CLASSES = [5, 6, 7, 8, 9]
TAG = "main-job"


@pytest.fixture(scope="module")
def zoo(client: Client, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Teacher]:
    """Four ready teachers: all digits, the student's digits but one, other digits, and names that lie."""
    folder = tmp_path_factory.mktemp("zoo")
    everything = list(range(10))
    folders = [
        digits_zoo.write_teacher(folder, "all digits", everything),
        digits_zoo.write_teacher(folder, "high digits", [6, 7, 8, 9]),
        digits_zoo.write_teacher(folder, "low digits", [0, 1, 2, 3, 4]),
        digits_zoo.write_teacher(
            folder, "wrong names", everything, labels=[*digits_zoo.NAMES[5:], *digits_zoo.NAMES[:5]]
        ),
    ]
    ready = [client.teachers.add_folder(path, tags=[TAG]) for path in folders]
    assert [teacher.status for teacher in ready] == ["ready"] * 4
    return {teacher.name: teacher for teacher in ready}


def test_the_main_job(client: Client, zoo: dict[str, Teacher], tmp_path: Path) -> None:
    labelled = client.probes.upload(digits_zoo.probe(CLASSES, 900, 1200, per_class=5), format="npz")
    transfer = client.probes.upload(digits_zoo.probe(CLASSES, 1200, 1500, labelled=False), format="npz")
    test = client.probes.upload(digits_zoo.probe(CLASSES, 1500, 1797), format="npz")
    assert (labelled.items, labelled.labels) == (25, [digits_zoo.NAMES[number] for number in CLASSES])
    assert not transfer.labelled

    first = client.recommendations.create(probe=labelled.id, tags=[TAG])
    result = first.wait(timeout=60)
    assert result.method == "auto"
    assert result.blend is not None
    assert sum(result.blend.values()) == pytest.approx(1, abs=1e-3)
    order = [row.name for row in result.ranking]
    assert order[0] == "all digits"
    assert order.index("high digits") < order.index("low digits")
    assert order.index("all digits") < order.index("wrong names")
    for row in result.ranking:
        assert row.certainty is not None
        assert row.score is not None
        assert row.certainty.low <= row.score <= row.certainty.high
        assert row.expected_accuracy is not None
        assert 0 <= row.expected_accuracy_low <= row.expected_accuracy <= row.expected_accuracy_high <= 100
        assert row.scores is not None
        assert set(row.scores) == set(result.blend)
    assert sum(row.certainty.best for row in result.ranking if row.certainty) == pytest.approx(1, abs=1e-3)
    assert result.ranking[0].certainty is not None
    assert result.ranking[0].certainty.ties == 1
    assert result.ranking[0].certainty.better_than_random > 0.95
    assert not result.abstain
    # "wrong names" has the weights of "all digits": its outputs are known already.
    assert (result.timings.caches["outputs"].hits, result.timings.caches["outputs"].misses) == (1, 3)
    again = client.recommendations.create(probe=labelled.id, tags=[TAG]).wait(timeout=60)
    assert again.timings.caches["outputs"].hits == 4
    assert [row.cost for row in again.ranking] == [row.cost for row in result.ranking]

    brief = client.recommendations.create(probe=labelled.id, tags=[TAG], budget_seconds=1e-6).wait(timeout=60)
    assert len(brief.ranking) == 1
    assert brief.ranking[0].name in ("all digits", "wrong names"), "the nearest by names are asked first"
    assert ["budget of 1e-06 s was used up" in row.reason for row in brief.skipped] == [True] * 3

    leep = client.recommendations.create(probe=labelled.id, tags=[TAG], method="leep").wait(timeout=60)
    assert (leep.method, leep.higher_is_better) == ("leep", True)
    scores = [row.score for row in leep.ranking if row.score is not None]
    assert scores == sorted(scores, reverse=True)
    assert leep.ranking[0].name in ("all digits", "wrong names"), "LEEP does not read names"

    job = client.distillations.create(
        data=labelled.id,
        transfer=transfer.id,
        test=test.id,
        recommendation=first.id,
        training={"epochs": 20, "batch_size": 32, "seeds": 2},
    )
    seen = {event.event for event in job.events()}
    assert {"status", "progress", "epoch"} <= seen
    distilled = job.wait(timeout=120)
    assert distilled.teachers == [zoo["all digits"].id]
    assert distilled.without_teacher is not None
    assert distilled.gain is not None
    assert distilled.gain.mean == pytest.approx(distilled.with_teacher.mean - distilled.without_teacher.mean, abs=1e-6)
    assert distilled.gain.low <= distilled.gain.mean <= distilled.gain.high
    assert distilled.test_items == test.items
    assert [one["id"] for one in distilled.settings["teachers"]] == distilled.teachers
    student = client.students.get(distilled.student)
    assert (student.accuracy, student.gain) == (distilled.with_teacher.mean, distilled.gain)
    assert student.verdict == distilled.verdict
    audited = client.audit()
    assert [(entry.id, entry.teacher, entry.gain) for entry in audited.latest] == [
        (job.id, zoo["all digits"].id, distilled.gain)
    ]
    assert set(audited.latest[0].scores) == {"auto", *result.blend}
    assert set(audited.latest[0].higher_is_better) == set(audited.latest[0].scores)

    files = {file.name: file for file in distilled.artifacts}
    assert {"model.onnx", "teacher.json"} <= set(files)
    path = client.students.download(distilled.student, "model.onnx", to=tmp_path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == files["model.onnx"].sha256
    x, y = digits_zoo.digits()
    rows = [row for row in range(1500, 1797) if y[row] in CLASSES]
    session = onnxruntime.InferenceSession(path)
    logits = session.run(None, {session.get_inputs()[0].name: x[rows]})[0]
    right = np.asarray(logits).argmax(1) == [CLASSES.index(int(y[row])) for row in rows]
    assert right.mean() == pytest.approx(distilled.with_teacher.per_seed[0], abs=1e-6)

    promoted = client.students.promote(distilled.student, name="my student")
    assert promoted.promoted_from == distilled.student
    assert promoted.validation is not None
    client.jobs.get(promoted.validation).wait(timeout=60)
    assert client.teachers.get(promoted.id).status == "ready"
    ranked = client.recommendations.create(probe=labelled.id, teachers=[promoted.id, zoo["low digits"].id]).wait(
        timeout=60
    )
    assert ranked.ranking[0].name == "my student"
    client.students.delete(student)
    assert client.recommendations.create(probe=labelled.id, teachers=["my student"]).wait(timeout=60).ranking


def test_a_broken_teacher_is_rejected_with_a_reason(client: Client, tmp_path: Path) -> None:
    folder = digits_zoo.write_teacher(tmp_path, "too many names", [0, 1, 2], labels=["a", "b", "c", "d"])
    with pytest.raises(TeacherRejectedError, match="3 outputs but there are 4 labels"):
        client.teachers.add_folder(folder)


def test_a_check_answers_as_a_registration_and_leaves_nothing(client: Client, tmp_path: Path) -> None:
    before = [teacher.id for teacher in client.teachers.list()], [labels.id for labels in client.label_sets.list()]
    good = client.teachers.check(digits_zoo.write_teacher(tmp_path, "checked", [0, 1, 2]))
    assert (good.status, good.name, good.labels) == ("ready", "checked", digits_zoo.NAMES[:3])
    assert good.parameters
    bad = client.teachers.check(digits_zoo.write_teacher(tmp_path, "bad", [0, 1, 2], labels=["a", "b", "c", "d"]))
    assert bad.status == "rejected"
    assert "3 outputs but there are 4 labels" in str(bad.reason)
    after = [teacher.id for teacher in client.teachers.list()], [labels.id for labels in client.label_sets.list()]
    assert after == before
    for checked in (good, bad):
        with pytest.raises(NotFoundError):
            client.teachers.get(checked.id)


def test_a_black_box_teacher_is_ranked_by_its_predictions(client: Client, zoo: dict[str, Teacher]) -> None:
    labelled = client.probes.upload(digits_zoo.probe(CLASSES, 900, 1200, per_class=5), format="npz")
    names = [digits_zoo.NAMES[number] for number in CLASSES]
    oracle = client.teachers.add(
        name="oracle", modality="text", labels=names, source={"kind": "predictions"}, tags=["oracle"]
    )
    job = client.jobs.get(str(oracle.validation))
    job.wait(timeout=60)
    body = [oracle.id, zoo["all digits"].id]
    without = client.recommendations.create(probe=labelled.id, teachers=body).wait(timeout=60)
    assert [row.name for row in without.ranking] == ["all digits"]
    assert "upload them" in without.skipped[0].reason
    buffer = io.BytesIO()
    np.savez(buffer, predictions=np.repeat(np.eye(5), 5, axis=0))
    client.teachers.upload_predictions(oracle.id, labelled.id, buffer.getvalue())
    ranked = client.recommendations.create(probe=labelled.id, teachers=body).wait(timeout=60)
    assert ranked.ranking[0].name == "oracle"
    assert ranked.ranking[0].cost == pytest.approx(0, abs=1e-6)


def test_a_teacher_deleted_while_the_job_waits_is_a_row_or_a_reason(
    client: Client, zoo: dict[str, Teacher], tmp_path: Path
) -> None:
    gone = client.teachers.add_folder(digits_zoo.write_teacher(tmp_path, "gone", [0, 1, 2]))
    labelled = client.probes.upload(digits_zoo.probe(CLASSES, 900, 1200, per_class=5), format="npz")
    client.teachers.delete(gone.id)
    result = client.recommendations.create(probe=labelled.id, tags=[TAG]).wait(timeout=60)
    assert "gone" not in {row.name for row in result.ranking}


def test_a_running_distillation_is_canceled(client: Client, zoo: dict[str, Teacher]) -> None:
    labelled = client.probes.upload(digits_zoo.probe(CLASSES, 900, 1200, per_class=5), format="npz")
    job = client.distillations.create(
        data=labelled.id, teachers=[zoo["all digits"].id], training={"epochs": 10_000, "seeds": 5}
    )
    for event in job.events():
        if event.event == "progress" and event.data["fraction"] > 0:
            break
    job.cancel()
    with pytest.raises(JobCanceledError):
        job.wait(timeout=30)
    assert client.jobs.get(job.id).status == JobStatus.CANCELED
