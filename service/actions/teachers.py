"""Register, complete, validate, change and remove teachers."""

from collections.abc import Sequence
from pathlib import Path

from preceptor.contract import files
from preceptor.contract.base import now
from preceptor.contract.ids import VALIDATION, new_id
from preceptor.contract.jobs import JobSummary
from preceptor.contract.labels import LabelSetBody
from preceptor.contract.probes import Probe
from preceptor.contract.source_kinds import SOURCE_KINDS
from preceptor.contract.teachers import StoredFile, Teacher, TeacherBody, TeacherPatch, TeacherStatus
from preceptor.contract.validations import ValidationBody
from service.core.errors import Conflict, NotFound, PreconditionFailed, QueueFull, QuotaReached, UnsupportedType
from service.core.labels import label_sets
from service.core.state import State
from service.core.storage import object_keys
from service.core.teacher_checks import expiry
from service.http.entity_tags import entity_tag, passes_if_match
from service.ingest.sandboxed import ingest_predictions_sandboxed

from .uploads import Gone, Staged, while_wanted


async def register(
    state: State,
    body: TeacherBody,
    id: str,
    promoted_from: str | None = None,
    trained_on: Sequence[str] = (),
    *,
    check: bool = False,
) -> Teacher:
    """Register a teacher. One that needs no files is validated at once.

    Parameters
    ----------
    check
        Whether the teacher is only checked: it is never listed or ranked, and removed when its lifetime is over.
    """
    moment = now()
    label_set = None
    if body.labels is not None and not check:
        label_set = (await label_sets.register(state, LabelSetBody(labels=body.labels)))[0].id
    teacher = Teacher(
        id=id,
        status=TeacherStatus.AWAITING_FILES,
        label_set=label_set,
        created_at=moment,
        updated_at=moment,
        promoted_from=promoted_from,
        trained_on=list(trained_on),
        expires_at=expiry() if check else None,
        **body.model_dump(),
    )
    teacher, _ = await state.teachers.create(teacher)
    if teacher.status == TeacherStatus.AWAITING_FILES and not SOURCE_KINDS[body.source.kind].takes_files:
        try:
            await start_validation(state, teacher.id, new_id(VALIDATION))
        except (QueueFull, QuotaReached):
            await remove(state, teacher.id)  # The answer says that nothing was accepted.
            raise
        return await get(state, teacher.id)
    return teacher


async def get(state: State, id: str) -> Teacher:
    """A teacher.

    Raises
    ------
    NotFound
    """
    teacher = await state.teachers.get(id)
    if teacher is None:
        raise NotFound(f"There is no teacher {id}. GET /v1/teachers lists the zoo")
    return teacher


async def refuse_file(state: State, id: str, name: str, *, by_name_alone: bool = False) -> None:
    """Refuse a file that the teacher cannot take; `by_name_alone` where its state must not count.

    Raises
    ------
    NotFound, UnsupportedType, Conflict
    """
    teacher = await state.teachers.get(id) if by_name_alone else await get(state, id)
    if teacher is None:
        return
    if reason := files.refusal(teacher.source.kind, name):
        raise UnsupportedType(reason)
    if not by_name_alone and teacher.status in (TeacherStatus.READY, TeacherStatus.VALIDATING):
        raise Conflict(
            f"{id} is {teacher.status.value}: the files of a teacher in use never change. Register another teacher"
        )


async def add_file(state: State, id: str, name: str, staged: Staged) -> tuple[StoredFile, bool]:
    """Add or replace one file of a teacher. False where it was replaced.

    Raises
    ------
    NotFound, UnsupportedType, Conflict
    """
    # Two uploads of one name: the record must describe the one whose bytes are there at the end.
    async with state.teachers.lock(id, name):
        async with state.teachers.lock(id):
            await refuse_file(state, id, name)
            teacher = await get(state, id)
            others = [file for file in teacher.files if file.name != name]
            replaced = len(others) < len(teacher.files)
            if replaced:
                # From here on it lacks the file: whoever validates what was there before gives no verdict on it.
                await state.teachers.put(_awaiting(teacher, others))
        await state.store.adopt(object_keys.teacher_file(id, name), staged.path)
        entry = StoredFile(name=name, size=staged.size, sha256=staged.sha256)
        async with state.teachers.lock(id):
            try:
                await refuse_file(state, id, name)
                teacher = await get(state, id)
            except (NotFound, Conflict):  # Removed, or validated without the file, while that was written.
                await state.store.delete(object_keys.teacher_file(id, name))
                raise
            others = [file for file in teacher.files if file.name != name]
            await state.teachers.put(_awaiting(teacher, sorted([*others, entry], key=lambda file: file.name)))
    return entry, not replaced


def _awaiting(teacher: Teacher, present: list[StoredFile]) -> Teacher:
    """A teacher whose files have changed: it needs a validation."""
    return teacher.model_copy(
        update={
            "files": present,
            "status": TeacherStatus.AWAITING_FILES,
            "reason": None,
            "expires_at": expiry(teacher),
            "updated_at": now(),
        }
    )


async def start_validation(state: State, id: str, job_id: str) -> JobSummary:
    """Start the job that decides whether a teacher may be used.

    Raises
    ------
    NotFound, Conflict
    """
    async with state.teachers.lock(id):
        teacher = await get(state, id)
        if lacking := files.missing(teacher.source.kind, {file.name for file in teacher.files}):
            raise Conflict(
                f"{id} lacks {', '.join(lacking)}. Upload with PUT /v1/teachers/{id}/files/<name>, then validate"
            )
        if teacher.status == TeacherStatus.VALIDATING and teacher.validation not in (None, job_id):
            running = await state.jobs.get(str(teacher.validation))
            if running is not None and not running.status.terminal:
                return running
        job = await state.jobs.submit(job_id, "validation", ValidationBody(teacher=id))
        if teacher.validation != job_id and not job.status.terminal:
            await state.teachers.put(
                teacher.model_copy(
                    update={
                        "status": TeacherStatus.VALIDATING,
                        "validation": job_id,
                        "expires_at": expiry(teacher),
                        "updated_at": now(),
                    }
                )
            )
    return job


async def change(state: State, id: str, patch: TeacherPatch, if_match: str | None) -> Teacher:
    """Change a teacher's description.

    Raises
    ------
    NotFound
    PreconditionFailed
        `if_match` is not the entity tag of the present version.
    """
    async with state.teachers.lock(id):
        teacher = await get(state, id)
        if not passes_if_match(if_match, entity_tag(teacher.model_dump_json().encode())):
            raise PreconditionFailed(f"{id} was changed since you read it; read it again, then repeat the change")
        changed = {name: getattr(patch, name) for name in patch.model_fields_set}
        for name in ("name", "description", "tags"):
            if name in changed and changed[name] is None:
                del changed[name]
        teacher = teacher.model_copy(update={**changed, "updated_at": now()})
        await state.teachers.put(teacher)
    return teacher


async def remove(state: State, id: str) -> None:
    """Remove a teacher and its files. A job that uses it reports it as a skipped row.

    Raises
    ------
    NotFound
    """
    async with state.teachers.lock(id):
        await get(state, id)
        await state.teachers.delete(id)


async def add_predictions(
    state: State, id: str, probe_id: str, staged: Staged, values: str, gone: Gone | None = None
) -> StoredFile:
    """Store a black-box teacher's predictions over a probe. `gone` as for `probes.add`.

    Raises
    ------
    NotFound, Conflict, InvalidProbe
    """
    teacher = await get(state, id)
    if SOURCE_KINDS[teacher.source.kind].runs_model:
        raise Conflict(f"{id} is a {teacher.source.kind!r} teacher and runs by itself; it takes no predictions")
    probe = await state.probes.get(probe_id)
    if probe is None:
        raise NotFound(f"There is no probe {probe_id}. Upload it with POST /v1/probes")
    target = staged.path.with_suffix(".npy")
    try:
        await while_wanted(_converted(state, teacher, probe, staged, values, target), gone)
        size = target.stat().st_size
        async with state.teachers.lock(id):
            await get(state, id)  # Nobody would remove the file of a teacher that was removed meanwhile.
            await state.store.adopt(object_keys.teacher_predictions(id, probe_id), target)
    finally:
        target.unlink(missing_ok=True)
    return StoredFile(name=f"{probe_id}.npy", size=size, sha256=staged.sha256)


async def _converted(state: State, teacher: Teacher, probe: Probe, staged: Staged, values: str, target: Path) -> None:
    async with state.ingesting:
        await ingest_predictions_sandboxed(
            state.confined,
            staged.path,
            items=probe.items,
            classes=len(teacher.labels or ()),
            values=values,
            target=target,
            settings=state.settings,
        )
