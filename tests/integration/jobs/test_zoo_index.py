"""The zoo index follows the zoo: real Redis, real store, a real index; words are points on a circle."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from preceptor.contract.ids import TEACHER, new_id
from preceptor.contract.recommendations import RecommendationBody, TeacherFilter
from preceptor.contract.teachers import Teacher, TeacherStatus, TransformersSource
from service.core.state import State
from worker.errors import InvalidInput
from worker.jobs.zoo_index import ZooIndex
from worker.transport.search import top_k

pytestmark = pytest.mark.anyio
ANYONE = RecommendationBody.model_validate({"student": {"labels": ["a", "b"]}})


class Words:
    """An encoder that counts what it is asked, and knows no word with a question mark."""

    identity = "words"
    dim = 8

    def __init__(self) -> None:
        self.asked = 0

    def encode(self, labels: Sequence[str]) -> NDArray[np.float32]:
        self.asked += len(labels)
        if any("?" in label for label in labels):
            raise InvalidInput("a label holds no known word")
        rows = [
            np.random.default_rng(list(hashlib.sha256(label.encode()).digest())).standard_normal(8) for label in labels
        ]
        return np.array([row / np.linalg.norm(row) for row in rows], dtype=np.float32)


def teacher(name: str, labels: list[str], *, status: TeacherStatus = TeacherStatus.READY, tag: str = "x") -> Teacher:
    moment = datetime.now(UTC)
    return Teacher(
        id=new_id(TEACHER),
        name=name,
        status=status,
        source=TransformersSource(),
        modality="image",
        labels=labels,
        tags=[tag],
        created_at=moment,
        updated_at=moment,
    )


def names(zoo_index: ZooIndex, body: RecommendationBody = ANYONE) -> set[str]:
    return {entry.name for entry in zoo_index.eligible(body)}


def nearest(zoo_index: ZooIndex, labels: list[str]) -> str:
    found = top_k(zoo_index.index, Words().encode(labels), None, 1, among=[e.key for e in zoo_index.eligible(ANYONE)])
    return found.ids[0].partition("/")[0]


async def test_it_follows_what_comes_changes_and_goes(state: State, tmp_path: Path) -> None:
    words = Words()
    zoo_index = ZooIndex(words, tmp_path)
    cats, cars = teacher("cats", ["lion", "tiger"]), teacher("cars", ["bus", "truck"], tag="y")
    waiting = teacher("waiting", ["ant", "bee"], status=TeacherStatus.AWAITING_FILES)
    for each in (cats, cars, waiting):
        await state.teachers.put(each)
    await zoo_index.follow(state)
    assert names(zoo_index) == {"cats", "cars"}
    assert nearest(zoo_index, ["bus", "truck"]) == cars.id

    await state.teachers.put(waiting.model_copy(update={"status": TeacherStatus.READY}))
    await state.teachers.put(cars.model_copy(update={"labels": ["oak", "elm"]}))
    await state.teachers.delete(cats.id)
    await zoo_index.follow(state)
    assert names(zoo_index) == {"waiting", "cars"}
    assert nearest(zoo_index, ["oak", "elm"]) == cars.id
    assert len(zoo_index.index) == 2
    only = RecommendationBody(student=ANYONE.student, teachers=TeacherFilter(tags=["y"]))
    assert names(zoo_index, only) == {"cars"}

    await state.teachers.put(cars.model_copy(update={"status": TeacherStatus.REJECTED}))
    await zoo_index.follow(state)
    assert names(zoo_index) == {"waiting"}

    asked = words.asked
    await zoo_index.follow(state)
    assert words.asked == asked


async def test_a_new_worker_embeds_nothing_that_is_indexed(state: State, tmp_path: Path) -> None:
    for number in range(450):
        await state.teachers.put(teacher(f"t{number}", [f"a{number}", f"b{number}"]))
    await ZooIndex(Words(), tmp_path).follow(state)
    again = Words()
    zoo_index = ZooIndex(again, tmp_path)
    await zoo_index.follow(state)
    assert again.asked == 0
    assert len(zoo_index.eligible(ANYONE)) == 450


async def test_a_flushed_redis_is_noticed(state: State, tmp_path: Path) -> None:
    zoo_index = ZooIndex(Words(), tmp_path)
    kept, gone = teacher("kept", ["a", "b"]), teacher("gone", ["c", "d"])
    await state.teachers.put(kept)
    await state.teachers.put(gone)
    await zoo_index.follow(state)
    await state.store.delete(f"teachers/{gone.id}/record.json")
    await state.client.flushall()
    await zoo_index.follow(state)
    assert names(zoo_index) == {"kept"}
    assert len(zoo_index.index) == 1


async def test_one_label_set_without_meaning_spoils_nothing(state: State, tmp_path: Path) -> None:
    zoo_index = ZooIndex(Words(), tmp_path)
    await state.teachers.put(teacher("good", ["a", "b"]))
    await state.teachers.put(teacher("strange", ["?", "!?"]))
    await zoo_index.follow(state)
    problems = {entry.name: entry.problem for entry in zoo_index.eligible(ANYONE)}
    assert problems == {"good": None, "strange": "a label holds no known word"}


async def test_a_damaged_index_is_made_anew(state: State, tmp_path: Path) -> None:
    cats = teacher("cats", ["lion", "tiger"])
    await state.teachers.put(cats)
    await ZooIndex(Words(), tmp_path).follow(state)
    (current,) = tmp_path.glob("*/CURRENT")
    current.write_text("{")
    zoo_index = ZooIndex(Words(), tmp_path)
    await zoo_index.follow(state)
    assert nearest(zoo_index, ["lion", "tiger"]) == cats.id
