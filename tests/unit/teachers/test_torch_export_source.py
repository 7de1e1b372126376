"""torch.export archives: equal numbers without torch.export.load, and nothing in them is ever executed."""

import contextlib
import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from preceptor.contract.teachers import Teacher, TeacherStatus
from worker.teachers.errors import TeacherUnusable
from worker.teachers.interface import Items
from worker.teachers.loading import load_teacher
from worker.teachers.sources.torch_export.allowed_operators import ALLOWED, operator_for
from worker.teachers.sources.torch_export.archive_check import read_archive
from worker.teachers.sources.torch_export.graph_check import ExportedGraph
from worker.teachers.validation import Verdict, validate_teacher

LABELS = ["cat", "dog", "fox"]
VECTORS = {"kind": "torch_export", "preprocessing": {"modality": "features", "dimension": 6}}
Make = Callable[..., Teacher]
BATCH = torch.export.Dim("batch", min=1, max=4096)


class Net(nn.Module):
    """Two layers with dropout, three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(6, 5)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(torch.relu(self.hidden(x))))


class Pictures(nn.Module):
    """Convolution, batch normalisation, pooling, attention over pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(nn.functional.gelu(self.norm(self.conv(pixel_values))), 2)
        tokens = x.flatten(2).transpose(1, 2)
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        scale = tokens.shape[0] / (tokens.shape[0] + 0.0)
        return self.head((tokens + mixed * scale).mean(1))


def export(model: nn.Module, inputs: tuple[Tensor, ...], path: Path, *, dynamic: bool = True, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shapes = tuple({0: BATCH} for _ in inputs) if dynamic else None
        program = torch.export.export(model, inputs, dynamic_shapes=shapes, **options)
        torch.export.save(program, path)
    return program


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def net_archive(net: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("net") / "model.pt2"
    export(net, (torch.zeros(2, 6),), path)
    return path


@pytest.fixture
def saved(net_archive: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the archive with changed members: `saved({"models/model.json": change})`."""

    def save(changes: dict[str, Callable[[bytes], bytes | None]], extra: dict[str, bytes] | None = None) -> Path:
        with (
            zipfile.ZipFile(net_archive) as source,
            zipfile.ZipFile(tmp_path / "model.pt2", "w") as target,
        ):
            for entry in source.infolist():
                inner = entry.filename.split("/", 1)[1]
                data: bytes | None = source.read(entry)
                if inner in changes and data is not None:
                    data = changes[inner](data)
                if data is not None:
                    target.writestr(entry.filename, data)
            for inner, data in (extra or {}).items():
                target.writestr(f"model/{inner}", data)
        return tmp_path

    return save


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    def edit(data: bytes) -> bytes:
        content = json.loads(data)
        change(content)
        return json.dumps(content).encode()

    return edit


def judged(folder: Path, make_teacher: Make, source: dict[str, Any] = VECTORS) -> Verdict:
    return validate_teacher(make_teacher("features", source, LABELS), folder, isolate=False)


def test_an_ordinary_archive_is_accepted_as_it_is(net: nn.Module, net_archive: Path, make_teacher: Make) -> None:
    teacher = make_teacher("features", VECTORS, LABELS)
    verdict = judged(net_archive.parent, make_teacher)
    assert (verdict.status, verdict.reason, verdict.features) == (TeacherStatus.READY, None, 5)
    assert verdict.parameters == sum(p.numel() for p in net.parameters())
    loaded = load_teacher(teacher, net_archive.parent, threads=1)
    vectors = np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32)
    found = loaded.predict(Items(features=vectors))
    with torch.no_grad():
        assert np.allclose(found.logits, net(torch.from_numpy(vectors)).numpy(), atol=1e-6)
    assert loaded.class_weights is not None
    assert found.features is not None
    bias = net.head.bias.detach().numpy()  # pyright: ignore
    assert np.allclose(found.features @ loaded.class_weights.T + bias, found.logits, atol=1e-5)
    loaded.close()


@pytest.mark.parametrize("decomposed", [False, True])
def test_pictures_equal_direct_torch(
    decomposed: bool, tmp_path: Path, make_teacher: Make, picture: Callable[..., bytes]
) -> None:
    torch.manual_seed(1)
    model = Pictures().eval()
    program = export(model, (torch.zeros(2, 3, 32, 32),), tmp_path / "model.pt2")
    if decomposed:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.export.save(program.run_decompositions(), tmp_path / "model.pt2")
    graph = ExportedGraph(read_archive(tmp_path / "model.pt2"), torch.device("cpu"))
    for items in (1, 2, 5):
        pixels = torch.randn(items, 3, 32, 32)
        with torch.inference_mode():
            made, features = graph.run([pixels])
            assert torch.allclose(made[0], model(pixels), atol=1e-6)
        assert features is not None
        assert features.shape == (items, 8)
    preprocessing = {"modality": "image", "size": [32, 32], "std": [255.0]}
    teacher = make_teacher("image", {"kind": "torch_export", "preprocessing": preprocessing}, LABELS)
    assert validate_teacher(teacher, tmp_path, isolate=False).status is TeacherStatus.READY
    assert load_teacher(teacher, tmp_path).predict(Items(images=[picture()])).logits.shape == (1, 3)


def test_texts_equal_direct_torch(text_model: Any, tokenizer_file: Path, tmp_path: Path, make_teacher: Make) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = text_model

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    length = torch.export.Dim("length", min=2, max=24)
    axes = {0: BATCH, 1: length}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = (torch.ones(2, 7, dtype=torch.long), torch.ones(2, 7, dtype=torch.long))
        program = torch.export.export(Named(), inputs, dynamic_shapes=(axes, axes))
        torch.export.save(program, tmp_path / "model.pt2")
    (tmp_path / "tokenizer.json").write_bytes(tokenizer_file.read_bytes())
    source = {"kind": "torch_export", "preprocessing": {"modality": "text", "max_length": 24}}
    teacher = make_teacher("text", source, ["refund", "delivery", "complaint", "praise"])
    assert validate_teacher(teacher, tmp_path, isolate=False).status is TeacherStatus.READY
    found = load_teacher(teacher, tmp_path).predict(Items(texts=["where is my order", "?"]))
    ids = torch.tensor([[2, 4, 5, 6, 7, 3], [2, 8, 3, 0, 0, 0]])
    with torch.no_grad():
        expected = text_model(input_ids=ids, attention_mask=(ids != 0).long()).logits
    assert np.allclose(found.logits, expected.numpy(), atol=1e-6)
    assert found.features is not None


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def trap(mark: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Trap(mark), buffer)
    return buffer.getvalue()


def test_pickled_sample_inputs_are_never_opened(saved: Callable[..., Path], tmp_path: Path, make_teacher: Make) -> None:
    mark = tmp_path / "mark"
    folder = saved({"data/sample_inputs/model.pt": lambda _: trap(mark)})
    assert judged(folder, make_teacher).status is TeacherStatus.READY
    assert not mark.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(Exception):
            torch.export.load(folder / "model.pt2")
    assert mark.exists()  # which is why torch.export.load is not used


def test_expressions_in_the_program_are_never_evaluated(
    saved: Callable[..., Path], tmp_path: Path, make_teacher: Make
) -> None:
    mark = tmp_path / "mark"
    code = f"__import__('pathlib').Path({str(mark)!r}).touch()"

    def change(program: dict[str, Any]) -> None:
        for value in program["graph_module"]["graph"]["tensor_values"].values():
            for size in value["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = code
        program["guards_code"] = [code]

    folder = saved({"models/model.json": edited(change)})
    assert judged(folder, make_teacher).status is TeacherStatus.READY
    assert not mark.exists()
    with pytest.raises(Exception):  # noqa: B017, PT011
        torch.export.load(folder / "model.pt2")
    assert mark.exists()


def test_names_in_the_program_never_become_code(saved: Callable[..., Path], tmp_path: Path, make_teacher: Make) -> None:
    mark = tmp_path / "mark"
    code = json.dumps(f"x=open({str(mark)!r},'w')").encode()

    def change(program: bytes) -> bytes:
        return program.replace(b'"name": "x"', b'"name": ' + code).replace(b'"x": {', code + b": {")

    folder = saved({"models/model.json": change})
    assert judged(folder, make_teacher).status is TeacherStatus.READY
    assert not mark.exists()
    torch.export.load(folder / "model.pt2")
    assert mark.exists()


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.save.default",
        "torch.ops.aten.empty.memory_format",
        "torch.ops.aten.rand.default",
        "torch.ops.aten.add.out",
        "torch.ops.aten.__class__.default",
        "torch.ops.aten.relu.__class__",
        "torch.ops.aten.add._schemas",
        "torch.ops.evil.run.default",
        "torch.load",
        "torch.hub.load",
        "_operator.methodcaller",
        "_operator.attrgetter",
        "math.exp",
        "#namespace:thing",
        "os.system",
        "torch.ops.higher_order.cond",
    ],
)
def test_operators_beyond_the_list_are_refused(target: str, saved: Callable[..., Path], make_teacher: Make) -> None:
    with pytest.raises(TeacherUnusable, match="is not allowed here"):
        operator_for(target)

    def change(program: dict[str, Any]) -> None:
        program["graph_module"]["graph"]["nodes"][0]["target"] = target

    verdict = judged(saved({"models/model.json": edited(change)}), make_teacher)
    assert f"calls {target!r}, which is not allowed here" in (verdict.reason or "")


def test_every_listed_operator_exists() -> None:
    assert [name for name in sorted(ALLOWED) if not hasattr(torch.ops.aten, name)] == []


def weights(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    return {"data/weights/model_weights_config.json": edited(lambda c: change(c["config"]["head.weight"]))}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (weights(lambda e: e.update(use_pickle=True)), "keeps 'head.weight' as a pickle, which is never loaded"),
        (weights(lambda e: e.update(path_name="custom_obj_0")), "as a pickle"),
        (weights(lambda e: e.update(path_name="weight_77")), "lacks data/weights/weight_77"),
        (weights(lambda e: e["tensor_meta"].update(dtype=31)), "number format"),
        (weights(lambda e: e["tensor_meta"].update(sizes=[{"as_int": 9}, {"as_int": 5}])), "too few bytes"),
        (weights(lambda e: e["tensor_meta"].update(storage_offset={"as_int": 1})), "too few bytes"),
        (
            weights(lambda e: e["tensor_meta"].update(strides=[{"as_int": -5}, {"as_int": 1}])),
            "describes the shape of 'head.weight' wrongly",
        ),
        (
            weights(lambda e: e["tensor_meta"].update(sizes=[{"as_int": 10**4000}] * 9999)),
            "describes the shape of 'head.weight' wrongly",
        ),
        ({"data/weights/weight_0": lambda data: data[:-4]}, "too few bytes"),
        ({"data/weights/weight_0": lambda data: b""}, "real weights"),
        ({"archive_format": lambda data: b"pt1"}, "not a torch.export archive"),
        ({"models/model.json": lambda data: None}, "no program named 'model'"),
        ({"models/model.json": lambda data: b"{"}, "not valid JSON"),
        ({"models/model.json": lambda data: b"[1]"}, "not a JSON object"),
        ({"models/model.json": edited(lambda p: p.update(schema_version={"major": 9}))}, "whose format differs"),
        ({"models/model.json": edited(lambda p: p["graph_module"].pop("graph"))}, "cannot be read (KeyError"),
        ({"data/weights/model_weights_config.json": lambda data: None}, "lacks data/weights"),
        ({"byteorder": lambda data: b"big"}, "big-endian"),
    ],
)
def test_a_wrong_archive_is_rejected(
    changes: dict[str, Any], told: str, saved: Callable[..., Path], make_teacher: Make
) -> None:
    verdict = judged(saved(changes), make_teacher)
    assert verdict.status is TeacherStatus.REJECTED
    assert told in (verdict.reason or "")
    assert "\n" not in (verdict.reason or "")


def test_legacy_pickled_weights_and_compiled_code_are_refused(
    saved: Callable[..., Path], tmp_path: Path, make_teacher: Make
) -> None:
    mark = tmp_path / "mark"
    folder = saved({}, {"data/weights/model.pt": trap(mark)})
    assert "keeps its weights as a pickle, which is never loaded" in (judged(folder, make_teacher).reason or "")
    folder = saved({"models/model.json": lambda _: None}, {"data/aotinductor/model/m.so": b"\x7fELF"})
    assert "holds compiled code" in (judged(folder, make_teacher).reason or "")
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["checkpoint", "pickle", "text", "cut", "compressed"])
def test_other_files_are_no_archives(kind: str, net_archive: Path, tmp_path: Path, make_teacher: Make) -> None:
    path, mark = tmp_path / "model.pt2", tmp_path / "mark"
    if kind == "compressed":
        with (
            zipfile.ZipFile(net_archive) as source,
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target,
        ):
            for entry in source.infolist():
                target.writestr(entry.filename, source.read(entry))
    else:
        whole = net_archive.read_bytes()
        content = {"checkpoint": trap(mark), "pickle": pickle.dumps(Trap(mark)), "text": b"hi", "cut": whole[:-40]}
        path.write_bytes(content[kind])
    verdict = judged(tmp_path, make_teacher)
    assert verdict.status is TeacherStatus.REJECTED
    assert "torch.export.save" in (verdict.reason or "")
    assert not mark.exists()


def test_training_mode_is_refused(tmp_path: Path, make_teacher: Make) -> None:
    export(Net().train(), (torch.zeros(2, 6),), tmp_path / "model.pt2")
    assert "dropout in training mode" in (judged(tmp_path, make_teacher).reason or "")
    norm = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3)).train()
    export(norm, (torch.zeros(2, 6),), tmp_path / "model.pt2")
    assert "model.eval()" in (judged(tmp_path, make_teacher).reason or "")


def test_a_program_that_changes_its_weights_is_refused(tmp_path: Path, make_teacher: Make) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(6, 3)
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.seen.add_(1.0)
            return self.head(x) + self.seen

    program = export(Counting().eval(), (torch.zeros(2, 6),), tmp_path / "model.pt2")
    first = judged(tmp_path, make_teacher)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program.run_decompositions(), tmp_path / "model.pt2")
    second = judged(tmp_path, make_teacher)
    for verdict in (first, second):
        assert verdict.status is TeacherStatus.REJECTED
        assert "changes its own" in (verdict.reason or "")


def test_a_fixed_batch_says_how_to_export(tmp_path: Path, make_teacher: Make) -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x.reshape(1, 2, 3).flatten(1))

    export(Flat().eval(), (torch.zeros(1, 6),), tmp_path / "model.pt2", dynamic=False)
    verdict = judged(tmp_path, make_teacher)
    assert "failed on 2 items" in (verdict.reason or "")
    assert "dynamic_shapes" in (verdict.reason or "")


def test_inputs_and_outputs_must_fit(net_archive: Path, make_teacher: Make) -> None:
    source = {"kind": "torch_export", "preprocessing": {"modality": "features", "dimension": 7}}
    assert "failed on" in (judged(net_archive.parent, make_teacher, source).reason or "")
    source = VECTORS | {"output": "probabilities"}
    assert "registered as probabilities" in (judged(net_archive.parent, make_teacher, source).reason or "")
    teacher = make_teacher("features", VECTORS, ["cat", "dog"])
    verdict = validate_teacher(teacher, net_archive.parent, isolate=False)
    assert "3 outputs but there are 2 labels" in (verdict.reason or "")
