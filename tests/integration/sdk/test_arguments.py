"""Wrong arguments: an exception of the SDK that says what to do, before anything is sent."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from preceptor import Client, InvalidRequestError, LocalFileError, NotFoundError, PreceptorError
from preceptor.contract import ids

from .small_state import SmallService


class DataFrame:
    """Something that is neither a path nor bytes."""


ANYTHING: Any = DataFrame()
PROBE, TEACHER = ids.digest_id("prb", "0" * 64), ids.new_id("tch")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda client: client.probes.upload(ANYTHING), r"path or bytes, not a DataFrame.*to_parquet"),
        (lambda client: client.probes.check(ANYTHING), r"path or bytes, not a DataFrame"),
        (lambda client: client.probes.upload("s3://x/y.npz"), r"'s3://x/y.npz' is a URL.*Download it"),
        (lambda client: client.probes.upload("https://x/y.npz"), "is a URL"),
        (lambda client: client.probes.upload("nowhere.npz"), "does not exist"),
        (lambda client: client.probes.upload("/"), "is a folder"),
        (lambda client: client.probes.upload(b"1"), "give `format`"),
        (lambda client: client.probes.upload(b"1", 5, "npz"), "labels must be a list, not a int"),
        (lambda client: client.probes.upload(b"1", "a,b", "npz"), "labels must be a list, not a str"),
        (lambda client: client.probes.upload(b"1", ["a", "\u200b"], "npz"), "visible character"),
        (lambda client: client.probes.get(5), "expected an id, not a int"),
        (lambda client: client.probes.delete(ANYTHING), "not a DataFrame"),
        (lambda client: client.probes.list(page_size="x"), "page_size must be a whole number"),
        (lambda client: client.teachers.get(None), "expected the id or name of a teacher"),
        (lambda client: client.teachers.get(ANYTHING), "not a DataFrame"),
        (lambda client: client.teachers.check(ANYTHING), "expected the path of a folder, not a DataFrame"),
        (lambda client: client.teachers.upload_file(TEACHER, ANYTHING), "as a path, not as a DataFrame"),
        (lambda client: client.teachers.upload_predictions(TEACHER, PROBE, ANYTHING), "path or bytes"),
        (lambda client: client.teachers.list(tags=5).first(), "tags must be a list"),
        (lambda client: client.label_sets.create(["a", " \u200b"]), "visible character"),
        (lambda client: client.recommendations.create(5), "labels must be a list"),
        (lambda client: client.recommendations.create(["a", "b"], teachers=5), "teachers must be a list"),
        (lambda client: client.recommendations.create(["a", "\u202e"]), "visible character"),
        (
            lambda client: client.recommendations.create(["a", "b"], candidates={"zoo": ["x", "\u2800"]}),
            "visible character",
        ),
        (lambda client: client.distillations.create(PROBE, teachers=5), "teachers must be a list"),
        (lambda client: client.distillations.create(PROBE, teachers=[TEACHER], training={"epoch": 3}), "/epoch"),
        (lambda client: client.webhooks.delete(ANYTHING), "not a DataFrame"),
        (lambda client: client.students.download_all(5), "expected an id"),
    ],
)
def test_a_wrong_argument_is_refused_here(
    client: Client, service: SmallService, call: Callable[[Client], object], message: str
) -> None:
    with pytest.raises(PreceptorError, match=message):
        call(client)
    assert service.seen == []


def test_the_disk_of_the_caller(client: Client, tmp_path: Path, student: Any) -> None:
    (tmp_path / "file").write_bytes(b"1")
    with pytest.raises(LocalFileError, match="file") as caught:
        client.students.download_all(student, tmp_path / "file" / "inner")
    assert isinstance(caught.value, OSError)
    assert caught.value.errno == errno.ENOTDIR
    with pytest.raises(LocalFileError):
        client.students.download(student, "config.json", tmp_path / "file" / "config.json")


def test_a_teacher_by_its_exact_name(client: Client, service: SmallService) -> None:
    def add(name: str) -> str:
        return client.teachers.add(name, source={"kind": "predictions"}, modality="text", labels=["x", "y"]).id

    even, _ = add("Even digits"), add("Even digits, small")
    assert client.teachers.get("Even digits").id == even
    assert client.teachers.update("Even digits", description="new").description == "new"
    job = client.recommendations.create(["a", "b"], teachers=["Even digits"])
    assert job.request.teachers is not None
    assert job.request.teachers.ids == [even]
    with pytest.raises(NotFoundError, match="no teacher with the id or name 'Odd'"):
        client.teachers.get("Odd")
    add("Even digits")
    with pytest.raises(InvalidRequestError, match="2 teachers are called 'Even digits'; give one of the ids tch_"):
        client.teachers.delete("Even digits")
