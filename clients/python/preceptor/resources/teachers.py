"""`client.teachers`"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..contract.probes import Probe
from ..contract.teachers import Modality, Source, StoredFile, Teacher, TeacherStatus
from ..core.bodies import identifier
from ..core.files.teacher_folder import TeacherFolder
from ..core.files.transfer import OnTransfer, Upload
from ..core.paging import page_size as checked
from ..core.progress import Watch
from ..core.registration import register, removed
from ..core.routes import teachers
from ..core.routes.probes import content_of, file_of
from ..core.teacher_names import teacher_id
from ..errors import TeacherRejectedError
from ..transport.async_driver import AsyncDriver
from ..transport.sync_driver import Driver
from .jobs import AsyncValidationJob, ValidationJob
from .paging import AsyncPager, Pager


class Teachers:
    """Pre-trained classifiers with a named label set; a teacher is given itself, by id or by exact name."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def add(
        self,
        name: str,
        *,
        source: Source | Mapping[str, Any],
        modality: Modality,
        labels: Sequence[str] | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        accuracy: float | None = None,
        idempotency_key: str | None = None,
    ) -> Teacher:
        """Register a teacher without its files. `upload_file` and `validate` make it usable."""
        values = {
            "name": name,
            "source": source,
            "modality": modality,
            "labels": labels,
            "description": description,
            "tags": tags,
            "accuracy": accuracy,
        }
        return self._driver.send(teachers.create(values, idempotency_key))

    def add_folder(
        self,
        folder: str | Path | TeacherFolder,
        *,
        name: str | None = None,
        modality: Modality | None = None,
        labels: Sequence[str] | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        accuracy: float | None = None,
        wait: bool = True,
        timeout: float | None = None,
        on_transfer: OnTransfer | None = None,
        progress: Watch = False,
    ) -> Teacher:
        """Register a folder: create the teacher, upload its files, have it validated, and wait for the verdict.

        The folder's `teacher.json` describes it; arguments win over it. A `transformers` folder needs none.

        Parameters
        ----------
        wait
            False returns as soon as the validation is queued.
        on_transfer
            Called with each file's progress while it is uploaded.
        progress
            Watches the validation, as in `JobHandle.wait`.

        Raises
        ------
        TeacherFolderError
            The folder cannot be a teacher; nothing was sent.
        TeacherRejectedError
            The service tried the teacher and cannot use it; says why.
        """
        prepared = TeacherFolder.prepared(
            folder,
            name=name,
            modality=modality,
            labels=labels,
            description=description,
            tags=tags,
            accuracy=accuracy,
        )
        teacher, job = self._driver.run(register(self._driver.settings, prepared, on_transfer))
        if not wait:
            return self.get(teacher.id)
        if job is not None:
            ValidationJob(self._driver, job).wait(timeout, progress)
        teacher = self.get(teacher.id)
        if teacher.status is TeacherStatus.REJECTED:
            raise TeacherRejectedError(teacher)
        return teacher

    def check(
        self,
        folder: str | Path | TeacherFolder,
        *,
        name: str | None = None,
        modality: Modality | None = None,
        labels: Sequence[str] | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        accuracy: float | None = None,
        timeout: float | None = None,
        on_transfer: OnTransfer | None = None,
        progress: Watch = False,
    ) -> Teacher:
        """Upload and validate a folder as `add_folder` does, but register nothing -> the teacher it would become.

        `status` is `ready` or `rejected`, with the `reason`. The teacher is never listed or ranked, and deleted
        before this returns; if this process ends earlier, the service deletes it within two hours of its last upload.

        Parameters
        ----------
        on_transfer, progress
            As for `add_folder`.

        Raises
        ------
        TeacherFolderError
            The folder cannot be a teacher; nothing was sent.
        JobFailedError, WaitTimeoutError
            There is no verdict.
        """
        prepared = TeacherFolder.prepared(
            folder,
            name=name,
            modality=modality,
            labels=labels,
            description=description,
            tags=tags,
            accuracy=accuracy,
        )
        teacher, job = self._driver.run(register(self._driver.settings, prepared, on_transfer, check=True))
        try:
            result = None if job is None else ValidationJob(self._driver, job).wait(timeout, progress)
            return result.teacher if result and result.teacher else self.get(teacher.id)
        finally:
            self._driver.run(removed(self._driver.settings, teacher.id))

    def upload_file(
        self,
        teacher: Teacher | str,
        path: str | Path,
        *,
        name: str | None = None,
        on_transfer: OnTransfer | None = None,
    ) -> StoredFile:
        """Upload one of a teacher's files, streamed from disk."""
        file = Upload.of(file_of(path, "the teacher's file"), name or Path(path).name, on_transfer)
        return self._driver.send(teachers.upload(self._id(teacher), file))

    def upload_predictions(
        self,
        teacher: Teacher | str,
        probe: Probe | str,
        source: str | Path | bytes,
        *,
        values: teachers.Values = "probabilities",
        on_transfer: OnTransfer | None = None,
    ) -> StoredFile:
        """Upload what a black-box teacher predicts over a probe: an .npz with the array `predictions` (N, K)."""
        file = Upload.of(content_of(source, "the predictions"), "predictions.npz", on_transfer)
        return self._driver.send(teachers.upload_predictions(self._id(teacher), identifier(probe), values, file))

    def validate(self, teacher: Teacher | str) -> ValidationJob:
        """Have a teacher tried out; it is `ready` or `rejected` afterwards."""
        return ValidationJob(self._driver, self._driver.send(teachers.validate(self._id(teacher))))

    def get(self, teacher: Teacher | str) -> Teacher:
        """One teacher, by id or exact name."""
        return self._driver.send(teachers.get(self._id(teacher)))

    def list(
        self,
        *,
        status: TeacherStatus | str | None = None,
        tags: Sequence[str] | None = None,
        modality: Modality | None = None,
        name: str | None = None,
        page_size: int = 50,
    ) -> Pager[Teacher]:
        """All teachers, newest first; `tags` must all be there, `name` is a part of the name."""
        limit = checked(page_size)
        return Pager(
            self._driver,
            lambda cursor: teachers.page(limit, cursor, status=status, tags=tags, modality=modality, name=name),
        )

    def update(
        self,
        teacher: Teacher | str,
        *,
        name: str | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        accuracy: float | None = None,
    ) -> Teacher:
        """Change what is given; the rest stays. The model and its labels never change."""
        values = {"name": name, "description": description, "tags": tags, "accuracy": accuracy}
        return self._driver.send(teachers.update(self._id(teacher), values))

    def delete(self, teacher: Teacher | str) -> None:
        """Remove a teacher."""
        self._driver.send(teachers.delete(self._id(teacher)))

    def _id(self, teacher: Teacher | str) -> str:
        return self._driver.run(teacher_id(self._driver.settings, teacher))


class AsyncTeachers:
    """Pre-trained classifiers with a named label set; a teacher is given itself, by id or by exact name."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def add(
        self,
        name: str,
        *,
        source: Source | Mapping[str, Any],
        modality: Modality,
        labels: Sequence[str] | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        accuracy: float | None = None,
        idempotency_key: str | None = None,
    ) -> Teacher:
        """Register a teacher without its files. `upload_file` and `validate` make it usable."""
        values = {
            "name": name,
            "source": source,
            "modality": modality,
            "labels": labels,
            "description": description,
            "tags": tags,
            "accuracy": accuracy,
        }
        return await self._driver.send(teachers.create(values, idempotency_key))

    async def add_folder(
        self,
        folder: str | Path | TeacherFolder,
        *,
        name: str | None = None,
        modality: Modality | None = None,
        labels: Sequence[str] | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        accuracy: float | None = None,
        wait: bool = True,
        timeout: float | None = None,  # noqa: ASYNC109 as in sync
        on_transfer: OnTransfer | None = None,
        progress: Watch = False,
    ) -> Teacher:
        """Register a folder: create the teacher, upload its files, have it validated, and wait for the verdict.

        The folder's `teacher.json` describes it; arguments win over it. A `transformers` folder needs none.

        Parameters
        ----------
        wait
            False returns as soon as the validation is queued.
        on_transfer
            Called with each file's progress while it is uploaded.
        progress
            Watches the validation, as in `AsyncJobHandle.wait`.

        Raises
        ------
        TeacherFolderError
            The folder cannot be a teacher; nothing was sent.
        TeacherRejectedError
            The service tried the teacher and cannot use it; says why.
        """
        prepared = TeacherFolder.prepared(
            folder,
            name=name,
            modality=modality,
            labels=labels,
            description=description,
            tags=tags,
            accuracy=accuracy,
        )
        teacher, job = await self._driver.run(register(self._driver.settings, prepared, on_transfer))
        if not wait:
            return await self.get(teacher.id)
        if job is not None:
            await AsyncValidationJob(self._driver, job).wait(timeout, progress)
        teacher = await self.get(teacher.id)
        if teacher.status is TeacherStatus.REJECTED:
            raise TeacherRejectedError(teacher)
        return teacher

    async def check(
        self,
        folder: str | Path | TeacherFolder,
        *,
        name: str | None = None,
        modality: Modality | None = None,
        labels: Sequence[str] | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        accuracy: float | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 as in sync
        on_transfer: OnTransfer | None = None,
        progress: Watch = False,
    ) -> Teacher:
        """Upload and validate a folder as `add_folder` does, but register nothing -> the teacher it would become.

        `status` is `ready` or `rejected`, with the `reason`. The teacher is never listed or ranked, and deleted
        before this returns; if this process ends earlier, the service deletes it within two hours of its last upload.

        Parameters
        ----------
        on_transfer, progress
            As for `add_folder`.

        Raises
        ------
        TeacherFolderError
            The folder cannot be a teacher; nothing was sent.
        JobFailedError, WaitTimeoutError
            There is no verdict.
        """
        prepared = TeacherFolder.prepared(
            folder,
            name=name,
            modality=modality,
            labels=labels,
            description=description,
            tags=tags,
            accuracy=accuracy,
        )
        teacher, job = await self._driver.run(register(self._driver.settings, prepared, on_transfer, check=True))
        try:
            result = None if job is None else await AsyncValidationJob(self._driver, job).wait(timeout, progress)
            return result.teacher if result and result.teacher else await self.get(teacher.id)
        finally:
            await self._driver.run(removed(self._driver.settings, teacher.id))

    async def upload_file(
        self,
        teacher: Teacher | str,
        path: str | Path,
        *,
        name: str | None = None,
        on_transfer: OnTransfer | None = None,
    ) -> StoredFile:
        """Upload one of a teacher's files, streamed from disk."""
        file = Upload.of(file_of(path, "the teacher's file"), name or Path(path).name, on_transfer)
        return await self._driver.send(teachers.upload(await self._id(teacher), file))

    async def upload_predictions(
        self,
        teacher: Teacher | str,
        probe: Probe | str,
        source: str | Path | bytes,
        *,
        values: teachers.Values = "probabilities",
        on_transfer: OnTransfer | None = None,
    ) -> StoredFile:
        """Upload what a black-box teacher predicts over a probe: an .npz with the array `predictions` (N, K)."""
        file = Upload.of(content_of(source, "the predictions"), "predictions.npz", on_transfer)
        return await self._driver.send(
            teachers.upload_predictions(await self._id(teacher), identifier(probe), values, file)
        )

    async def validate(self, teacher: Teacher | str) -> AsyncValidationJob:
        """Have a teacher tried out; it is `ready` or `rejected` afterwards."""
        job = await self._driver.send(teachers.validate(await self._id(teacher)))
        return AsyncValidationJob(self._driver, job)

    async def get(self, teacher: Teacher | str) -> Teacher:
        """One teacher, by id or exact name."""
        return await self._driver.send(teachers.get(await self._id(teacher)))

    def list(
        self,
        *,
        status: TeacherStatus | str | None = None,
        tags: Sequence[str] | None = None,
        modality: Modality | None = None,
        name: str | None = None,
        page_size: int = 50,
    ) -> AsyncPager[Teacher]:
        """All teachers, newest first; `tags` must all be there, `name` is a part of the name."""
        limit = checked(page_size)
        return AsyncPager(
            self._driver,
            lambda cursor: teachers.page(limit, cursor, status=status, tags=tags, modality=modality, name=name),
        )

    async def update(
        self,
        teacher: Teacher | str,
        *,
        name: str | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        accuracy: float | None = None,
    ) -> Teacher:
        """Change what is given; the rest stays. The model and its labels never change."""
        values = {"name": name, "description": description, "tags": tags, "accuracy": accuracy}
        return await self._driver.send(teachers.update(await self._id(teacher), values))

    async def delete(self, teacher: Teacher | str) -> None:
        """Remove a teacher."""
        await self._driver.send(teachers.delete(await self._id(teacher)))

    async def _id(self, teacher: Teacher | str) -> str:
        return await self._driver.run(teacher_id(self._driver.settings, teacher))
