"""`client.teachers`"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..contract.probes import Probe
from ..contract.teachers import Modality, Source, StoredFile, Teacher, TeacherStatus
from ..core.bodies import identifier
from ..core.paging import page_size as checked
from ..core.progress import Watch
from ..core.registration import register
from ..core.routes import teachers
from ..core.teacher_folder import TeacherFolder
from ..core.transfer import OnTransfer, Upload
from ..errors import TeacherRejectedError
from ..transport.async_driver import AsyncDriver
from ..transport.sync_driver import Driver
from .jobs import AsyncValidationJob, ValidationJob
from .paging import AsyncPager, Pager


class Teachers:
    """Pre-trained classifiers with a named label set."""

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
        if not isinstance(folder, TeacherFolder):
            folder = TeacherFolder.read(
                folder,
                name=name,
                modality=modality,
                labels=labels,
                description=description,
                tags=tags,
                accuracy=accuracy,
            )
            folder.warn_of_skipped()
        teacher, job = self._driver.run(register(self._driver.settings, folder, on_transfer))
        if not wait:
            return self.get(teacher.id)
        if job is not None:
            ValidationJob(self._driver, job).wait(timeout, progress)
        teacher = self.get(teacher.id)
        if teacher.status is TeacherStatus.REJECTED:
            raise TeacherRejectedError(teacher)
        return teacher

    def upload_file(
        self,
        teacher: Teacher | str,
        path: str | Path,
        *,
        name: str | None = None,
        on_transfer: OnTransfer | None = None,
    ) -> StoredFile:
        """Upload one of a teacher's files, streamed from disk."""
        file = Upload.of(Path(path), name or Path(path).name, on_transfer)
        return self._driver.send(teachers.upload(identifier(teacher), file))

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
        content = source if isinstance(source, bytes) else Path(source)
        file = Upload.of(content, "predictions.npz", on_transfer)
        return self._driver.send(teachers.upload_predictions(identifier(teacher), identifier(probe), values, file))

    def validate(self, teacher: Teacher | str) -> ValidationJob:
        """Have a teacher tried out; it is `ready` or `rejected` afterwards."""
        return ValidationJob(self._driver, self._driver.send(teachers.validate(identifier(teacher))))

    def get(self, teacher: str) -> Teacher:
        """One teacher."""
        return self._driver.send(teachers.get(teacher))

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
        return self._driver.send(teachers.update(identifier(teacher), values))

    def delete(self, teacher: Teacher | str) -> None:
        """Remove a teacher."""
        self._driver.send(teachers.delete(identifier(teacher)))


class AsyncTeachers:
    """Pre-trained classifiers with a named label set."""

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
        if not isinstance(folder, TeacherFolder):
            folder = TeacherFolder.read(
                folder,
                name=name,
                modality=modality,
                labels=labels,
                description=description,
                tags=tags,
                accuracy=accuracy,
            )
            folder.warn_of_skipped()
        teacher, job = await self._driver.run(register(self._driver.settings, folder, on_transfer))
        if not wait:
            return await self.get(teacher.id)
        if job is not None:
            await AsyncValidationJob(self._driver, job).wait(timeout, progress)
        teacher = await self.get(teacher.id)
        if teacher.status is TeacherStatus.REJECTED:
            raise TeacherRejectedError(teacher)
        return teacher

    async def upload_file(
        self,
        teacher: Teacher | str,
        path: str | Path,
        *,
        name: str | None = None,
        on_transfer: OnTransfer | None = None,
    ) -> StoredFile:
        """Upload one of a teacher's files, streamed from disk."""
        file = Upload.of(Path(path), name or Path(path).name, on_transfer)
        return await self._driver.send(teachers.upload(identifier(teacher), file))

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
        content = source if isinstance(source, bytes) else Path(source)
        file = Upload.of(content, "predictions.npz", on_transfer)
        return await self._driver.send(
            teachers.upload_predictions(identifier(teacher), identifier(probe), values, file)
        )

    async def validate(self, teacher: Teacher | str) -> AsyncValidationJob:
        """Have a teacher tried out; it is `ready` or `rejected` afterwards."""
        return AsyncValidationJob(self._driver, await self._driver.send(teachers.validate(identifier(teacher))))

    async def get(self, teacher: str) -> Teacher:
        """One teacher."""
        return await self._driver.send(teachers.get(teacher))

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
        return await self._driver.send(teachers.update(identifier(teacher), values))

    async def delete(self, teacher: Teacher | str) -> None:
        """Remove a teacher."""
        await self._driver.send(teachers.delete(identifier(teacher)))
