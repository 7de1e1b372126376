"""`/v1/students`"""

from ...contract.distillations import Student
from ...contract.page import Page
from ...contract.teachers import Teacher
from ..calls import Call, at, call, model, nothing
from ..effects import Request


def get(student: str) -> Call[Student]:
    return call("GET", at("students", student), model(Student))


def page(limit: int, cursor: str | None) -> Call[Page[Student]]:
    return call("GET", "/v1/students", model(Page[Student]), query={"limit": limit, "cursor": cursor})


def delete(student: str) -> Call[None]:
    return call("DELETE", at("students", student), nothing)


def artifact(student: str, name: str, start: int) -> Request:
    headers = {"Accept": "*/*", "Accept-Encoding": "identity"}  # ranges count the bytes of the file itself
    if start:
        headers["Range"] = f"bytes={start}-"
    return Request(method="GET", path=at("students", student, "artifacts", name), headers=headers)


def promote(student: str, name: str | None) -> Call[Teacher]:
    values = {} if name is None else {"name": name}
    return call("POST", at("students", student, "promote"), model(Teacher), body=values)
