"""`client.students`"""

import builtins
from pathlib import Path

from ..contract.distillations import Student
from ..contract.teachers import Teacher
from ..core.bodies import identifier
from ..core.files.disk import disk_failures
from ..core.files.download import artifact_of, download, place
from ..core.files.transfer import OnTransfer
from ..core.paging import page_size as checked
from ..core.routes import students
from ..transport.async_driver import AsyncDriver
from ..transport.sync_driver import Driver
from .paging import AsyncPager, Pager


class Students:
    """Distilled students and their files."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def get(self, student: str) -> Student:
        """One student."""
        return self._driver.send(students.get(student))

    def list(self, *, page_size: int = 50) -> Pager[Student]:
        """All students, newest first."""
        limit = checked(page_size)
        return Pager(self._driver, lambda cursor: students.page(limit, cursor))

    def download(
        self, student: Student | str, name: str, to: str | Path = ".", *, on_transfer: OnTransfer | None = None
    ) -> Path:
        """Fetch one artifact -> where it lies now.

        An interrupted download resumes where it stopped, also in a later run. The SHA-256 is checked; the target
        appears whole or not at all.

        Parameters
        ----------
        to
            A folder, or the file to be written.
        """
        known = student if isinstance(student, Student) else self.get(student)
        file = artifact_of(known, name)
        return self._driver.run(download(self._driver.settings, known.id, file, place(to, file.name), on_transfer))

    def download_all(
        self, student: Student | str, to: str | Path = ".", *, on_transfer: OnTransfer | None = None
    ) -> "builtins.list[Path]":
        """Fetch every artifact into a folder, which is made where it does not exist."""
        known = student if isinstance(student, Student) else self.get(student)
        with disk_failures():
            Path(to).mkdir(parents=True, exist_ok=True)
        return [self.download(known, file.name, to, on_transfer=on_transfer) for file in known.artifacts]

    def delete(self, student: Student | str) -> None:
        """Remove a student and its files. A teacher that it was promoted to keeps its own copy of the files."""
        self._driver.send(students.delete(identifier(student)))

    def promote(self, student: Student | str, name: str | None = None) -> Teacher:
        """Register a student as a teacher; its validation is started at once."""
        return self._driver.send(students.promote(identifier(student), name))


class AsyncStudents:
    """Distilled students and their files."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def get(self, student: str) -> Student:
        """One student."""
        return await self._driver.send(students.get(student))

    def list(self, *, page_size: int = 50) -> AsyncPager[Student]:
        """All students, newest first."""
        limit = checked(page_size)
        return AsyncPager(self._driver, lambda cursor: students.page(limit, cursor))

    async def download(
        self, student: Student | str, name: str, to: str | Path = ".", *, on_transfer: OnTransfer | None = None
    ) -> Path:
        """Fetch one artifact -> where it lies now.

        An interrupted download resumes where it stopped, also in a later run. The SHA-256 is checked; the target
        appears whole or not at all.

        Parameters
        ----------
        to
            A folder, or the file to be written.
        """
        known = student if isinstance(student, Student) else await self.get(student)
        file = artifact_of(known, name)
        return await self._driver.run(
            download(self._driver.settings, known.id, file, place(to, file.name), on_transfer)
        )

    async def download_all(
        self, student: Student | str, to: str | Path = ".", *, on_transfer: OnTransfer | None = None
    ) -> "builtins.list[Path]":
        """Fetch every artifact into a folder, which is made where it does not exist."""
        known = student if isinstance(student, Student) else await self.get(student)
        with disk_failures():
            Path(to).mkdir(parents=True, exist_ok=True)
        return [await self.download(known, file.name, to, on_transfer=on_transfer) for file in known.artifacts]

    async def delete(self, student: Student | str) -> None:
        """Remove a student and its files. A teacher that it was promoted to keeps its own copy of the files."""
        await self._driver.send(students.delete(identifier(student)))

    async def promote(self, student: Student | str, name: str | None = None) -> Teacher:
        """Register a student as a teacher; its validation is started at once."""
        return await self._driver.send(students.promote(identifier(student), name))
