"""Teachers: pre-trained classifiers with a named label set."""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, Strict, model_validator

from .base import Answer, Body, Moment, Number, Whole, tagged, whole
from .ids import LabelSetId, ProbeId, TeacherId
from .labels import Labels
from .source_kinds import SOURCE_KINDS

MAX_NAME_LENGTH: Final = 120
MAX_TAGS: Final = 32

Modality = Literal["image", "text", "features"]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH, pattern=r"^[^\x00-\x1f\x7f]+$")]
Tag = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._:/-]*$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


# The bounds precede the validator: after it, inside a tuple, they would be missing from the schema.
Side = Annotated[int, Strict(), Field(ge=1, le=2048), BeforeValidator(whole)]
"""Pixels."""


Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
"""Pillow's filters."""


# Fields that sources gained later are left out of a document at their defaults: older clients and workers refuse
# unknown ones.
class ImagePreprocessing(Body):
    """Conversion of a picture to the model's input: resize, crop, `(rescale_factor * pixel - mean) / std`."""

    model_config = tagged("modality")

    modality: Literal["image"] = "image"
    size: tuple[Side, Side] = Field(description="Height and width of the model's input in pixels")
    resize: Literal["shortest_edge", "longest_edge", "exact"] = Field(
        default="shortest_edge",
        description="Cover size / crop_fraction, fit into it on a ground of the mean colour, or stretch to it",
    )
    crop_fraction: Annotated[Number, Field(gt=0, le=1)] | None = Field(
        default=None, description="The picture is resized to size / crop_fraction, then the centre is cut out"
    )
    interpolation: Interpolation = Field(
        default="bilinear",
        exclude_if=lambda value: value == "bilinear",
        description="Filter of the resize; all but nearest are antialiased, as in Pillow",
    )
    rescale_factor: Annotated[Number, Field(gt=0, le=255)] | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="Factor on 0..255 pixels before mean and std. Unset: 1, or 1/255 if mean and std are clearly meant "
        "for pixels of 0..1 (mean 0..1, std 0.05..1, both below 1); a warning of the teacher reports it",
    )
    mean: list[Number] = Field(default_factory=lambda: [0.0], min_length=1, max_length=4)
    std: list[Annotated[Number, Field(gt=0)]] = Field(default_factory=lambda: [1.0], min_length=1, max_length=4)
    channels: Literal["rgb", "bgr", "gray"] = "rgb"
    layout: Literal["NCHW", "NHWC"] = "NCHW"


class TextPreprocessing(Body):
    """Conversion of a text to the model's input: a `tokenizer.json`, truncated to `max_length` tokens."""

    model_config = tagged("modality")

    modality: Literal["text"] = "text"
    tokenizer: FileName = "tokenizer.json"
    max_length: Whole = Field(default=128, ge=1, le=8192)
    inputs: Annotated[
        tuple[Literal["input_ids", "attention_mask", "token_type_ids"], ...], Field(min_length=1, max_length=3)
    ] = ("input_ids", "attention_mask")


class FeaturesPreprocessing(Body):
    """The probe's feature vectors are the model's input, unchanged or standardised."""

    model_config = tagged("modality")

    modality: Literal["features"] = "features"
    dimension: Whole = Field(ge=1, le=65_536)
    mean: Number = 0.0
    std: Number = Field(default=1.0, gt=0)


Preprocessing = Annotated[
    ImagePreprocessing | TextPreprocessing | FeaturesPreprocessing, Field(discriminator="modality")
]


class TransformersSource(Body):
    """A `transformers` folder: `config.json` with `id2label`, `*.safetensors`, preprocessor and tokenizer files."""

    model_config = tagged("kind")

    kind: Literal["transformers"] = "transformers"


OutputName = Annotated[str, Field(min_length=1, max_length=200)]
OutputKind = Literal["logits", "probabilities", "independent_probabilities"]
"""`probabilities` sum to 1 over the labels; `independent_probabilities` are one sigmoid per label."""


class OnnxSource(Body):
    """An ONNX model, `model.onnx`, run by onnxruntime."""

    model_config = tagged("kind")

    kind: Literal["onnx"] = "onnx"
    preprocessing: Preprocessing
    output: Literal["logits", "probabilities"] = Field(
        default="logits",
        description="What the model returns. A final softmax or sigmoid is recognised: the teacher's `output` reports "
        "what its outputs were taken for",
    )
    output_name: OutputName | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="The output with the class scores; needed if the model has several that fit",
    )


class TorchExportSource(Body):
    """A `torch.export` archive, `model.pt2`; rejected if it does not load without unpickling."""

    model_config = tagged("kind")

    kind: Literal["torch_export"] = "torch_export"
    preprocessing: Preprocessing
    output: Literal["logits", "probabilities"] = Field(
        default="logits",
        description="What the model returns. A final softmax or sigmoid is recognised: the teacher's `output` reports "
        "what its outputs were taken for",
    )
    output_name: OutputName | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="The output with the class scores; needed if the model has several that fit",
    )


class TimmSource(Body):
    """A `timm` architecture with `model.safetensors`; the worker needs timm."""

    model_config = tagged("kind")

    kind: Literal["timm"] = "timm"
    architecture: str = Field(pattern=r"^[A-Za-z0-9_.]{1,120}$")


class HubSource(Body):
    """A model repository on the Hugging Face Hub, pinned to one commit; safetensors only."""

    model_config = tagged("kind")

    kind: Literal["hub"] = "hub"
    repository: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$", max_length=200)
    revision: str = Field(
        pattern=r"^[0-9a-f]{40}$",
        description="Full commit hash; branches and tags are rejected, because they can change",
    )


class PredictionsSource(Body):
    """A black box: only its predictions on probes are known, uploaded for each probe."""

    model_config = tagged("kind")

    kind: Literal["predictions"] = "predictions"


Source = Annotated[
    TransformersSource | OnnxSource | TorchExportSource | TimmSource | HubSource | PredictionsSource,
    Field(discriminator="kind"),
]


class TeacherStatus(StrEnum):
    """Whether a teacher can be used."""

    AWAITING_FILES = "awaiting_files"
    VALIDATING = "validating"
    READY = "ready"
    REJECTED = "rejected"


class TeacherBody(Body):
    """A teacher to register. `labels` may be omitted if the source's config.json names the classes."""

    name: Name
    source: Source
    modality: Modality
    labels: Labels | None = None
    description: str = Field(default="", max_length=4000)
    tags: list[Tag] = Field(default_factory=list[str], max_length=MAX_TAGS)
    accuracy: Annotated[Number, Field(ge=0, le=1)] | None = Field(
        default=None, description="Test accuracy on the teacher's own task, as stated by its owner"
    )

    @model_validator(mode="after")
    def _agree(self) -> "TeacherBody":
        preprocessing = getattr(self.source, "preprocessing", None)
        if preprocessing is not None and preprocessing.modality != self.modality:
            raise ValueError(
                f"modality is {self.modality!r} but source.preprocessing is for {preprocessing.modality!r}"
            )
        if self.labels is None and not SOURCE_KINDS[self.source.kind].carries_labels:
            raise ValueError(f"labels are missing: a source of kind {self.source.kind!r} does not carry class names")
        return self


class TeacherPatch(Body):
    """Changes to a teacher's description. Model and labels cannot change: register another teacher."""

    name: Name | None = None
    description: str | None = Field(default=None, max_length=4000)
    tags: list[Tag] | None = Field(default=None, max_length=MAX_TAGS)
    accuracy: Annotated[Number, Field(ge=0, le=1)] | None = None


class StoredFile(Answer):
    """A file of a teacher or a student."""

    name: str
    size: int = Field(description="Bytes")
    sha256: str


class TeacherFingerprint(Answer):
    """What the teacher received and returned on the sample of its validation."""

    items: int = Field(description="Number of sample items")
    input_min: float | None = Field(default=None, description="Smallest value that reached the model")
    input_max: float | None = Field(default=None, description="Largest value that reached the model")
    constant_inputs: float | None = Field(
        default=None, description="Share of items without contrast after preprocessing, although they had some before"
    )
    saturated_inputs: float | None = Field(
        default=None, description="Share of items with at least 95 % of their values at the two ends of the input range"
    )
    output_min: float | None = Field(default=None, description="Smallest logit")
    output_max: float | None = Field(default=None, description="Largest logit")
    predicted_classes: int | None = Field(default=None, description="Number of distinct predictions")
    top_class_share: float | None = Field(default=None, description="Share of the most frequent prediction")
    entropy: float | None = Field(
        default=None, description="Mean entropy of the predictions; 0 is certain, 1 is uniform over the labels"
    )


class Teacher(Answer):
    """A registered teacher."""

    id: TeacherId
    name: str
    status: TeacherStatus
    reason: str | None = Field(default=None, description="Why the teacher was rejected, and what to do")
    source: Source
    modality: Modality
    labels: list[str] | None = None
    label_set: LabelSetId | None = None
    description: str = ""
    tags: list[str] = Field(default_factory=list[str])
    accuracy: float | None = None
    parameters: int | None = Field(default=None, description="Number of parameters")
    output: OutputKind | None = Field(
        default=None, description="What the model's outputs were taken for; None before its validation"
    )
    warnings: list[str] = Field(
        default_factory=list[str], description="What may be wrong with the teacher, although it can be used"
    )
    fingerprint: TeacherFingerprint | None = None
    digest: str | None = Field(default=None, description="SHA-256 of the model's files; part of every cache key")
    files: list[StoredFile] = Field(default_factory=list[StoredFile])
    validation: str | None = Field(default=None, description="Id of its validation job")
    promoted_from: str | None = Field(default=None, description="Id of the student that it was promoted from")
    expires_at: Moment | None = Field(
        default=None,
        description="Of a teacher that is only checked (`?check=true`): when it is removed at the latest. It is never "
        "listed or ranked",
    )
    trained_on: list[ProbeId] = Field(
        default_factory=list[ProbeId],
        description="Probes whose items it was trained on; known of promoted students",
    )
    created_at: Moment
    updated_at: Moment
