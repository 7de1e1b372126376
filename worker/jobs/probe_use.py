"""Warnings about the probe of a job: why it was not used, placeholder class names, teachers trained on its items."""

import asyncio
from collections.abc import Iterable
from typing import Final

from preceptor.contract.distillations import DistillationBody
from preceptor.contract.labels import LabelSetBody
from preceptor.contract.recommendations import RecommendationBody, UsedMethod
from preceptor.contract.teachers import Teacher
from service.core.labels.student_labels import placeholders_of
from service.core.lineage import trained_on
from service.core.state import State
from service.core.storage import object_keys
from service.core.storage.item_hashes import Overlap, overlap, read_hashes
from service.core.storage.probe_file import ProbeData

_NAMED: Final = 5
"""Teachers that warnings name."""


def unused(body: RecommendationBody, method: UsedMethod, data: ProbeData | None) -> list[str]:
    """The warning of a ranking by names that was given a probe; empty if there is nothing to warn of.

    Parameters
    ----------
    method
        The method that was used.
    data
        The probe; None if the request has none.
    """
    if data is None or method != "label_transport":
        return []
    if data.labels is None:
        why = (
            "it has no labels. Upload it with a column of labels (the answer to the upload states which columns were "
            "read)"
        )
    elif body.candidates is not None:
        why = "candidates are label sets, and no model can be run on it. Rank registered teachers"
    else:
        why = "label_transport compares class names only. Leave out `method`, or choose another"
    return [f"the probe {body.probe} was not used, and teachers were ranked by names: {why}"]


def nameless(student: LabelSetBody) -> list[str]:
    """The warning of a ranking for a student whose class names are placeholders; empty if they are names."""
    empty = placeholders_of(student)
    if not empty:
        return []
    return [
        f"student labels such as {', '.join(map(repr, empty[:3]))} name nothing: teachers were ranked by the probe only"
        ". With class names, names would be compared, too"
    ]


async def shared_items(state: State, first: str, second: str) -> Overlap | None:
    """Which items of one probe another one has; None if one of them has no hashes.

    Parameters
    ----------
    first, second
        Ids of probes; one that was deleted has no hashes.
    """
    probes = [await state.probes.get(id) for id in (first, second)]
    paths = [await state.store.local(object_keys.probe_hashes(id)) for id in (first, second)]
    found = [
        None if probe is None or path is None else await asyncio.to_thread(read_hashes, path, probe.items)
        for probe, path in zip(probes, paths, strict=True)
    ]
    one, other = found
    if one is None or other is None:
        return None
    pictures = all(probe is not None and probe.modality == "image" for probe in probes)
    return await asyncio.to_thread(overlap, one, other, pictures=pictures)


async def seen_before(state: State, probe: str, teachers: Iterable[Teacher]) -> list[str]:
    """Warnings of teachers that were trained on items of a probe on which they are judged."""
    found: list[str] = []
    for teacher in teachers:
        for known in await trained_on(state, teacher):
            if known == probe:
                found.append(f"{teacher.name} was trained on {probe}, on which it is judged here")
                break
            shared = await shared_items(state, probe, known)
            if shared is not None and shared.equal:
                found.append(
                    f"{teacher.name} was trained on {shared.equal:,} of the {shared.of:,} items of {probe} (they are "
                    f"in {known}, too), on which it is judged here"
                )
                break
        if len(found) == _NAMED:
            break
    return [
        f"{line}: its score says little of other items. Compare teachers on items that none has seen" for line in found
    ]


async def warnings_of_test(state: State, body: DistillationBody, teachers: Iterable[Teacher]) -> list[str]:
    """What may make the accuracy on a distillation's test too good."""
    if body.test is None:
        return []
    warnings = await seen_before(state, body.test, teachers)
    shared = await shared_items(state, body.test, body.data)
    if shared is None:
        return [
            *warnings,
            "test and data were not compared item by item: one was uploaded to an earlier version. Upload it again to "
            "have them compared",
        ]
    for number, how in ((shared.equal, "equal"), (shared.near, "nearly equal")):
        if number:
            warnings.append(
                f"{number:,} of {shared.of:,} test items are {how} to items of data, for example {shared.shown()} "
                "(counted from 0): the accuracy may be too good"
            )
    return warnings
