"""Teachers as `torch.export` archives, run by our own small interpreter so that nothing in them is executed."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from preceptor.contract.teachers import Modality, Teacher, TorchExportSource

from ...errors import TeacherUnusable, reason_of
from ...interface import Batch, Float32, Outputs
from ...preprocessing.inputs import Preparation, as_logits
from ..torch_device import device_for, exact_inference, to_numpy, use_threads
from .archive_check import read_archive
from .graph_check import ExportedGraph

_DYNAMIC: Final = (
    "export it with a dynamic batch: torch.export.export(model.eval(), inputs, "
    "dynamic_shapes=({0: torch.export.Dim('batch')},))"
)


def load(teacher: Teacher, folder: Path, *, device: str, threads: int | None) -> "TorchExportTeacher":
    """Load `model.pt2`.

    Raises
    ------
    TeacherUnusable
        The archive is missing or broken, needs unpickling, or its program uses what is not run here.
    """
    path = folder / "model.pt2"
    if not path.is_file():
        raise TeacherUnusable("model.pt2 is missing; upload it")
    if not isinstance(teacher.source, TorchExportSource):
        raise TypeError(f"not a torch.export source: {teacher.source.kind}")
    return TorchExportTeacher(path, teacher.source, teacher.modality, device, threads)


class TorchExportTeacher:
    """A classifier in one `torch.export` archive."""

    labels: list[str] | None = None

    def __init__(
        self, path: Path, source: TorchExportSource, modality: Modality, device: str, threads: int | None
    ) -> None:
        use_threads(threads)
        self.modality: Modality = modality
        self._device = device_for(device)
        self._output = source.output
        self._prepare = Preparation(source.preprocessing, path.parent)
        archive = read_archive(path)
        try:
            self._graph = ExportedGraph(archive, self._device)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise TeacherUnusable(
                f"model.pt2 holds a program that cannot be read ({type(error).__name__}: {str(error)[:120]}); "
                f"save it "
                f"again with torch.export.save of torch {torch.__version__.split('+')[0]}"
            ) from None
        self.parameters = archive.parameters
        self._order = self._match_inputs()
        weights = self._graph.class_weights()
        shows = weights is not None and source.output == "logits"
        self.class_weights: Float32 | None = to_numpy(weights) if weights is not None and shows else None
        self.classes: int | None = None if self.class_weights is None else len(self.class_weights)

    def _match_inputs(self) -> list[str]:
        wanted = self._prepare.names
        present = self._graph.inputs
        if set(present) == set(wanted):
            return present
        if len(present) != len(wanted):
            raise TeacherUnusable(
                f"the exported program takes {len(present)} inputs ({', '.join(present)}), the preprocessing "
                f"makes "
                f"{len(wanted)} ({', '.join(wanted)}); correct preprocessing or export the model again"
            )
        return list(wanted)

    def predict(self, batch: Batch) -> Outputs:
        """Logits and the last linear layer's input for a batch."""
        arrays = self._prepare.arrays(batch)
        inputs = [torch.from_numpy(np.asarray(arrays[name])).to(self._device) for name in self._order]
        with exact_inference():
            made, features = self._run(inputs)
            logits = as_logits(to_numpy(made), self._output)
            self.classes = self.classes or logits.shape[1]
            shown = features is not None and features.ndim == 2 and self.class_weights is not None
            return Outputs(logits, to_numpy(features) if features is not None and shown else None)

    def _run(self, inputs: list[Tensor]) -> tuple[Tensor, Tensor | None]:
        try:
            made, features = self._graph.run(inputs)
        except (RuntimeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise TeacherUnusable(
                f"the exported program failed on {len(inputs[0])} items ({reason_of(error, doing='run')}). If "
                f"it was "
                f"exported for a fixed batch, {_DYNAMIC}"
            ) from error
        first: Any = made[0]
        if len(first) != len(inputs[0]):
            raise TeacherUnusable(f"the exported program gave {len(first)} rows for {len(inputs[0])} items; {_DYNAMIC}")
        return first, features

    def close(self) -> None:
        """Release the model's memory."""
        del self._graph
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
