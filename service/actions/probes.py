"""Take in, show and remove probes."""

from pathlib import Path

from preceptor.contract.base import now
from preceptor.contract.ids import PROBE, digest_id
from preceptor.contract.probes import Probe, ProbeCheck, ProbeFormat
from service.core.errors import NotFound
from service.core.state import State
from service.core.storage import object_keys
from service.core.storage.item_hashes import Hashes, read_hashes
from service.ingest import IngestedProbe
from service.ingest.sandboxed import hashes_path, ingest_sandboxed

from .uploads import Gone, Staged, in_thread, while_wanted


async def add(
    state: State,
    staged: Staged,
    filename: str | None,
    format: ProbeFormat | None,
    labels: list[str] | None,
    gone: Gone | None = None,
) -> tuple[Probe, bool]:
    """Turn an upload into a probe. False where the same content was there before; its notes are this upload's.

    Parameters
    ----------
    gone
        Ends with an error when nobody waits for the answer any more: reading is given up.

    Raises
    ------
    InvalidProbe, TooLarge, UnsupportedType
        The data cannot be used; the text says where and what to do.
    Conflict
        There are as many probes as there may be.
    """
    target = staged.path.with_suffix(".parquet")
    try:
        ingested = await while_wanted(_ingested(state, staged, filename, format, labels, target), gone)
        id = digest_id(PROBE, ingested.digest)
        async with state.probes.lock(id):  # A removal meanwhile would take the items of the new one.
            existing = await state.probes.get(id)
            if existing is not None:
                if await state.store.head(object_keys.probe_hashes(id)) is None:
                    await _adopt_hashes(state, id, target)  # it was uploaded to an earlier version
                return Probe.model_validate({**existing.model_dump(), **ingested.notes}), False
            await state.probes.require_room()
            await state.store.adopt(object_keys.probe_items(id), target)
            await _adopt_hashes(state, id, target)
            described = {**ingested.description, **ingested.notes, "id": id, "created_at": now()}
            return await state.probes.create(Probe.model_validate(described))
    finally:
        target.unlink(missing_ok=True)
        hashes_path(target).unlink(missing_ok=True)


async def _adopt_hashes(state: State, id: str, target: Path) -> None:
    if await in_thread(hashes_path(target).exists):
        await state.store.adopt(object_keys.probe_hashes(id), hashes_path(target))


async def hashes(state: State, probe: Probe) -> Hashes | None:
    """The hashes of a probe's items, shape (N, 3); None if there are none."""
    path = await state.store.local(object_keys.probe_hashes(probe.id))
    return None if path is None else await in_thread(read_hashes, path, probe.items)


async def check(
    state: State,
    staged: Staged,
    filename: str | None,
    format: ProbeFormat | None,
    labels: list[str] | None,
    gone: Gone | None = None,
) -> ProbeCheck:
    """Read an upload as `add` does, and store nothing.

    Raises
    ------
    InvalidProbe, TooLarge, UnsupportedType
    """
    target = staged.path.with_suffix(".parquet")
    try:
        reading = _ingested(state, staged, filename, format, labels, target, check=True)
        ingested = await while_wanted(reading, gone)
    finally:
        target.unlink(missing_ok=True)
        hashes_path(target).unlink(missing_ok=True)
    id = digest_id(PROBE, ingested.digest)
    stored = await state.probes.get(id) is not None
    described = {**ingested.description, **ingested.notes, "id": id, "stored": stored, "created_at": now()}
    return ProbeCheck.model_validate(described)


async def _ingested(
    state: State,
    staged: Staged,
    filename: str | None,
    format: ProbeFormat | None,
    labels: list[str] | None,
    target: Path,
    *,
    check: bool = False,
) -> IngestedProbe:
    async with state.ingesting:
        return await ingest_sandboxed(
            state.confined,
            staged.path,
            filename=filename,
            format=format,
            labels=labels,
            settings=state.settings,
            target=target,
            check=check,
        )


async def get(state: State, id: str) -> Probe:
    """A probe.

    Raises
    ------
    NotFound
    """
    probe = await state.probes.get(id)
    if probe is None:
        raise NotFound(f"There is no probe {id}. Upload the data with POST /v1/probes")
    return probe


async def remove(state: State, id: str) -> None:
    """Remove a probe and its items.

    Raises
    ------
    NotFound
    """
    async with state.probes.lock(id):
        await get(state, id)
        await state.probes.delete(id)
