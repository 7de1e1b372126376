"""Teachers from a Hub: a small local server speaks the endpoints that the Hub's library calls."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch

from preceptor.contract.teachers import Teacher, TeacherStatus
from worker.teachers.validation import validate_teacher

REVISION = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "someone/tiny-resnet"
Make = Callable[..., Teacher]


class Hub:
    """The files of one repository at one commit, and what was asked for."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None: ...

            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def do_GET(self) -> None:
                hub.answer(self, body=True)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = urlsplit(request.path).path
        self.asked.append(path)
        api = f"/api/models/{REPOSITORY}"
        prefix = f"/{REPOSITORY}/resolve/{REVISION}/"
        if path == f"{api}/revision/{REVISION}":
            siblings = [{"rfilename": name, "size": len(data)} for name, data in self.files.items()]
            return self._send(request, json.dumps({"id": REPOSITORY, "sha": REVISION, "siblings": siblings}).encode())
        if path == f"{api}/tree/{REVISION}":
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in self.files.items()
            ]
            return self._send(request, json.dumps(tree).encode())
        if path.startswith(prefix) and path.removeprefix(prefix) in self.files:
            return self._send(request, self.files[path.removeprefix(prefix)], body=body, file=True)
        code = "RevisionNotFound" if path.startswith(f"{api}/revision/") else "RepoNotFound"
        request.send_response(404)
        request.send_header("X-Error-Code", code)
        request.send_header("Content-Length", "0")
        request.end_headers()
        return None

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, data: bytes, *, body: bool = True, file: bool = False) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        if file:
            request.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
            request.send_header("X-Repo-Commit", REVISION)
        else:
            request.send_header("Content-Type", "application/json")
        request.end_headers()
        if body:
            request.wfile.write(data)


@pytest.fixture(scope="module")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a repository holds: the model, its pickle, and a script."""
    from transformers import ResNetConfig, ResNetForImageClassification
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("repository")
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic", id2label={0: "cat", 1: "dog"}
    )
    ResNetForImageClassification(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return files | {"pytorch_model.bin": b"a pickle", "modeling.py": b"import os", "sub/config.json": b"{}"}


@pytest.fixture
def hub(model_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub(dict(model_files))
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    yield server
    server.close()


@pytest.fixture
def teacher(make_teacher: Make) -> Teacher:
    return make_teacher("image", {"kind": "hub", "repository": REPOSITORY, "revision": REVISION})


def test_only_what_is_needed_is_fetched_and_only_once(hub: Hub, teacher: Teacher, tmp_path: Path) -> None:
    verdict = validate_teacher(teacher, tmp_path)
    assert (verdict.status, verdict.reason, verdict.labels) == (TeacherStatus.READY, None, ["cat", "dog"])
    names = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert names == {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert not any("pytorch_model.bin" in path or "modeling.py" in path for path in hub.asked)
    asked = len(hub.asked)
    again = validate_teacher(teacher, tmp_path)
    assert again.digest == verdict.digest
    assert len(hub.asked) == asked


def test_a_repository_of_pickles_is_refused(hub: Hub, teacher: Teacher, tmp_path: Path) -> None:
    del hub.files["model.safetensors"]
    verdict = validate_teacher(teacher, tmp_path)
    assert "has no model.safetensors (only pytorch_model.bin, which can run code" in (verdict.reason or "")
    assert list(tmp_path.iterdir()) == []


def test_unknown_commits_and_repositories_are_named(hub: Hub, make_teacher: Make, tmp_path: Path) -> None:
    source = {"kind": "hub", "repository": REPOSITORY, "revision": "f" * 40}
    verdict = validate_teacher(make_teacher("image", source), tmp_path)
    assert f"no commit {'f' * 40} of {REPOSITORY}" in (verdict.reason or "")
    source = {"kind": "hub", "repository": "no/such", "revision": REVISION}
    verdict = validate_teacher(make_teacher("image", source), tmp_path)
    assert "no repository 'no/such', or it is private" in (verdict.reason or "")


def test_an_unreachable_hub_is_a_reason(teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = Hub({})
    closed.close()
    monkeypatch.setenv("HF_ENDPOINT", closed.url)
    verdict = validate_teacher(teacher, tmp_path)
    assert f"the Hub at {closed.url} cannot be reached from this worker" in (verdict.reason or "")
    assert "set HF_ENDPOINT to a mirror" in (verdict.reason or "")


@pytest.fixture(scope="module")
def text_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A repository with a text model, whose tokenizer says that its table has 4 GiB."""
    from tokenizers import Tokenizer, models
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("texts")
    config = BertConfig(
        vocab_size=8,
        max_position_embeddings=16,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        id2label={0: "cat", 1: "dog"},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "cat": 2}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", model_max_length=16).save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_text_model_is_fetched_here_and_read_by_a_child(
    monkeypatch: pytest.MonkeyPatch, make_teacher: Make, text_files: dict[str, bytes], tmp_path: Path
) -> None:
    teacher = make_teacher("text", {"kind": "hub", "repository": REPOSITORY, "revision": REVISION})
    server = Hub(dict(text_files))
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    try:
        for name in ("good", "hostile"):
            (tmp_path / name).mkdir()
        good = validate_teacher(teacher, tmp_path / "good", threads=1)
        assert (good.status, good.reason, good.labels) == (TeacherStatus.READY, None, ["cat", "dog"])
        starved = validate_teacher(teacher, tmp_path / "good", threads=1, memory_bytes=2**28)
        told = json.loads(text_files["tokenizer.json"])
        told["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAA////"}
        server.files["tokenizer.json"] = json.dumps(told).encode()
        hostile = validate_teacher(teacher, tmp_path / "hostile", threads=1)
    finally:
        server.close()
    assert hostile.status is TeacherStatus.REJECTED
    assert "table is cut off" in (hostile.reason or "")
    assert starved.status is TeacherStatus.REJECTED, "the cap is that of a child"
