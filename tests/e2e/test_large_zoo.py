"""A zoo that is larger than what one wants to run: found by names, cut to a shortlist, and steered by hand."""

import io
import json
from pathlib import Path

import httpx2
import numpy as np
import pytest

from preceptor import Client
from service.cli.dev_stack import Stack
from tests import digits_zoo

TAG = "large-zoo"
WORDS = ["lion", "tiger", "truck", "bus", "hammer", "saw", "rose", "tulip", "oak", "elm", "violin", "flute"]


@pytest.fixture(scope="module")
def zoo(client: Client, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two digit teachers that can be run, and six black boxes that have names alone."""
    root = tmp_path_factory.mktemp("teachers")
    ids = {}
    for name, classes in (("low", [0, 1, 2, 3, 4]), ("high", [5, 6, 7, 8, 9])):
        folder = digits_zoo.write_teacher(root, name, classes)
        ids[name] = client.teachers.add_folder(folder, tags=[TAG]).id
    for number in range(0, len(WORDS), 2):
        folder = root / WORDS[number]
        folder.mkdir()
        (folder / "teacher.json").write_text(
            json.dumps(
                {
                    "name": WORDS[number],
                    "labels": WORDS[number : number + 2],
                    "modality": "features",
                    "source": {"kind": "predictions"},
                }
            )
        )
        ids[WORDS[number]] = client.teachers.add_folder(folder, tags=[TAG]).id
    return ids


def test_the_nearest_of_all_is_found_without_solving_all(client: Client, zoo: dict[str, str]) -> None:
    result = client.recommendations.create(["cat", "leopard"], tags=[TAG], top_k=1).wait(60)
    assert [row.teacher for row in result.ranking] == [zoo["lion"]]
    assert result.considered == 8
    assert result.solved < 8


def test_a_new_teacher_takes_part_at_once_and_a_deleted_one_no_more(client: Client, tmp_path: Path) -> None:
    (tmp_path / "teacher.json").write_text(
        json.dumps(
            {"name": "cats", "labels": ["cat", "leopard"], "modality": "features", "source": {"kind": "predictions"}}
        )
    )
    added = client.teachers.add_folder(tmp_path, tags=[TAG])
    first = client.recommendations.create(["cat", "leopard"], tags=[TAG], top_k=1).wait(60)
    assert (first.ranking[0].teacher, first.ranking[0].cost) == (added.id, 0)
    client.teachers.delete(added.id)
    again = client.recommendations.create(["cat", "leopard"], tags=[TAG], top_k=1).wait(60)
    assert again.ranking[0].teacher != added.id


def test_a_probe_is_shown_to_the_shortlist_alone(client: Client, zoo: dict[str, str]) -> None:
    probe = client.probes.upload(digits_zoo.probe([7, 8, 9], 900, 1100, per_class=5), format="npz")
    result = client.recommendations.create(probe=probe, tags=[TAG], shortlist=2).wait(60)
    assert {row.teacher for row in result.ranking} == {zoo["low"], zoo["high"]}
    assert result.ranking[0].teacher == zoo["high"]
    assert (result.considered, result.solved) == (8, 2)
    assert any("of 8 teachers, the 2 nearest by names" in warning for warning in result.warnings)
    every = client.recommendations.create(probe=probe, tags=[TAG]).wait(60)
    assert len(every.skipped) == 6
    assert all("upload them with PUT" in row.reason for row in every.skipped)


def test_pairs_set_by_hand_change_the_ranking(client: Client, stack: Stack, zoo: dict[str, str]) -> None:
    force = [
        {"teacher": "oak", "student": "cat", "cost": 0},
        {"teacher": "elm", "student": "leopard", "cost": 0},
        {"teacher": "lion", "student": "cat", "cost": 2},
    ]
    result = client.recommendations.create(["cat", "leopard"], tags=[TAG], top_k=8, pairs=force).wait(60)
    assert (result.ranking[0].teacher, result.ranking[0].cost) == (zoo["oak"], 0)
    plan = {entry.label: entry.sources[0].label for entry in result.ranking[0].plan}
    assert plan == {"cat": "oak", "leopard": "elm"}
    lion = next(row for row in result.ranking if row.teacher == zoo["lion"])
    assert next(entry for entry in lion.plan if entry.label == "cat").sources[0].label == "tiger"
    body = {"student": {"labels": ["a", "b"]}, "pairs": [{"teacher": "x", "student": "a", "cost": 3}]}
    refused = httpx2.post(f"{stack.url}/v1/recommendations", json=body)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/pairs/0/cost"


def test_names_without_meaning_are_the_students_fault_alone(client: Client, zoo: dict[str, str]) -> None:
    job = client.recommendations.create(["猫狗鸟", "鱼马牛"], tags=[TAG])
    with pytest.raises(Exception, match="embeddings") as raised:
        job.wait(60)
    assert "lion" not in str(raised.value)


def test_features_of_another_modality_are_left_out_unless_named(client: Client, zoo: dict[str, str]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, features=np.eye(8, dtype=np.float32), labels=np.arange(8) % 2, label_names=["lion", "tiger"])
    probe = client.probes.upload(buffer.getvalue(), format="npz")
    with pytest.raises(Exception, match="64"):
        client.recommendations.create(probe=probe, teachers=[zoo["low"]]).wait(60)
