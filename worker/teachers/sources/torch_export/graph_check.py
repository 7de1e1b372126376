"""Runs an exported program node by node: a closed list of operators on plain tensors, nothing evaluated."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from ...errors import TeacherUnusable
from .allowed_operators import ASSERTIONS, DROPOUTS, operator_for, short_name
from .archive_check import DTYPES, ExportArchive

_MEMORY_FORMATS: Final = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
_STRIDED: Final = 7
_ACTIVATIONS: Final = {
    "softmax": "softmax",
    "_softmax": "softmax",
    "_safe_softmax": "softmax",
    "log_softmax": "log_softmax",
    "_log_softmax": "log_softmax",
    "sigmoid": "sigmoid",
}
_SAME_VALUES: Final = (
    "clone",
    "alias",
    "detach",
    "_to_copy",
    "to",
    "contiguous",
    "squeeze",
    "flatten",
    "view",
    "reshape",
)
_PLAIN: Final = (
    "as_int",
    "as_ints",
    "as_bool",
    "as_bools",
    "as_string",
    "as_strings",
    "as_int_lists",
)


@dataclass(frozen=True)
class _Name:
    """A value that an earlier node made."""

    name: str


@dataclass(frozen=True)
class _Step:
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    makes: Any
    target: str


class ExportedGraph:
    """A program that maps input tensors to output tensors.

    Parameters
    ----------
    archive
        As read by `read_archive`.
    device
        Where its tensors live and where it computes, whatever device it was exported on.

    Attributes
    ----------
    inputs
        Names of the inputs, in order.
    input_types
        Their number formats, in the same order; None where the file states none.
    outputs
        Names of the outputs, in order, with their shapes; None for a side that varies.
    activation
        ``softmax``, ``log_softmax`` or ``sigmoid`` where the chosen output ends in it; else None.

    Raises
    ------
    TeacherUnusable
        The program uses something that is not run here.
    """

    def __init__(self, archive: ExportArchive, device: torch.device) -> None:
        module = archive.program["graph_module"]
        graph, signature = module["graph"], module["signature"]
        self._device = device
        self._fixed: dict[str, Tensor] = {}
        self.inputs: list[str] = []
        for spec in signature["input_specs"]:
            self._declare(spec, archive.tensors)
        described = graph.get("tensor_values", {})
        self.input_types = [DTYPES.get(described.get(name, {}).get("dtype")) for name in self.inputs]
        names = [self._output(spec) for spec in signature["output_specs"]]
        self.outputs = [(name, _sides(described.get(name))) for name in names]
        self._steps = [step for node in graph["nodes"] if (step := self._step(node)) is not None]
        self.choose(0)

    def choose(self, position: int) -> None:
        """Take one of the outputs for the class scores."""
        if position >= len(self.outputs):
            raise TeacherUnusable("the exported program returns nothing; export a model that returns its logits")
        self._scores = self.outputs[position][0]
        self.activation, self._before = self._find_activation()
        self._linear = self._find_last_linear()
        self._release = self._last_uses()

    def _declare(self, spec: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        ((kind, entry),) = spec.items()
        if kind == "user_input":
            ((form, value),) = entry["arg"].items()
            if form != "as_tensor":
                raise TeacherUnusable(
                    "the exported program takes an input that is no tensor; export a model with tensors only"
                )
            self.inputs.append(value["name"])
            return
        fields = {
            "parameter": "parameter_name",
            "buffer": "buffer_name",
            "tensor_constant": "tensor_constant_name",
        }
        if kind not in fields:
            raise TeacherUnusable(
                f"the exported program takes a {kind.replace('_', ' ')}, which is not supported; export it to ONNX"
            )
        name = entry[fields[kind]]
        if name not in tensors:
            raise TeacherUnusable(f"the archive lacks the tensor {name[:80]!r}; save it again with torch.export.save")
        # Cloned: its version then counts changes from zero, and no two of them share memory.
        self._fixed[entry["arg"]["name"]] = tensors[name].to(self._device, copy=True)

    def _output(self, spec: dict[str, Any]) -> str:
        ((kind, entry),) = spec.items()
        if kind != "user_output":
            raise TeacherUnusable(
                f"the exported program changes its own state ({kind.replace('_', ' ')}); export it in "
                f"evaluation mode: "
                f"torch.export.export(model.eval(), inputs)"
            )
        ((form, value),) = entry["arg"].items()
        if form != "as_tensor":
            raise TeacherUnusable("the exported program must return tensors only: the logits first")
        return value["name"]

    def _step(self, node: dict[str, Any]) -> _Step | None:
        target = str(node["target"])
        name = short_name(target)
        if name in ASSERTIONS:
            return None
        args = tuple(self._argument(i["arg"]) for i in node["inputs"] if i.get("kind") != 2)
        kwargs = {str(i["name"]): self._argument(i["arg"]) for i in node["inputs"] if i.get("kind") == 2}
        makes = [self._made(output) for output in node["outputs"]]
        if name in DROPOUTS:
            if kwargs or len(args) != 3 or args[2] is not False:
                raise TeacherUnusable(
                    "the exported program has dropout in training mode; export it in evaluation mode: "
                    "torch.export.export(model.eval(), inputs)"
                )
            return _Step(_same, args[:1], {}, makes, name)
        if name.endswith("batch_norm") and self._trains(name, node):
            raise TeacherUnusable(
                "the exported program has batch normalisation in training mode; export it in evaluation mode: "
                "torch.export.export(model.eval(), inputs)"
            )
        return _Step(operator_for(target), args, kwargs, makes, name)

    @staticmethod
    def _trains(name: str, node: dict[str, Any]) -> bool:
        flag = {"batch_norm": "training", "native_batch_norm": "training", "instance_norm": "use_input_stats"}
        return any(i["name"] == flag.get(name) and i["arg"].get("as_bool") for i in node["inputs"])

    def _made(self, output: dict[str, Any]) -> Any:
        ((form, value),) = output.items()
        if form == "as_tensor":
            return value["name"]
        if form in ("as_tensors", "as_optional_tensors"):
            return [entry["name"] if "name" in entry else entry["as_tensor"]["name"] for entry in value]
        if form in ("as_sym_int", "as_sym_float", "as_sym_bool") and "as_name" in value:
            return value["as_name"]
        if form == "as_none":
            return None
        raise TeacherUnusable(f"the exported program makes a {form[3:]}, which is not supported; export it to ONNX")

    def _argument(self, argument: dict[str, Any]) -> Any:
        """An argument of a node: a constant, or a reference to what an earlier node made."""
        ((form, value),) = argument.items()
        if form in _PLAIN:
            return value
        if form == "as_none":
            return None
        if form == "as_float":
            return float(value)  # infinities are stored as words
        if form == "as_floats":
            return [float(entry) for entry in value]
        if form == "as_tensor":
            return _Name(value["name"])
        if form == "as_tensors":
            return [_Name(entry["name"]) for entry in value]
        if form == "as_optional_tensors":
            return [_Name(entry["as_tensor"]["name"]) if "as_tensor" in entry else None for entry in value]
        if form in ("as_sym_int", "as_sym_float", "as_sym_bool"):
            return self._number(value)
        if form in ("as_sym_ints", "as_sym_floats", "as_sym_bools"):
            return [self._number(entry) for entry in value]
        if form == "as_scalar_type" and value in DTYPES:
            return DTYPES[value]
        if form == "as_memory_format" and value in _MEMORY_FORMATS:
            return _MEMORY_FORMATS[value]
        if form == "as_layout" and value == _STRIDED:
            return torch.strided
        if form == "as_device":
            return self._device
        raise TeacherUnusable(
            f"the exported program has an argument of kind {form[3:]!r}, which is not supported; decompose it "
            f"with "
            f"exported.run_decompositions() before torch.export.save, or export the model to ONNX"
        )

    @staticmethod
    def _number(entry: dict[str, Any]) -> Any:
        ((form, value),) = entry.items()
        return _Name(value) if form == "as_name" else value

    def _find_activation(self) -> tuple[str | None, str | None]:
        """The activation at the end, and the name of what goes into it."""
        makers = {
            step.makes[0]: step for step in self._steps if len(step.makes) == 1 and isinstance(step.makes[0], str)
        }
        step = makers.get(self._scores)
        while step is not None and step.target in _SAME_VALUES and step.args and isinstance(step.args[0], _Name):
            step = makers.get(step.args[0].name)
        name = _ACTIVATIONS.get(step.target) if step is not None else None
        if step is None or name is None or not step.args or not isinstance(step.args[0], _Name):
            return None, None
        return name, step.args[0].name

    def _find_last_linear(self) -> tuple[str, str, bool] | None:
        """Names of the input and the weights of the layer that makes the class scores; are its rows classes?"""
        for step in self._steps:
            if step.makes != [self._before or self._scores]:
                continue
            place = {"linear": (0, 1), "addmm": (1, 2), "mm": (0, 1)}.get(step.target)
            if place is None or step.kwargs or not all(isinstance(step.args[i], _Name) for i in place):
                return None
            given, weights = (step.args[i].name for i in place)
            maker = next((s for s in self._steps if s.makes == [weights]), None)
            turned = step.target == "linear"
            if maker is not None and maker.target in ("permute", "t", "transpose") and not turned:
                weights, turned = maker.args[0].name, True
            return (given, weights, turned) if weights in self._fixed else None
        return None

    def class_weights(self) -> Tensor | None:
        """Rows of the last linear layer, shape (K, D); None where the program ends otherwise."""
        if self._linear is None:
            return None
        _, name, rows = self._linear
        weights = self._fixed[name]
        return weights if rows else weights.T

    def _last_uses(self) -> list[list[str]]:
        """After which step each value is not needed any more, so that its memory can be reused."""
        kept = set(self._fixed) | {self._scores} | ({self._linear[0]} if self._linear else set())
        kept |= {self._before} if self._before else set()
        release: list[list[str]] = [[] for _ in self._steps]
        for number in range(len(self._steps) - 1, -1, -1):
            step = self._steps[number]
            for name in _names((step.args, list(step.kwargs.values()), step.makes)):
                if name not in kept:
                    kept.add(name)
                    release[number].append(name)
        return release

    def run(self, inputs: list[Tensor]) -> tuple[list[Tensor], Tensor | None]:
        """Compute.

        Parameters
        ----------
        inputs
            One tensor for each of `self.inputs`.

        Returns
        -------
        list of Tensor
            The chosen output, and what goes into its final activation, where there is one.
        Tensor or None
            The last linear layer's input, shape (B, D), where there is one.
        """
        values: dict[str, Any] = self._fixed | dict(zip(self.inputs, inputs, strict=True))
        for step, done in zip(self._steps, self._release, strict=True):
            made = step.function(*_filled(step.args, values), **_filled(step.kwargs, values))
            _bind(step.makes, made, values)
            for name in done:
                values.pop(name, None)
        if any(value._version for value in self._fixed.values()):
            raise TeacherUnusable(
                "the exported program changes its own weights when it runs; export it in evaluation mode: "
                "torch.export.export(model.eval(), inputs)"
            )
        features = values[self._linear[0]] if self._linear else None
        return [values[name] for name in (self._scores, self._before) if name is not None], features


def _sides(described: Any) -> tuple[int | None, ...] | None:
    if not isinstance(described, dict) or not isinstance(described.get("sizes"), list):  # pyright: ignore[reportUnknownMemberType]
        return None
    return tuple(side.get("as_int") if isinstance(side, dict) else None for side in described["sizes"])  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]


def _same(value: Any) -> Any:
    return value


def _names(value: Any) -> list[str]:
    if isinstance(value, _Name):
        return [value.name]
    if isinstance(value, str):
        return [value]
    if isinstance(value, (list, tuple)):
        return [name for entry in value for name in _names(entry)]
    return []


def _filled(value: Any, values: dict[str, Any]) -> Any:
    if isinstance(value, _Name):
        return values[value.name]
    if isinstance(value, (list, tuple)):
        return [_filled(entry, values) for entry in value]
    if isinstance(value, dict):
        return {key: _filled(entry, values) for key, entry in value.items()}
    return value


def _bind(names: Any, made: Any, values: dict[str, Any]) -> None:
    if len(names) == 1 and not isinstance(made, (tuple, list)):
        made = [made]
    if len(names) == 1 and isinstance(names[0], list):
        names = names[0]
    for name, value in zip(names, made, strict=True):
        if name is not None:
            values[name] = value
