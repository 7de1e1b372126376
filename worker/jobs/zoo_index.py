"""A worker's local view of the zoo: the eligible teachers, and the index of all label names.

It follows the changes that Redis counts, so a query over a hundred thousand teachers reads none of them. The index
is a local, derived copy; all workers on a machine share it, and a lost or damaged one is rebuilt.
"""

import asyncio
import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from preceptor.contract.recommendations import RecommendationBody
from preceptor.contract.source_kinds import SOURCE_KINDS
from preceptor.contract.teachers import Modality, Teacher, TeacherStatus
from service.core.errors import PreceptorError
from service.core.state import State
from service.core.storage.documents import Revision
from worker.errors import ComputationFailed
from worker.label_encoder import LabelEncoder
from worker.transport.label_index import LabelIndex

_BATCH: Final = 200
"""Teachers read and indexed per call."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """A ready teacher.

    Attributes
    ----------
    opaque
        Known only by its predictions, so it accepts a probe of any modality.
    key
        Its id in the index; another one when its labels change.
    problem
        Why its labels have no embedding; None if they are indexed.
    """

    id: str
    name: str
    modality: Modality | None
    opaque: bool
    tags: frozenset[str]
    key: str
    problem: str | None = None

    def takes_part(self, body: RecommendationBody) -> bool:
        """Whether it passes the request's filter; as `service.core.labels.student_labels.takes_part`."""
        chosen = body.teachers
        return chosen is None or (
            (chosen.ids is None or self.id in chosen.ids)
            and (chosen.tags is None or self.tags.issuperset(chosen.tags))
            and (chosen.modality is None or chosen.modality == self.modality)
        )


def _key(id: str, labels: Sequence[str]) -> str:
    return f"{id}/{hashlib.sha256(json.dumps(labels).encode()).hexdigest()[:16]}"


class ZooIndex:
    """One worker's view of the zoo.

    Parameters
    ----------
    encoder
        Encoder of the index.
    folder
        Local folder for indices; each encoder has a separate one.
    """

    def __init__(self, encoder: LabelEncoder, folder: Path) -> None:
        self._encoder = encoder
        self._folder = folder / hashlib.sha256(encoder.identity.encode()).hexdigest()[:16]
        self._entries: dict[str, Entry] = {}
        self._revision: Revision | None = None
        self._lock = asyncio.Lock()
        self._index: LabelIndex | None = None
        self._following: set[asyncio.Task[None]] = set()

    @property
    def index(self) -> LabelIndex:
        """The index, as of the last `follow`."""
        if self._index is None:
            self._index = self._opened()
        return self._index

    async def follow(self, state: State) -> None:
        """Apply the changes since the last call; embeds new labels.

        Raises
        ------
        StateUnavailable
        """
        async with self._lock:
            revision, changed = await state.teachers.changes(self._revision)
            if changed is None:
                await self._read_all(state)
            else:
                for begin in range(0, len(changed), _BATCH):
                    ids = changed[begin : begin + _BATCH]
                    found = await state.teachers.get_many(ids)
                    await self._take([id for id in ids if id not in found], found.values())
            self._revision = revision

    def follow_soon(self, state: State) -> None:
        """`follow` in the background, so that no query waits for new names to be embedded."""

        async def quietly() -> None:
            try:
                await self.follow(state)
            except PreceptorError as error:
                log.info("zoo index not updated; retried with the next job", reason=error.detail)

        task = asyncio.create_task(quietly(), name="zoo index")
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    def eligible(self, body: RecommendationBody) -> list[Entry]:
        """Ready teachers that pass the request's filter."""
        if body.teachers is None:
            return list(self._entries.values())
        return [entry for entry in self._entries.values() if entry.takes_part(body)]

    async def _read_all(self, state: State) -> None:
        before = set(self._entries)
        seen: set[str] = set()
        batch: list[Teacher] = []
        async for teacher in state.teachers.all():
            seen.add(teacher.id)
            batch.append(teacher)
            if len(batch) == _BATCH:
                await self._take([], batch)
                batch = []
        await self._take(list(before - seen), batch)
        wanted = {entry.key for entry in self._entries.values()}
        for key in self.index.zoo().teachers:
            if key not in wanted:
                await asyncio.to_thread(self.index.remove, key)

    async def _take(self, gone: Sequence[str], teachers: Iterable[Teacher]) -> None:
        fresh: dict[str, list[str]] = {}
        entries: list[Entry] = []
        stale = [id for id in gone if id in self._entries]
        self.index.refresh()
        for teacher in teachers:
            if teacher.status != TeacherStatus.READY or not teacher.labels:
                if teacher.id in self._entries:
                    stale.append(teacher.id)
                continue
            key = _key(teacher.id, teacher.labels)
            known = self._entries.get(teacher.id)
            if known is not None and known.key != key:
                await asyncio.to_thread(self.index.remove, known.key)
            if key not in self.index:
                fresh[key] = teacher.labels
            opaque = not SOURCE_KINDS[teacher.source.kind].runs_model
            entries.append(Entry(teacher.id, teacher.name, teacher.modality, opaque, frozenset(teacher.tags), key))
        for id in stale:
            await asyncio.to_thread(self.index.remove, self._entries.pop(id).key)
        problems = await asyncio.to_thread(self._add, fresh) if fresh else {}
        for entry in entries:
            problem = problems.get(entry.key)
            self._entries[entry.id] = entry if problem is None else replace(entry, problem=problem)

    def _add(self, fresh: dict[str, list[str]]) -> dict[str, str]:
        """Embed and index label sets; returns the reason for each without an embedding."""
        problems: dict[str, str] = {}
        with suppress(ComputationFailed, ValueError):  # The loop below finds the label set at fault.
            self._encoder.encode(list(dict.fromkeys(label for labels in fresh.values() for label in labels)))
        rows = []
        for key, labels in fresh.items():
            try:
                rows.append((key, labels, self._encoder.encode(labels), None))
            except (ComputationFailed, ValueError) as error:
                problems[key] = str(error)
        self.index.add_many(rows)
        return problems

    def _opened(self) -> LabelIndex:
        try:
            return LabelIndex.open(self._folder, self._encoder.identity, self._encoder.dim)
        except (ValueError, KeyError, OSError) as error:
            log.warning("the label index is damaged and is rebuilt", folder=str(self._folder), reason=str(error))
            shutil.rmtree(self._folder, ignore_errors=True)
            return LabelIndex.open(self._folder, self._encoder.identity, self._encoder.dim)
