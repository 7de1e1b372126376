"""Teachers as `torch.export` archives, run by our own small interpreter so that nothing in them is executed."""

from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from preceptor.contract.teachers import Modality, OutputKind, Teacher, TorchExportSource

from ...errors import TeacherUnusable, reason_of
from ...interface import Batch, Float32, Outputs
from ...output_values import FinalActivation, as_logits, as_matrix, choose_output
from ...preprocessing.inputs import Arrays, Preparation
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
    return TorchExportTeacher(path, teacher, teacher.source, device, threads)


def _alike(one: torch.dtype, other: torch.dtype) -> bool:
    return one.is_floating_point == other.is_floating_point and torch.bool not in (one, other)


class TorchExportTeacher:
    """A classifier in one `torch.export` archive.

    Attributes
    ----------
    kind
        What its outputs are.
    output_name
        The program's name of the output with the class scores.
    activation
        The one that the program ends in; None where it ends otherwise.
    """

    labels: list[str] | None = None

    def __init__(
        self, path: Path, teacher: Teacher, source: TorchExportSource, device: str, threads: int | None
    ) -> None:
        use_threads(threads)
        self.modality: Modality = teacher.modality
        self._device = device_for(device)
        self.kind: OutputKind = teacher.output or source.output
        self._labels = len(teacher.labels or ())
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
        chosen = choose_output(self._graph.outputs, labels=self._labels, wanted=source.output_name)
        if chosen:
            self._graph.choose(chosen)
        self.output_name = self._graph.outputs[chosen][0]
        ending = self._graph.activation
        self.activation = None if ending is None else FinalActivation(ending)
        self.parameters = archive.parameters
        self._order = self._match_inputs()
        weights = self._graph.class_weights()
        shows = weights is not None and len(weights) > 1  # One row is the difference of two classes.
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

    def prepared(self, batch: Batch) -> Arrays:
        """What reaches the model, by name."""
        return self._prepare.arrays(batch)

    def raw(self, batch: Batch) -> Float32:
        """The class scores as the program returns them, shape (B, K), float32."""
        with exact_inference():
            return as_matrix(to_numpy(self._run(batch)[0][0]))

    def predict(self, batch: Batch) -> Outputs:
        """Logits and the last linear layer's input for a batch."""
        with exact_inference():
            made, features = self._run(batch)
            scores, before = to_numpy(made[0]), to_numpy(made[-1])
            ending = self.activation
            if ending is not None and not (ending.verified or ending.verify(before, scores)):
                ending = self.activation = None
            if ending is not None:
                logits = ending.logits(before, labels=self._labels)
            else:
                logits = as_logits(scores, self.kind, labels=self._labels)
            self.classes = logits.shape[1]
            shown = features is not None and features.ndim == 2 and self.class_weights is not None
            return Outputs(logits, to_numpy(features) if features is not None and shown else None)

    def _inputs(self, batch: Batch) -> list[Tensor]:
        arrays = self._prepare.arrays(batch)
        given = [torch.from_numpy(np.asarray(arrays[name])) for name in self._order]
        # A program that was exported in half precision takes half precision.
        return [
            value.to(self._device, kind if kind is not None and _alike(kind, value.dtype) else value.dtype)
            for value, kind in zip(given, self._graph.input_types, strict=True)
        ]

    def _run(self, batch: Batch) -> tuple[list[Tensor], Tensor | None]:
        inputs = self._inputs(batch)
        try:
            made, features = self._graph.run(inputs)
        except (RuntimeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise TeacherUnusable(
                f"the exported program failed on {len(inputs[0])} items ({reason_of(error, doing='run')}). If "
                f"it was "
                f"exported for a fixed batch, {_DYNAMIC}"
            ) from error
        rows = len(made[0]) if made[0].ndim else 0
        if rows != len(inputs[0]):
            raise TeacherUnusable(f"the exported program gave {rows} rows for {len(inputs[0])} items; {_DYNAMIC}")
        return made, features

    def close(self) -> None:
        """Release the model's memory."""
        del self._graph
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
