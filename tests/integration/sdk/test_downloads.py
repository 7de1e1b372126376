"""Downloads over lines that break and disks that are slow to forget."""

import hashlib
from pathlib import Path

import pytest

from preceptor import AsyncClient, Client, DigestMismatchError, NotFoundError, ServiceUnreachableError, Transfer
from preceptor.contract.distillations import Student

from .small_state import Fault, SmallService

NAME = "model.safetensors"


def path_of(student: Student) -> str:
    return f"/v1/students/{student.id}/artifacts/{NAME}"


def test_a_broken_download_goes_on_where_it_stopped(
    client: Client, service: SmallService, student: Student, tmp_path: Path, naps: list[float]
) -> None:
    service.artifact_drops = [50_000, 30_000]
    moves: list[Transfer] = []
    path = client.students.download(student.id, NAME, tmp_path, on_transfer=moves.append)
    assert path == tmp_path / NAME
    assert path.read_bytes() == service.artifacts[NAME]
    ranges = [seen.headers.get("range") for seen in service.requests("GET", path_of(student))]
    assert ranges == [None, "bytes=50000-", "bytes=80000-"]
    assert [move.done for move in moves] == sorted(move.done for move in moves)
    assert len(naps) == 2
    assert [entry.name for entry in tmp_path.iterdir()] == [NAME]


def test_a_later_run_goes_on_too_and_a_finished_file_is_not_fetched_again(
    client: Client, service: SmallService, student: Student, tmp_path: Path
) -> None:
    service.artifact_drops = [50_000] + [0] * 4
    with pytest.raises(ServiceUnreachableError):
        client.students.download(student, NAME, tmp_path)
    assert not (tmp_path / NAME).exists(), "no half file under the final name"
    path = client.students.download(student, NAME, tmp_path)
    assert service.seen[-1].headers["range"] == "bytes=50000-"
    assert path.read_bytes() == service.artifacts[NAME]
    before = len(service.seen)
    assert client.students.download(student, NAME, tmp_path) == path
    assert len(service.seen) == before


def test_a_service_without_ranges_is_read_from_the_start(
    client: Client, service: SmallService, student: Student, tmp_path: Path
) -> None:
    service.honour_range = False
    service.artifact_drops = [50_000]
    path = client.students.download(student, NAME, tmp_path / "other.bin")
    assert path == tmp_path / "other.bin"
    assert path.read_bytes() == service.artifacts[NAME]


def test_changed_bytes_are_fetched_once_more_and_then_refused(
    client: Client, service: SmallService, student: Student, tmp_path: Path
) -> None:
    service.corrupt = 1
    assert client.students.download(student, NAME, tmp_path).read_bytes() == service.artifacts[NAME]
    service.corrupt = 2
    with pytest.raises(DigestMismatchError, match="fetched twice"):
        client.students.download(student, NAME, tmp_path / "again.bin")
    assert [entry.name for entry in tmp_path.iterdir()] == [NAME]


def test_a_refused_download_is_tried_again_and_an_unknown_name_lists_what_there_is(
    client: Client, service: SmallService, student: Student, tmp_path: Path, naps: list[float]
) -> None:
    service.fail("GET", path_of(student), Fault(503, {"Retry-After": "5"}))
    client.students.download(student, NAME, tmp_path)
    assert naps == [5.0]
    with pytest.raises(NotFoundError, match=r"no artifact 'x'; it has: model\.safetensors, config\.json"):
        client.students.download(student, "x", tmp_path)


def test_all_artifacts_at_once_and_promotion(
    client: Client, service: SmallService, student: Student, tmp_path: Path
) -> None:
    paths = client.students.download_all(student.id, tmp_path / "new" / "folder")
    assert {path.name: path.read_bytes() for path in paths} == service.artifacts
    teacher = client.students.promote(student)
    assert (teacher.promoted_from, teacher.name) == (student.id, student.name)
    assert [entry.id for entry in client.students.list()] == [student.id]


@pytest.mark.anyio
async def test_the_asynchronous_client_resumes_downloads(
    async_client: AsyncClient, service: SmallService, student: Student, tmp_path: Path
) -> None:
    service.artifact_drops = [50_000]
    path = await async_client.students.download(student, NAME, tmp_path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == student.artifacts[0].sha256
    assert service.seen[-1].headers["range"] == "bytes=50000-"
    paths = await async_client.students.download_all(student, tmp_path)
    assert len(paths) == 2
