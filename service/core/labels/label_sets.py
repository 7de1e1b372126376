"""Register and resolve label sets."""

from preceptor.contract.base import now
from preceptor.contract.labels import LabelSet, LabelSetBody
from service.core.async_helpers import in_document_thread

from ..errors import NotFound
from ..state import State


async def register(state: State, body: LabelSetBody) -> tuple[LabelSet, bool]:
    """Store a label set under its content id. The flag is False if it existed."""
    document = _document(body) if body.embeddings is None else await in_document_thread(_document, body)
    existing = await state.label_sets.get(document.id)
    if existing is not None:
        return existing, False
    async with state.label_sets.lock(document.id):  # A removal meanwhile would take the new one with it.
        return await state.label_sets.create(document)


async def remove(state: State, id: str) -> None:
    """Remove a label set. Jobs and teachers keep their own copy of the names.

    Raises
    ------
    NotFound
    """
    async with state.label_sets.lock(id):
        if await state.label_sets.get(id) is None:
            raise NotFound(f"There is no label set {id}")
        await state.label_sets.delete(id)


def _document(body: LabelSetBody) -> LabelSet:
    return LabelSet(id=body.identity(), created_at=now(), **body.model_dump())


async def resolve(state: State, given: LabelSetBody | str) -> LabelSetBody:
    """The label set, whether given in full or by id.

    Raises
    ------
    NotFound
    """
    if isinstance(given, LabelSetBody):
        return given
    found = await state.label_sets.get(given)
    if found is None:
        raise NotFound(f"There is no label set {given}. Register it with POST /v1/label-sets, or send the labels")
    return LabelSetBody.model_validate(found.model_dump(exclude={"id", "created_at"}))
