"""What torch's own ONNX exporter writes is accepted and gives torch's numbers, features included."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from preceptor.contract.teachers import Teacher, TeacherStatus
from worker.teachers.interface import Items
from worker.teachers.loading import load_teacher
from worker.teachers.validation import validate_teacher


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(6, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(nn.functional.gelu(self.hidden(x)))


def test_torch_onnx_export_is_accepted(tmp_path: Path, make_teacher: Callable[..., Teacher]) -> None:
    torch.manual_seed(0)
    model = Net().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(2, 6),),
            str(tmp_path / "model.onnx"),
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            external_data=False,
            verbose=False,
        )
    source = {"kind": "onnx", "preprocessing": {"modality": "features", "dimension": 6}}
    teacher = make_teacher("features", source, ["cat", "dog", "fox"])
    verdict = validate_teacher(teacher, tmp_path)
    assert (verdict.status, verdict.reason, verdict.features) == (TeacherStatus.READY, None, 5)
    vectors = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
    loaded = load_teacher(teacher, tmp_path)
    found = loaded.predict(Items(features=vectors))
    with torch.no_grad():
        assert np.allclose(found.logits, model(torch.from_numpy(vectors)).numpy(), atol=1e-5)
    assert np.allclose(loaded.class_weights, model.head.weight.detach().numpy())
