"""Warnings of a recommendation about its probe: why it was not used, and placeholder class names."""

from preceptor.contract.labels import LabelSetBody
from preceptor.contract.recommendations import RecommendationBody
from service.core.storage.probe_file import ProbeData
from service.core.student_labels import placeholders_of


def unused(body: RecommendationBody, data: ProbeData | None) -> list[str]:
    """The warning of a ranking by names that was given a probe; empty if there is nothing to warn of.

    Parameters
    ----------
    data
        The probe; None if the request has none.
    """
    if data is None:
        return []
    if data.labels is None:
        why = (
            "it has no labels. Upload it with a column of labels (the answer to the upload states which columns were "
            "read)"
        )
    elif body.candidates is not None:
        why = "candidates are label sets, and no model can be run on it. Rank registered teachers"
    else:
        why = f"{body.method} compares class names only. Leave out `method`, or choose another"
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
