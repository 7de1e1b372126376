"""Access of a job to teachers' folders, probes and cached teacher outputs."""

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from preceptor.contract.recommendations import CacheUse
from preceptor.contract.source_kinds import SOURCE_KINDS
from preceptor.contract.teachers import Teacher
from service.core.errors import JobFailed, NotFound
from service.core.private_files import private_folder
from service.core.redis.blob_cache import CacheKind, cache_digest
from service.core.state import State
from service.core.storage import object_keys
from service.core.storage.probe_file import ProbeData, open_probe
from worker.teachers.child_limits import fork_server
from worker.teachers.digest import REVISION
from worker.teachers.errors import TeacherUnusable
from worker.teachers.interface import LoadedTeacher
from worker.teachers.loading import load_teacher
from worker.teachers.outputs import RunStopped, TeacherOutputs, decode_outputs, encode_outputs, run_teacher
from worker.teachers.predictions import read_predictions
from worker.teachers.sandboxed import SandboxedTeacher

from .context import JobContext

_BATCH: Final = 64
_CPU_BATCH: Final = 16
"""Items in one forward pass. On a CPU larger batches are not faster, and an ImageNet model then needs gigabytes."""

_KEPT_TEACHERS: Final = 4
"""Loaded models that a worker keeps between jobs."""

_LOOK_SECONDS: Final = 0.2
"""Between two checks of a job that waits for a teacher in use."""


async def teacher_folder(state: State, teacher: Teacher) -> Path:
    """A local folder with the teacher's files.

    Raises
    ------
    NotFound
        The teacher was deleted meanwhile.
    """
    if SOURCE_KINDS[teacher.source.kind].downloads:
        return private_folder(state.store.copies.use("hub", teacher.id))  # Filled when the model is loaded.
    names = [file.name for file in teacher.files]
    return await state.store.local_folder(object_keys.teacher_files(teacher.id), names)


async def probe_data(state: State, id: str) -> ProbeData:
    """A probe, opened.

    Raises
    ------
    NotFound
        The probe was deleted meanwhile.
    """
    path = await state.store.local(object_keys.probe_items(id))
    if path is None:
        raise NotFound(f"The probe {id} was deleted while the job waited")
    return await asyncio.to_thread(open_probe, path)


class ContextCache:
    """The Redis cache of one kind, for a job's thread."""

    def __init__(self, context: JobContext, kind: CacheKind) -> None:
        self._context = context
        self._kind: CacheKind = kind

    def get(self, parts: Sequence[str]) -> bytes | None:
        """The cached bytes, or None."""
        return self._context.cached(self._kind, cache_digest(parts))

    def put(self, parts: Sequence[str], value: bytes) -> None:
        """Store bytes under a key."""
        self._context.cache(self._kind, cache_digest(parts), value)


class LoadedTeachers:
    """Models kept in memory between jobs; the least recently used is evicted first."""

    def __init__(self, device: str, threads: int | None) -> None:
        self._device = device
        on_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
        self.batch_size = _CPU_BATCH if on_cpu else _BATCH
        self._threads = threads
        self._processes = fork_server(threads, device)
        self._loaded: OrderedDict[str, LoadedTeacher] = OrderedDict()
        self._busy: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    @contextmanager
    def using(
        self, teacher: Teacher, folder: Path, check: Callable[[], None] = lambda: None
    ) -> Generator[LoadedTeacher]:
        """The loaded teacher, for exclusive use by this thread.

        Parameters
        ----------
        check
            Called while another job uses the teacher; what it raises ends the wait.

        Raises
        ------
        TeacherUnusable
        """
        key = f"{teacher.id}:{teacher.digest}"
        with self._lock:
            busy = self._busy.setdefault(key, threading.Lock())
        while not busy.acquire(timeout=_LOOK_SECONDS):
            check()
        try:
            with self._lock:
                found = self._loaded.pop(key, None)
            if found is None:
                found = self._load(teacher, folder)
            try:
                yield found
            except TeacherUnusable:
                found.close()  # Its process may have exited; the next job starts a new one.
                raise
            except BaseException:
                self._keep(key, found)
                raise
            self._keep(key, found)
        finally:
            busy.release()

    def _load(self, teacher: Teacher, folder: Path) -> LoadedTeacher:
        if SOURCE_KINDS[teacher.source.kind].sandboxed:
            return SandboxedTeacher(self._processes, teacher, folder, device=self._device, threads=self._threads)
        return load_teacher(teacher, folder, device=self._device, threads=self._threads)

    def _keep(self, key: str, teacher: LoadedTeacher) -> None:
        with self._lock:
            self._loaded[key] = teacher
            while len(self._loaded) > _KEPT_TEACHERS:
                oldest, dropped = self._loaded.popitem(last=False)
                self._busy.pop(oldest, None)
                dropped.close()


class OutputsOf:
    """Outputs of teachers over a probe: from the cache, else by running the teacher.

    Parameters
    ----------
    context
        The running job.
    kept
        Loaded models.
    """

    def __init__(self, context: JobContext, kept: LoadedTeachers) -> None:
        self._context = context
        self._kept = kept
        self._cache = ContextCache(context, "outputs")
        self.use = CacheUse()
        self.seconds = 0.0

    def over(
        self,
        teacher: Teacher,
        folder: Path,
        predictions: Path | None,
        probe: str,
        data: ProbeData,
        on_batch: Callable[[int], None] | None = None,
    ) -> tuple[TeacherOutputs, bool]:
        """The teacher's outputs on every item of a probe, and whether they came from the cache.

        Parameters
        ----------
        on_batch
            Called with the number of items done, if the teacher is run.

        Raises
        ------
        TeacherUnusable
            The teacher cannot be run on this probe; the message says why.
        Stopped
        """
        started = time.perf_counter()
        try:
            return self._over(teacher, folder, predictions, probe, data, on_batch)
        finally:
            self.seconds += time.perf_counter() - started

    def _over(
        self,
        teacher: Teacher,
        folder: Path,
        predictions: Path | None,
        probe: str,
        data: ProbeData,
        on_batch: Callable[[int], None] | None,
    ) -> tuple[TeacherOutputs, bool]:
        if not SOURCE_KINDS[teacher.source.kind].runs_model:
            if predictions is None:
                raise TeacherUnusable(
                    "its predictions over this probe are not known: upload them with PUT "
                    f"/v1/teachers/{teacher.id}/predictions/{probe}"
                )
            known = read_predictions(predictions, data.items, len(teacher.labels or ()), "logits")
            return TeacherOutputs(np.log(np.maximum(known, np.finfo(np.float32).tiny))), False
        if teacher.modality != data.modality:
            raise TeacherUnusable(f"it takes {teacher.modality}, and the probe holds {data.modality}")
        key = [teacher.digest or teacher.id, str(REVISION), probe]
        cached = self._cache.get(key)
        if cached is not None:
            try:
                outputs = decode_outputs(cached)
            except ValueError:
                pass
            else:
                self.use.hits += 1
                return outputs, True
        self.use.misses += 1
        size = self._kept.batch_size
        try:
            with self._kept.using(teacher, folder, self._context.check) as loaded:
                outputs = run_teacher(
                    loaded,
                    data.batches(size),
                    batch_size=size,
                    on_batch=on_batch,
                    should_stop=self._context.should_stop,
                )
        except RunStopped:
            self._context.check()
            raise
        kept = encode_outputs(outputs, half=outputs.features is not None)
        self._cache.put(key, kept)
        # Rounded as in the cache: else the first job over a probe would have other digits than the next one.
        return decode_outputs(kept), False


async def outputs_input(state: State, teacher: Teacher, probe: str) -> tuple[Path, Path | None]:
    """Folder of a teacher and, for a black box, the file of its predictions over a probe."""
    predictions = None
    if not SOURCE_KINDS[teacher.source.kind].runs_model:
        predictions = await state.store.local(object_keys.teacher_predictions(teacher.id, probe))
    return await teacher_folder(state, teacher), predictions


def student_targets(data: ProbeData, student: list[str], probe: str) -> NDArray[np.int64]:
    """Student class of every item, shape (N,): the probe's labels in the student's label order.

    Raises
    ------
    JobFailed
    """
    if data.labels is None:
        raise JobFailed(f"{probe} has no labels")
    given = np.asarray(data.labels, dtype=np.int64)
    if data.label_names is not None:
        position = {label: index for index, label in enumerate(student)}
        if absent := [name for name in data.label_names if name not in position]:
            raise JobFailed(f"the student's label set lacks classes of {probe}: {absent[:5]}")
        return np.asarray([position[name] for name in data.label_names], dtype=np.int64)[given]
    if given.size and int(given.max()) >= len(student):
        raise JobFailed(f"{probe} has class number {int(given.max())}, but the label set ends at {len(student) - 1}")
    return given
