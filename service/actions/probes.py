"""Take in, show and remove probes."""

from preceptor.contract.base import now
from preceptor.contract.ids import PROBE, digest_id
from preceptor.contract.probes import Probe, ProbeFormat
from service.ingest import ingest
from service.state import layout
from service.state.errors import NotFound
from service.state.state import State

from .upload import Staged, in_thread


async def add(
    state: State, staged: Staged, filename: str | None, format: ProbeFormat | None, labels: list[str] | None
) -> tuple[Probe, bool]:
    """Turn an upload into a probe. False where the same content was there before.

    Raises
    ------
    InvalidProbe, TooLarge, UnsupportedType
        The data cannot be used; the text says where and what to do.
    """
    target = staged.path.with_suffix(".parquet")
    try:
        async with state.ingesting:
            ingested = await in_thread(
                ingest,
                staged.path,
                filename=filename,
                format=format,
                labels=labels,
                settings=state.settings,
                target=target,
            )
        id = digest_id(PROBE, ingested.digest)
        existing = await state.probes.get(id)
        if existing is not None:
            return existing, False
        await state.store.adopt(layout.probe_items(id), target)
        return await state.probes.create(Probe.model_validate({**ingested.description, "id": id, "created_at": now()}))
    finally:
        target.unlink(missing_ok=True)


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
    await get(state, id)
    await state.probes.delete(id)
