"""Teachers in a `transformers` folder: image and text classifiers, from safetensors, with no code of their own."""

import inspect
import math
import os
import re
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from preceptor.contract.files import adapter_weights, missing
from preceptor.contract.labels import MAX_LABELS
from preceptor.contract.teachers import Modality, Teacher
from worker.errors import InvalidItems

from ..config_files import read_options
from ..errors import TeacherUnusable
from ..interface import Batch, Float32, Outputs
from ..labels import config_labels
from ..preprocessing.images import decode
from ..preprocessing.picture_processor import MOST_PIXELS, PicturePreparation, load_processor
from ..preprocessing.texts import Row, TextEncoder
from .torch_device import LastLinear, device_for, exact_inference, to_numpy, use_threads
from .weights_files import numbers, stored_shapes, surplus_prefix

_MOST_LAYERS: Final = 512
_MOST: Final = 2**24
_MOST_TOKENS: Final = 4096
"""Of a text. Attention may take memory for the square of it."""
_MOST_ATTENTION: Final = 64 * 512**2
"""Texts in one pass, times the square of their tokens: 64 of 512, one of 4,096."""
_SAME: Final = 1e-4
"""Difference of logits, by their size, up to which two passes gave the same."""
Padding = Literal["padded", "equal lengths", "one by one"]
_SAVE: Final = "save the fine-tuned model with model.save_pretrained(FOLDER) and upload all files of the folder"
# These fetch or choose code from elsewhere while a model is built.
_FOREIGN: Final = re.compile(r"auto_map|custom_pipelines|quantization_config|backbone|.*implementation|.*kernels?")
_POSITIONS_AFTER_PADDING: Final = frozenset(
    {
        "roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "roberta-prelayernorm", "mpnet", "longformer", "ibert",
        "data2vec-text", "xmod", "esm", "lilt", "bridgetower", "luke",
    }
)  # fmt: skip
"""Their positions start behind the padding token's number, so their table is longer than their texts."""
# These two ship with transformers; others are fetched, or need packages of their own.
_ATTENTION_KEYS: Final = ("_attn_implementation", "attn_implementation", "_attn_implementation_internal")
_ATTENTION: Final = ("eager", "sdpa")
_LAYERS: Final = re.compile(r"(.*_)?(layers?|depths?|blocks?|stages?|experts)$")


def load(teacher: Teacher, folder: Path, *, device: str, threads: int | None) -> "TransformersTeacher":
    """Load a `transformers` folder.

    Raises
    ------
    TeacherUnusable
        A file is missing or wrong, the folder asks for code of its own, or the weights do not fit the config.
    """
    names = {path.name for path in folder.iterdir() if path.is_file()}
    if lacking := missing("transformers", names):
        raise TeacherUnusable(f"{' and '.join(lacking)} missing; {_SAVE}")
    labels = check_config(read_options(folder / "config.json"))
    for name in ("preprocessor_config.json", "processor_config.json", "tokenizer_config.json"):
        _refuse_foreign_code(read_options(folder / name), name)
    shapes = stored_shapes(_weight_files(folder, names))
    if teacher.modality == "features":
        raise TeacherUnusable(
            "a source of kind 'transformers' takes pictures or texts, not feature vectors; export it to ONNX"
        )
    if labels is None and teacher.labels is None:
        raise TeacherUnusable("config.json names no classes; give `labels`, or write id2label into config.json")
    try:
        return TransformersTeacher(teacher, folder, labels, shapes, device, threads)
    except TeacherUnusable:
        if reason := adapter_weights(shapes):
            raise TeacherUnusable(reason) from None
        raise


def check_config(config: dict[str, Any]) -> list[str] | None:
    """Refuse a config that asks for foreign code, several labels an item, or absurd sizes; return its labels.

    Returns
    -------
    list of str or None
        The names in index order; None if the config has none.
    """
    _refuse_foreign_code(config, "config.json")
    _refuse_sizes(config)
    if config.get("problem_type") in ("multi_label_classification", "regression"):
        raise TeacherUnusable(
            f"config.json says problem_type {config['problem_type']!r}; a teacher gives each item exactly one of "
            f"its labels. Use a model trained with single_label_classification"
        )
    return config_labels(config)


def _refuse_foreign_code(options: dict[str, Any], name: str) -> None:
    for key, value in options.items():
        if _FOREIGN.fullmatch(key) and value not in (None, False, {}, []):
            if key in _ATTENTION_KEYS and value in _ATTENTION:
                continue
            raise TeacherUnusable(
                f"{name} has {key!r}: the model needs code or parts from elsewhere, which are not run here. Use "
                f"an "
                f"architecture that transformers ships, unquantised, or export the model to ONNX"
            )
        if isinstance(value, dict):
            _refuse_foreign_code(value, name)


def _refuse_sizes(value: Any, key: str = "") -> None:
    """Bound every number of the config, so that building the model takes bounded time."""
    if isinstance(value, dict):
        for name, entry in value.items():
            if name not in ("id2label", "label2id"):
                _refuse_sizes(entry, name)
    elif isinstance(value, list):
        if len(value) > 4096:
            raise TeacherUnusable(f"{key!r} in config.json has {len(value)} entries; save the model again")
        for entry in value:
            _refuse_sizes(entry, key)
    elif isinstance(value, int) and not isinstance(value, bool):
        # transformers makes a name for each label that is only counted.
        most = MAX_LABELS if key == "num_labels" else _MOST_LAYERS if _LAYERS.fullmatch(key) else _MOST
        if value > most:
            raise TeacherUnusable(f"{key!r} in config.json is {value}, more than {most}; use a smaller model")


def _weight_files(folder: Path, names: set[str]) -> list[Path]:
    index = read_options(folder / "model.safetensors.index.json").get("weight_map")
    if "model.safetensors" in names or not isinstance(index, dict):
        files = {name for name in names if name.endswith(".safetensors")}
    else:
        files = set(index.values())
        if absent := sorted(str(name) for name in files if name not in names):
            raise TeacherUnusable(
                f"model.safetensors.index.json names {absent[0]}, which is missing; upload all shards"
            )
    return [folder / name for name in sorted(files)]


class TransformersTeacher:
    """An image or text classifier of `transformers`, in evaluation mode."""

    def __init__(
        self,
        teacher: Teacher,
        folder: Path,
        labels: list[str] | None,
        shapes: dict[str, tuple[int, ...]],
        device: str,
        threads: int | None,
    ) -> None:
        # Read when transformers is first imported: no telemetry, no advice on the console.
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        import transformers

        transformers.utils.logging.disable_progress_bar()
        use_threads(threads)
        self._device = device_for(device)
        modality = teacher.modality
        self.modality: Modality = modality
        self.labels = labels
        config = _read_model_config(folder)
        if labels is None and teacher.labels is not None:
            config.num_labels = len(teacher.labels)
        auto = (
            transformers.AutoModelForImageClassification
            if modality == "image"
            else transformers.AutoModelForSequenceClassification
        )
        wanted = _checked_architecture(auto, config, modality, numbers(shapes))
        prefix = surplus_prefix(shapes, wanted)
        # A model built from a meta-device count that fits the files cannot allocate more than they hold.
        model, report = auto.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # they are in the report, and refused by it
            output_loading_info=True,
            key_mapping={f"^{re.escape(prefix)}": ""} if prefix else None,
        )
        _check_report(report)
        self._model: Any = model.eval().to(self._device)
        self.classes: int = config.num_labels
        if labels is not None and len(labels) != self.classes:
            raise TeacherUnusable(
                f"config.json has {len(labels)} labels but the model has {self.classes} outputs; {_SAVE}"
            )
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        self._accepted = set(inspect.signature(model.forward).parameters)
        self._head = LastLinear(model, self.classes)
        if modality == "image":
            self._gray = getattr(config, "num_channels", 3) == 1
            self._prepare = PicturePreparation(load_processor(folder), self._accepted)
            side = getattr(config, "image_size", None)
            fixed = _pair(side) if not self._prepare.resizes else None
            self.picture_size = fixed
        else:
            self._encoder = _text_encoder(folder, config)
            self._padding: Padding | None = None

    picture_size: tuple[int, int] | None = None
    """Height and width of the only pictures that the model takes, where they are not resized."""

    @property
    def class_weights(self) -> Float32 | None:
        """Rows of the last linear layer, shape (K, D); known after the first prediction."""
        return self._head.weights()

    def predict(self, batch: Batch) -> Outputs:
        """Logits and the classifier's input for a batch of pictures or texts."""
        with exact_inference():
            return self._classify_pictures(batch) if self.modality == "image" else self._classify_texts(batch)

    def _classify(self, inputs: dict[str, torch.Tensor]) -> Outputs:
        logits = self._forward(inputs)
        features = self._head.features(logits)
        return Outputs(to_numpy(logits), None if features is None else to_numpy(features))

    def _classify_pictures(self, batch: Batch) -> Outputs:
        groups = self._grouped(self._pictures(batch))
        return _in_order([places for places, _ in groups], [self._classify(inputs) for _, inputs in groups])

    def _forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        try:
            return self._model(**inputs).logits
        except (RuntimeError, ValueError, TypeError) as error:
            pixels = inputs.get("pixel_values")
            if pixels is None or self._prepare.resizes or pixels.ndim != 4:
                raise
            wanted = self.picture_size
            takes = f"the model takes {wanted[1]} x {wanted[0]} only" if wanted else "the model cannot take it"
            raise TeacherUnusable(
                f"a picture has {pixels.shape[3]} x {pixels.shape[2]} pixels and is not resized (do_resize is false in "
                f"preprocessor_config.json), but {takes} ({str(error).splitlines()[0][:120]}); use pictures of that "
                "size, or set do_resize to true with that size"
            ) from error

    def prepared(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """What reaches the model, by name; of pictures of several sizes those of the first size."""
        if self.modality == "image":
            inputs = self._grouped(self._pictures(batch))[0][1]
            return {name: value.cpu().numpy() for name, value in inputs.items()}
        return self._arrays(self._encoder.rows(_texts_of(batch)))

    def _grouped(self, pictures: list[dict[str, torch.Tensor]]) -> list[tuple[list[int], dict[str, torch.Tensor]]]:
        """Pictures that can be computed together, and their places: those of one size, few where they are large."""
        places: dict[tuple[Any, ...], list[int]] = {}
        for place, inputs in enumerate(pictures):
            places.setdefault(tuple((name, value.shape) for name, value in inputs.items()), []).append(place)
        groups: list[list[int]] = []
        for key, members in places.items():
            pixels = math.prod(key[0][1][1:]) // 3
            several = max(1, MOST_PIXELS // max(1, pixels)) if len(places) > 1 else len(members)
            groups += [members[begin : begin + several] for begin in range(0, len(members), several)]
        return [
            (group, {name: torch.cat([pictures[place][name] for place in group]) for name in pictures[group[0]]})
            for group in groups
        ]

    def _pictures(self, batch: Batch) -> list[dict[str, torch.Tensor]]:
        if batch.images is None:
            raise TeacherUnusable("the teacher takes pictures; use a probe of modality 'image'")
        found: list[dict[str, torch.Tensor]] = []
        for position, data in enumerate(batch.images):
            try:
                made = self._prepare.arrays(decode(data, channels="gray" if self._gray else "rgb"))
            except InvalidItems as error:
                raise InvalidItems(f"item {batch.start + position}: {error.detail}") from None
            found.append(
                {
                    name: value.to(self._device, torch.float32 if value.is_floating_point() else None)
                    for name, value in made.items()
                }
            )
        return found

    def _classify_texts(self, batch: Batch) -> Outputs:
        if self._padding is None:
            self._padding = self._padding_that_fits()
        rows = self._encoder.rows(_texts_of(batch))
        groups = _groups([len(ids) for ids, _ in rows], self._padding) or [[]]
        return _in_order(groups, [self._classify_rows([rows[position] for position in group]) for group in groups])

    def _arrays(self, rows: list[Row]) -> dict[str, NDArray[Any]]:
        arrays = self._encoder.padded(rows)
        known = self._encoder.inputs
        # GPT-2 takes token types and adds them as words: transformers gives it those that its tokenizer makes.
        return {
            name: value for name, value in arrays.items() if name in self._accepted and (known is None or name in known)
        }

    def _classify_rows(self, rows: list[Row]) -> Outputs:
        return self._classify(
            {name: torch.from_numpy(value).to(self._device) for name, value in self._arrays(rows).items()}
        )

    def _padding_that_fits(self) -> Padding:
        """How texts of different lengths may share a pass without a change of what the model answers to each alone.

        Many decoders find the end of a text by the padding token of config.json, some number positions through
        padding, some have no attention mask. So it is tried, on two short texts.
        """
        short, long = _two_lengths(self._encoder)
        alone = self._classify_rows([short]).logits

        def changed(rows: list[Row]) -> bool:
            try:
                found = self._classify_rows(rows).logits[:1]
            except (
                ValueError,
                RuntimeError,
                IndexError,
            ):  # transformers: "Cannot handle batch sizes > 1 if no padding"
                return True
            scale = max(1.0, float(np.abs(alone).max()))
            return bool(np.abs(found - alone).max() > _SAME * scale)

        if not changed([short, long]):
            return "padded"
        return "one by one" if changed([short, short]) else "equal lengths"

    def close(self) -> None:
        """Release the model's memory."""
        self._model = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _texts_of(batch: Batch) -> list[str]:
    if batch.texts is None:
        raise TeacherUnusable("the teacher takes texts; use a probe of modality 'text'")
    return list(batch.texts)


def _in_order(groups: list[list[int]], parts: list[Outputs]) -> Outputs:
    """The outputs of several passes, in the order of the items."""
    order = np.argsort(np.concatenate([*groups, []]).astype(np.int64), kind="stable")
    features = [part.features for part in parts if part.features is not None]
    return Outputs(
        np.concatenate([part.logits for part in parts])[order],
        np.concatenate(features)[order] if len(features) == len(parts) else None,
    )


def _two_lengths(encoder: TextEncoder) -> tuple[Row, Row]:
    short, long = encoder.rows(["a", "a b c d e f g h i j k l"])
    if len(long[0]) > len(short[0]) > 0:
        return short, long
    # A tokenizer to which they are the same: the last token again.
    ids, types = long if long[0] else ([0], [0])
    return (ids, types), (ids + ids[-1:] * 4, types + types[-1:] * 4)


def _groups(lengths: list[int], padding: Padding) -> list[list[int]]:
    """Positions of texts that share a pass, in the order of their lengths; no pass takes too much memory."""
    groups: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[position]
        fits = bool(groups) and (
            (len(groups[-1]) + 1) * max(length, 1) ** 2 <= _MOST_ATTENTION
            and padding != "one by one"
            and (padding == "padded" or lengths[groups[-1][0]] == length)
        )
        if fits:
            groups[-1].append(position)
        else:
            groups.append([position])
    return groups


def _pair(side: object) -> tuple[int, int] | None:
    if isinstance(side, int):
        return side, side
    if isinstance(side, (list, tuple)) and len(side) == 2:
        return int(side[0]), int(side[1])
    return None


def _read_model_config(folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if config.architectures is None:
            config.architectures = []  # Some tools leave it out; transformers iterates over it.
        return config
    except Exception as error:
        kind = read_options(folder / "config.json").get("model_type")
        known = f"model_type {kind!r}" if kind else "no model_type"
        raise TeacherUnusable(
            f"config.json ({known}) is not one that transformers can read ({str(error).splitlines()[0][:160]}); {_SAVE}"
        ) from None


def _checked_architecture(auto: Any, config: Any, modality: str, stored: int) -> set[str]:
    """The names of the tensors that the architecture of a config has."""
    if type(config) not in auto._model_mapping:
        raise TeacherUnusable(
            f"a {config.model_type!r} model is no {modality} classifier of transformers; register it with its own "
            f"modality, or fine-tune it for classification first"
        )
    with torch.device("meta"):
        wanted = auto.from_config(config, trust_remote_code=False)
    needed = sum(parameter.numel() for parameter in wanted.parameters())
    if needed > 2 * stored + 100_000:
        raise TeacherUnusable(
            f"config.json describes a model of {needed:,} weights but the files hold {stored:,}; "
            f"upload config.json and weights of the same model"
        )
    return set(wanted.state_dict())


def _check_report(report: Any) -> None:
    absent = sorted(report["missing_keys"])
    if absent:
        raise TeacherUnusable(
            f"the weights lack {absent[0]!r}{_more(absent)}: without them the teacher would answer at random. "
            f"Upload the fine-tuned classifier, not its base model"
        )
    wrong = sorted(report["mismatched_keys"])
    if wrong:
        name, stored, configured = wrong[0]
        raise TeacherUnusable(
            f"the weights of {name!r}{_more(wrong)} have another shape than config.json says ({list(stored)} in "
            f"the "
            f"file, {list(configured)} by config.json); upload config.json and weights of the same model, with "
            f"one "
            f"name in id2label for each output"
        )


def _more(names: list[Any]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _text_encoder(folder: Path, config: Any) -> TextEncoder:
    text_config = config.get_text_config()
    limit = getattr(text_config, "max_position_embeddings", None)
    pad = text_config.pad_token_id
    if isinstance(limit, int) and config.model_type in _POSITIONS_AFTER_PADDING:
        limit -= (pad if pad is not None else 1) + 1
    most = min(limit, _MOST_TOKENS) if isinstance(limit, int) and limit > 0 else _MOST_TOKENS
    encoder = TextEncoder(folder / "tokenizer.json", max_length=most, pad_id=pad, config=config)
    size = getattr(text_config, "vocab_size", None)
    if isinstance(size, int) and encoder.vocabulary > size:
        raise TeacherUnusable(
            f"tokenizer.json has {encoder.vocabulary} tokens but the model knows {size}; "
            f"upload the tokenizer that the model was trained with"
        )
    return encoder
