"""`client.teachers.check` and `client.probes.check`: everything is shown, nothing is left behind."""

import json
from pathlib import Path

import pytest

from preceptor import AsyncClient, Client, JobFailedError, TeacherFolderError
from preceptor.contract.teachers import TeacherStatus
from preceptor.contract.validations import ValidationResult

from .small_state import Fault, SmallService


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pets"
    made.mkdir()
    source = {"kind": "onnx", "preprocessing": {"modality": "image", "size": [8, 8]}}
    manifest = {"modality": "image", "labels": ["cat", "dog"], "source": source, "licence": "MIT"}
    (made / "teacher.json").write_text(json.dumps(manifest), encoding="utf-8-sig")
    (made / "model.onnx").write_bytes(b"onnx")
    return made


def test_a_usable_folder(client: Client, service: SmallService, folder: Path) -> None:
    found = client.teachers.check(folder)
    assert (found.status, found.name, found.labels) == (TeacherStatus.READY, "pets", ["cat", "dog"])
    assert [file.name for file in found.files] == ["model.onnx"]
    assert service.teachers == {}
    [created] = service.requests("POST", "/v1/teachers")
    assert created.query == [("check", "true")]


def test_a_rejected_folder_is_an_answer_and_no_exception(client: Client, service: SmallService, folder: Path) -> None:
    service.verdict = ValidationResult(status=TeacherStatus.REJECTED, reason="labels repeat", seconds=0.1)
    found = client.teachers.check(folder)
    assert (found.status, found.reason) == (TeacherStatus.REJECTED, "labels repeat")
    assert service.teachers == {}


def test_nothing_stays_where_there_is_no_verdict(client: Client, service: SmallService, folder: Path) -> None:
    service.failing = True
    with pytest.raises(JobFailedError):
        client.teachers.check(folder)
    assert service.teachers == {}
    with pytest.raises(TeacherFolderError):
        client.teachers.check(folder / "nowhere")


def test_a_check_ends_well_where_its_removal_fails(client: Client, service: SmallService, folder: Path) -> None:
    known: list[str] = []
    validated = service.start

    def start(*arguments: object) -> object:
        known.extend(service.teachers)
        service.fail("DELETE", f"/v1/teachers/{known[-1]}", *[Fault(500)] * 9)
        return validated(*arguments)  # pyright: ignore[reportArgumentType]

    service.start = start  # pyright: ignore[reportAttributeAccessIssue]
    assert client.teachers.check(folder).status == TeacherStatus.READY


@pytest.mark.anyio
async def test_the_asynchronous_client_checks_too(
    async_client: AsyncClient, service: SmallService, folder: Path, tmp_path: Path
) -> None:
    assert (await async_client.teachers.check(folder)).status == TeacherStatus.READY
    assert service.teachers == {}
    data = tmp_path / "data.npz"
    data.write_bytes(b"123")
    assert (await async_client.probes.check(data)).stored is False


def test_a_probe(client: Client, service: SmallService, tmp_path: Path) -> None:
    data = tmp_path / "data.npz"
    data.write_bytes(b"123")
    found = client.probes.check(data, ["a", "b"])
    assert (found.items, found.labels, found.stored) == (3, ["a", "b"], False)
    assert [example.label for example in found.examples] == ["a"]
    assert service.probes == {}
    client.probes.upload(data)
    assert client.probes.check(data).stored
