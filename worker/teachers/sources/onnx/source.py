"""Teachers as ONNX models, run by onnxruntime. Torch is not needed and not imported."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from preceptor.contract.teachers import Modality, OnnxSource, OutputKind, Teacher

from ...errors import TeacherUnusable
from ...interface import Batch, Float32, Outputs
from ...output_values import FinalActivation, as_logits, as_matrix, choose_output
from ...preprocessing.inputs import Arrays, Preparation
from .graph_check import Scores, count_parameters, final_activation, last_linear, read_model, score_outputs

_FLOATS: Final[dict[str, Any]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}
_INTEGERS: Final[dict[str, Any]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


def load(teacher: Teacher, folder: Path, *, device: str, threads: int | None) -> "OnnxTeacher":
    """Load `model.onnx`.

    Raises
    ------
    TeacherUnusable
        The file is missing, broken, not self-contained, or its inputs do not fit the registered preprocessing.
    """
    path = folder / "model.onnx"
    if not path.is_file():
        raise TeacherUnusable("model.onnx is missing; upload it")
    if not isinstance(teacher.source, OnnxSource):
        raise TypeError(f"not an ONNX source: {teacher.source.kind}")
    return OnnxTeacher(path, teacher, teacher.source, device, threads)


def _providers(device: str) -> list[str]:
    available = onnxruntime.get_available_providers()
    wants = device == "auto" or device.startswith("cuda")
    if wants and "CUDAExecutionProvider" in available:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]


def _check_order(classes: list[str] | None, labels: list[str] | None) -> None:
    """Refuse labels that are the file's own classes in another order: all classes would be mixed up."""
    if classes is None or labels is None or classes == labels or sorted(classes) != sorted(labels):
        return
    position = next(i for i, (own, given) in enumerate(zip(classes, labels, strict=True)) if own != given)
    raise TeacherUnusable(
        f"the labels are the model's own classes in another order (position {position}: {labels[position]!r} instead "
        f"of {classes[position]!r}). Give them in the model's order: {', '.join(classes[:8])}"
    )


class OnnxTeacher:
    """A classifier in one ONNX file.

    Attributes
    ----------
    kind
        What its outputs are.
    output_name
        The file's name of the output with the class scores.
    activation
        The one that the graph ends in; None where it ends otherwise.
    """

    labels: list[str] | None = None

    def __init__(self, path: Path, teacher: Teacher, source: OnnxSource, device: str, threads: int | None) -> None:
        self.modality: Modality = teacher.modality
        self.kind: OutputKind = teacher.output or source.output
        self._labels = len(teacher.labels or ())
        self._prepare = Preparation(source.preprocessing, path.parent)
        model = read_model(path)
        self.parameters = count_parameters(model)
        scores = self._choose(model, source.output_name)
        self.output_name, self._scores = scores.name, scores.tensor
        _check_order(scores.classes, teacher.labels)
        ending = final_activation(model, self._scores)
        self.activation = None if ending is None else FinalActivation(ending[0])
        self._before = None if ending is None else ending[1]
        outputs = [output.name for output in model.graph.output]
        self._features, self.class_weights = self._find_features(model, outputs)
        for name in (self._scores, self._before):
            if name is not None and name not in outputs:
                model.graph.output.append(onnx.ValueInfoProto(name=name))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 4
        # The parsed model is handed over, not the path: what was checked is what runs.
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=_providers(device))
        self._types = self._match_inputs()
        self.classes: int | None = self._known_classes()

    def _choose(self, model: onnx.ModelProto, wanted: str | None) -> Scores:
        found = score_outputs(model)
        usable = [scores for scores in found if scores.name != "features" or scores.name == wanted] or found
        sizes = [(scores.name, scores.shape) for scores in usable]
        return usable[choose_output(sizes, labels=self._labels, wanted=wanted)]

    def _known_classes(self) -> int | None:
        shape = next(o for o in self._session.get_outputs() if o.name == self._scores).shape
        sides = [side for side in shape[1:] if side != 1] if shape else []
        if len(sides) == 1 and isinstance(sides[0], int):
            return sides[0]
        return None

    def _find_features(self, model: onnx.ModelProto, outputs: list[str]) -> tuple[str | None, Float32 | None]:
        linear = last_linear(model, self._before or self._scores)
        if linear is not None and len(linear[1]) < 2:
            linear = None  # One row is the difference of two classes.
        if "features" in outputs and self._scores != "features":
            return "features", linear[1] if linear and linear[0] == "features" else None
        if linear is None:
            return None, None
        if linear[0] not in outputs:
            model.graph.output.append(onnx.ValueInfoProto(name=linear[0]))
        return linear

    def _match_inputs(self) -> dict[str, tuple[str, Any]]:
        """The graph's inputs: which prepared array feeds each, and as which type."""
        present = {entry.name: entry for entry in self._session.get_inputs()}
        wanted = self._prepare.names
        by_name = set(present) == set(wanted)
        if not by_name and not (len(present) == len(wanted) == 1):
            raise TeacherUnusable(
                f"the model has the inputs {sorted(present)}, the preprocessing makes {sorted(wanted)}; "
                f"name them alike when you export, or correct preprocessing.inputs"
            )
        self._fixed_batch: int | None = None
        pairs: dict[str, tuple[str, Any]] = {}
        for name, entry in present.items():
            array = name if by_name else wanted[0]
            allowed = _INTEGERS if self.modality == "text" else _FLOATS
            if entry.type not in allowed:
                raise TeacherUnusable(
                    f"the input {name!r} is a {entry.type}, the preprocessing makes {next(iter(allowed))}; "
                    f"export the model with such an input"
                )
            self._check_shape(name, entry.shape)
            pairs[name] = (array, allowed[entry.type])
        return pairs

    def _check_shape(self, name: str, shape: list[int | str | None]) -> None:
        wanted = (None, *self._prepare.item_shape)
        fits = len(shape) == len(wanted) and all(
            given == own or not isinstance(given, int) or own is None
            for given, own in zip(shape[1:], wanted[1:], strict=True)
        )
        if not fits:
            shown = " x ".join("any" if n is None else str(n) for n in wanted)
            given = " x ".join(str(n) if isinstance(n, int) else "any" for n in shape)
            raise TeacherUnusable(
                f"the input {name!r} is {given}, but the preprocessing makes {shown}; correct preprocessing "
                f"(size, "
                f"channels, layout, dimension) or export the model with that input"
            )
        if self.modality == "text" and isinstance(shape[1], int):
            raise TeacherUnusable(
                f"the input {name!r} takes texts of exactly {shape[1]} tokens; export it with a dynamic axis 1"
            )
        if isinstance(shape[0], int):
            self._fixed_batch = shape[0]

    def prepared(self, batch: Batch) -> Arrays:
        """What reaches the model, by name."""
        return self._prepare.arrays(batch)

    def raw(self, batch: Batch) -> Float32:
        """The class scores as the model returns them, shape (B, K), float32."""
        return as_matrix(np.asarray(self._run([self._scores], self._feed(batch))[0], dtype=np.float32))

    def predict(self, batch: Batch) -> Outputs:
        """Logits and the last linear layer's input for a batch."""
        unverified = self.activation is not None and not self.activation.verified
        names = {"scores": self._scores} if self.activation is None or unverified else {}
        if self.activation is not None and self._before is not None:
            names["before"] = self._before
        if self._features:
            names["features"] = self._features
        values = self._run(list(names.values()), self._feed(batch))
        found = {key: np.asarray(value, dtype=np.float32) for key, value in zip(names, values, strict=True)}
        if self.activation is not None and unverified and not self.activation.verify(found["before"], found["scores"]):
            self.activation, self._before = None, None
        if self.activation is not None:
            logits = self.activation.logits(found["before"], labels=self._labels)
        else:
            logits = as_logits(found["scores"], self.kind, labels=self._labels)
        self.classes = logits.shape[1]
        features = found.get("features")
        return Outputs(logits, features if features is not None and features.ndim == 2 else None)

    def _feed(self, batch: Batch) -> dict[str, NDArray[Any]]:
        arrays = self._prepare.arrays(batch)
        return {name: arrays[array].astype(kind, copy=False) for name, (array, kind) in self._types.items()}

    def _run(self, wanted: list[str], feed: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        size = self._fixed_batch
        total = len(next(iter(feed.values())))
        if size is None or size == total:
            return [np.asarray(value) for value in self._session.run(wanted, feed)]
        # Exported for a fixed number of items: run so many at a time, the last chunk filled up by repetition.
        chunks: list[list[NDArray[Any]]] = []
        for begin in range(0, total, size):
            rows = np.minimum(np.arange(begin, begin + size), total - 1)
            chunks.append([np.asarray(v) for v in self._session.run(wanted, {k: a[rows] for k, a in feed.items()})])
        return [np.concatenate(column)[:total] for column in zip(*chunks, strict=True)]

    def close(self) -> None:
        """Release the model's memory."""
        del self._session
