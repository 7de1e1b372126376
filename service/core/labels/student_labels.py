"""Teachers and label set of a request; evaluated when it is accepted, and again when it runs."""

from pydantic import ValidationError

from preceptor.contract.labels import LabelSetBody
from preceptor.contract.recommendations import RecommendationBody
from preceptor.contract.teachers import Teacher, TeacherStatus

from ..errors import InvalidRequest
from .class_names import placeholders


def student_of_probe(student: LabelSetBody | None, labels: list[str] | None, probe: str) -> LabelSetBody:
    """The student's label set; it must equal the probe's if both are known.

    Raises
    ------
    InvalidRequest
    """
    if student is None:
        if labels is None:
            raise InvalidRequest(f"{probe} does not name its classes; send student.labels")
        try:
            return LabelSetBody(labels=labels)
        except ValidationError as error:
            raise InvalidRequest(f"the classes of {probe} cannot be a label set: {error.errors()[0]['msg']}") from error
    if labels is not None and set(labels) != set(student.labels):
        only_probe = sorted(set(labels) - set(student.labels))[:3]
        only_student = sorted(set(student.labels) - set(labels))[:3]
        raise InvalidRequest(
            f"student.labels and the classes of {probe} differ: only in the probe {only_probe}, only in the "
            f"request {only_student}. Leave student out, or upload the probe with these labels"
        )
    return student


def placeholders_of(labels: LabelSetBody) -> list[str]:
    """The names of a label set by which nothing can be compared: placeholders that nothing else explains.

    Empty if the set brings embeddings, or a description for each placeholder.
    """
    if labels.embeddings is not None:
        return []
    described = labels.descriptions or {}
    return [name for name in placeholders(labels.labels) if name not in described]


def require_meaning(student: LabelSetBody, body: RecommendationBody, labelled: bool) -> None:
    """Refuse a ranking by names of a student whose names are placeholders, as a teacher with such names is refused.

    Parameters
    ----------
    labelled
        Whether the request has a labelled probe. With one, teachers are compared by their answers instead.

    Raises
    ------
    InvalidRequest
    """
    if labelled and body.candidates is None and body.method != "label_transport":
        return
    if empty := placeholders_of(student):
        shown = ", ".join(map(repr, empty[:3]))
        raise InvalidRequest(
            f"student labels such as {shown} name nothing, so no teacher can be compared with them by names. Send real "
            "class names, `descriptions`, or a labelled probe (without `candidates`, and with method auto)"
        )


def takes_part(teacher: Teacher, body: RecommendationBody) -> bool:
    """Whether a teacher is ready and passes the request's filter."""
    chosen = body.teachers
    return teacher.status == TeacherStatus.READY and (
        chosen is None
        or (
            (chosen.ids is None or teacher.id in chosen.ids)
            and (chosen.tags is None or set(chosen.tags) <= set(teacher.tags))
            and (chosen.modality is None or chosen.modality == teacher.modality)
        )
    )
