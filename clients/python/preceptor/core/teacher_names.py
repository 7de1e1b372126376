"""Teachers by id or by their exact name."""

from typing import Any

from ..contract.ids import TEACHER, is_id
from ..contract.page import Page
from ..contract.problem import TYPE_BASE, Problem
from ..contract.teachers import Teacher
from ..errors import invalid, status_error
from .bodies import identifier, listed
from .calls import send
from .effects import Procedure
from .paging import page_size
from .routes import teachers
from .settings import Settings

_SHOWN = 5


def teacher_id(settings: Settings, reference: Any) -> Procedure[str]:
    """The id of a teacher that is given itself, by id, or by its exact name. Only a name needs requests.

    Raises
    ------
    NotFoundError
        No teacher has this name.
    InvalidRequestError
        Several have it; names their ids.
    """
    name = identifier(reference)
    if not isinstance(name, str) or not name:
        raise invalid(f"expected the id or name of a teacher, not {name!r}")
    if is_id(TEACHER, name):
        return name
    found: list[str] = []
    cursor: str | None = None
    while True:
        page: Page[Teacher] = yield from send(settings, teachers.page(page_size(200), cursor, name=name))
        found += [teacher.id for teacher in page.items if teacher.name == name]
        if page.next is None or page.next == cursor:
            break
        cursor = page.next
    if not found:
        detail = f"there is no teacher with the id or name {name!r}"
        raise status_error(Problem(type=TYPE_BASE + "not-found", title="Not found", status=404, detail=detail))
    if len(found) > 1:
        ids = ", ".join(found[:_SHOWN]) + (f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
        raise invalid(f"{len(found)} teachers are called {name!r}; give one of the ids {ids}")
    return found[0]


def teacher_ids(settings: Settings, references: Any) -> Procedure[list[str]]:
    """The ids of several teachers, as `teacher_id`."""
    if isinstance(references, Teacher | str):
        references = [references]
    ids: list[str] = []
    for each in listed(references, "teachers"):
        ids.append((yield from teacher_id(settings, each)))
    return ids
