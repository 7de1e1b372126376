"""`/v1/teachers`"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from ...contract.page import Page
from ...contract.teachers import StoredFile, Teacher, TeacherBody, TeacherPatch
from ...contract.validations import Validation
from ..bodies import body, listed
from ..calls import Call, at, call, model, nothing
from ..files.transfer import Upload

Values = Literal["probabilities", "logits"]


def create(
    values: Mapping[str, Any] | TeacherBody, idempotency_key: str | None, *, check: bool = False
) -> Call[Teacher]:
    wanted = values if isinstance(values, TeacherBody) else body(TeacherBody, values)
    query = {"check": "true"} if check else {}
    return call("POST", "/v1/teachers", model(Teacher), query=query, body=wanted, idempotency_key=idempotency_key)


def get(teacher: str) -> Call[Teacher]:
    return call("GET", at("teachers", teacher), model(Teacher))


def page(
    limit: int,
    cursor: str | None,
    *,
    status: str | None = None,
    tags: Iterable[str] | None = None,
    modality: str | None = None,
    name: str | None = None,
) -> Call[Page[Teacher]]:
    tag = None if tags is None else [tags] if isinstance(tags, str) else listed(tags, "tags")
    query = {"status": status, "tag": tag, "modality": modality, "name": name, "limit": limit, "cursor": cursor}
    return call("GET", "/v1/teachers", model(Page[Teacher]), query=query)


def update(teacher: str, values: Mapping[str, Any]) -> Call[Teacher]:
    patch = body(TeacherPatch, values).model_dump(mode="json", exclude_unset=True)
    return call("PATCH", at("teachers", teacher), model(Teacher), body=patch)


def delete(teacher: str) -> Call[None]:
    return call("DELETE", at("teachers", teacher), nothing)


def upload(teacher: str, file: Upload) -> Call[StoredFile]:
    return call("PUT", at("teachers", teacher, "files", file.name), model(StoredFile), upload=file)


def upload_predictions(teacher: str, probe: str, values: Values, file: Upload) -> Call[StoredFile]:
    path = at("teachers", teacher, "predictions", probe)
    return call("PUT", path, model(StoredFile), query={"values": values}, upload=file)


def validate(teacher: str) -> Call[Validation]:
    return call("POST", at("teachers", teacher, "validation"), model(Validation))
