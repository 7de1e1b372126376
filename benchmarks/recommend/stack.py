"""A running stack with a zoo of many label sets, in the state after their validation."""

import asyncio
import random
from datetime import UTC, datetime
from pathlib import Path

from preceptor.contract.ids import TEACHER, new_id
from preceptor.contract.teachers import PredictionsSource, Teacher, TeacherStatus
from service.core.settings import Settings
from service.core.state import State

_AT_ONCE = 100


def settings(folder: Path) -> Settings:
    """An embedded deployment in a folder, one thread per worker."""
    return Settings(data=folder, port=0, redis_url=None, threads=1)


def register_teachers(folder: Path, count: int, words: list[str]) -> None:
    """Register `count` ready teachers, each with 5 to 100 of the words as labels."""

    async def write() -> None:
        generator, moment = random.Random(0), datetime.now(UTC)
        async with State(settings(folder)) as state:
            await state.ensure_index()
            for begin in range(0, count, _AT_ONCE):
                made = [
                    Teacher(
                        id=new_id(TEACHER),
                        name=f"teacher {number}",
                        status=TeacherStatus.READY,
                        source=PredictionsSource(),
                        modality="features",
                        labels=generator.sample(words, generator.randint(5, 100)),
                        created_at=moment,
                        updated_at=moment,
                    )
                    for number in range(begin, min(count, begin + _AT_ONCE))
                ]
                await asyncio.gather(*(state.teachers.put(teacher) for teacher in made))

    asyncio.run(write())
