"""Downloads that survive a broken connection and a restarted program, and are checked byte for byte."""

import hashlib
import re
from pathlib import Path
from typing import Any, Final, Protocol

from ...contract.distillations import Student
from ...contract.problem import TYPE_BASE, Problem
from ...contract.teachers import StoredFile
from ...errors import DigestMismatchError, PreceptorError, ServiceUnreachableError, UnexpectedAnswerError, status_error
from ..calls import refusal
from ..effects import Do, Drain, Open, Procedure, Read, Reply, Sleep
from ..retries import delay
from ..routes import students
from ..settings import Settings
from .transfer import CHUNK, OnTransfer, Transfer

_SAFE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class _Digest(Protocol):
    def update(self, data: bytes, /) -> Any: ...
    def hexdigest(self) -> str: ...


def artifact_of(student: Student, name: str) -> StoredFile:
    """The artifact of this name.

    Raises
    ------
    NotFoundError
        With the names that there are.
    """
    for file in student.artifacts:
        if file.name == name:
            return file
    known = ", ".join(file.name for file in student.artifacts) or "none yet"
    detail = f"student {student.id} has no artifact {name!r}; it has: {known}"
    raise status_error(Problem(type=TYPE_BASE + "not-found", title="Not found", status=404, detail=detail))


def place(to: str | Path, name: str) -> Path:
    """Where a file of this name goes: into `to` where that is a folder or ends in a slash, else to `to`."""
    if not _SAFE_NAME.fullmatch(name):
        raise UnexpectedAnswerError(f"the service names a file {name!r}, which is no plain file name")
    target = Path(to)
    return target / name if target.is_dir() or str(to).endswith(("/", "\\")) else target


def download(
    settings: Settings, student: str, file: StoredFile, target: Path, progress: OnTransfer | None
) -> Procedure[Path]:
    """Fetch an artifact into `target`.

    The bytes so far lie beside the target in a file whose name carries the digest, so a later call resumes where
    an earlier one stopped. The target appears whole or not at all.

    Raises
    ------
    DigestMismatchError
        Twice the bytes were not those announced.
    OSError
        The disk refuses.
    """
    if (yield Do(lambda: _is(target, file))):
        return target
    yield Do(lambda: target.parent.mkdir(parents=True, exist_ok=True))
    part = target.with_name(f".{target.name}.{file.sha256[:16]}.part")
    digest = ""
    for _ in range(2):
        digest = yield from _fetch(settings, student, file, part, progress)
        if digest == file.sha256:
            yield Do(lambda: part.replace(target))
            return target
        yield Do(lambda: part.unlink(missing_ok=True))
    raise DigestMismatchError(
        f"{file.name} of {student} was fetched twice and has SHA-256 {digest}, but {file.sha256} was announced; "
        "the stored file, or something between here and the service, changes it"
    )


def _fetch(
    settings: Settings, student: str, file: StoredFile, part: Path, progress: OnTransfer | None
) -> Procedure[str]:
    """Bring `part` to its full size -> the SHA-256 of its bytes."""
    done, digest = yield Do(lambda: _resume(part, file.size))
    attempt = 0
    while done < file.size or not part.exists():
        before = done
        reply: Reply | None = None
        failure: PreceptorError = ServiceUnreachableError(f"{file.name} ended after {done} of {file.size} bytes")
        try:
            opened: Reply = yield Open(students.artifact(student, file.name, done))
            if opened.status not in (200, 206):
                reply = Reply(status=opened.status, headers=opened.headers, content=(yield Drain()))
                failure = refusal(settings, reply)
            else:
                if opened.status == 200:
                    done, digest = 0, hashlib.sha256()
                elif not opened.headers.get("content-range", "").startswith(f"bytes {done}-"):
                    raise UnexpectedAnswerError(f"asked for {file.name} from byte {done}, got another range")
                with part.open("r+b" if part.exists() else "wb") as out:
                    out.truncate(done)
                    out.seek(done)
                    while (chunk := (yield Read())) is not None:
                        yield Do(lambda chunk=chunk, out=out: out.write(chunk))
                        digest.update(chunk)
                        done += len(chunk)
                        if progress:
                            progress(Transfer(name=file.name, done=done, total=file.size))
        except ServiceUnreachableError as error:
            failure = error
        if done >= file.size and reply is None:
            break
        attempt = 0 if done > before else attempt
        seconds = delay(settings, attempt, reply)
        if seconds is None:
            raise failure
        yield Sleep(seconds)
        attempt += 1
    return digest.hexdigest()


def _resume(part: Path, size: int) -> tuple[int, _Digest]:
    """How much of a file is here, and the digest of that much."""
    digest = hashlib.sha256()
    if not part.exists():
        return 0, digest
    if part.stat().st_size > size:
        part.unlink()
        return 0, digest
    done = 0
    with part.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
    return done, digest


def _is(target: Path, file: StoredFile) -> bool:
    """Whether the file is here already."""
    if not target.is_file() or target.stat().st_size != file.size:
        return False
    with target.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
