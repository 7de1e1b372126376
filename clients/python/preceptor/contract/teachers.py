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


# The bounds stand before the validator: behind it, inside a tuple, they would be missing from the schema.
Side = Annotated[int, Strict(), Field(ge=1, le=2048), BeforeValidator(whole)]
"""Pixels."""


class ImagePreprocessing(Body):
    """How a picture becomes the model's input: resize, crop, `(pixel - mean) / std` on 0..255 values."""

    model_config = tagged("modality")

    modality: Literal["image"] = "image"
    size: tuple[Side, Side] = Field(description="Height and width of the model's input, pixels")
    resize: Literal["shortest_edge", "exact"] = "shortest_edge"
    crop_fraction: Annotated[Number, Field(gt=0, le=1)] | None = Field(
        default=None, description="The shortest edge becomes size / crop_fraction, then the centre is cut out"
    )
    mean: list[Number] = Field(default_factory=lambda: [0.0], min_length=1, max_length=4)
    std: list[Annotated[Number, Field(gt=0)]] = Field(default_factory=lambda: [1.0], min_length=1, max_length=4)
    channels: Literal["rgb", "gray"] = "rgb"
    layout: Literal["NCHW", "NHWC"] = "NCHW"


class TextPreprocessing(Body):
    """How a text becomes the model's input: a `tokenizer.json`, truncated to `max_length` tokens."""

    model_config = tagged("modality")

    modality: Literal["text"] = "text"
    tokenizer: FileName = "tokenizer.json"
    max_length: Whole = Field(default=128, ge=1, le=8192)
    inputs: Annotated[
        tuple[Literal["input_ids", "attention_mask", "token_type_ids"], ...], Field(min_length=1, max_length=3)
    ] = ("input_ids", "attention_mask")


class FeaturesPreprocessing(Body):
    """The model takes the probe's feature vectors as they are, or standardised."""

    model_config = tagged("modality")

    modality: Literal["features"] = "features"
    dimension: Whole = Field(ge=1, le=65_536)
    mean: Number = 0.0
    std: Number = Field(default=1.0, gt=0)


Preprocessing = Annotated[
    ImagePreprocessing | TextPreprocessing | FeaturesPreprocessing, Field(discriminator="modality")
]


class TransformersSource(Body):
    """A `transformers` folder: `config.json` with `id2label`, `*.safetensors`, and the preprocessor's files."""

    model_config = tagged("kind")

    kind: Literal["transformers"] = "transformers"


class OnnxSource(Body):
    """An ONNX model, `model.onnx`, run by onnxruntime."""

    model_config = tagged("kind")

    kind: Literal["onnx"] = "onnx"
    preprocessing: Preprocessing
    output: Literal["logits", "probabilities"] = "logits"


class TorchExportSource(Body):
    """A `torch.export` archive, `model.pt2`; accepted only where it loads without unpickling."""

    model_config = tagged("kind")

    kind: Literal["torch_export"] = "torch_export"
    preprocessing: Preprocessing
    output: Literal["logits", "probabilities"] = "logits"


class TimmSource(Body):
    """A `timm` architecture with `model.safetensors`; needs timm on the worker."""

    model_config = tagged("kind")

    kind: Literal["timm"] = "timm"
    architecture: str = Field(pattern=r"^[A-Za-z0-9_.]{1,120}$")


class HubSource(Body):
    """A model repository on the Hugging Face Hub, pinned to one commit; safetensors only."""

    model_config = tagged("kind")

    kind: Literal["hub"] = "hub"
    repository: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$", max_length=200)
    revision: str = Field(
        pattern=r"^[0-9a-f]{40}$", description="A full commit hash: a branch or a tag can change under you"
    )


class PredictionsSource(Body):
    """A black box: only its predictions over a probe are known, uploaded per probe."""

    model_config = tagged("kind")

    kind: Literal["predictions"] = "predictions"


Source = Annotated[
    TransformersSource | OnnxSource | TorchExportSource | TimmSource | HubSource | PredictionsSource,
    Field(discriminator="kind"),
]


class TeacherStatus(StrEnum):
    """Whether a teacher may be used."""

    AWAITING_FILES = "awaiting_files"
    VALIDATING = "validating"
    READY = "ready"
    REJECTED = "rejected"


class TeacherBody(Body):
    """A teacher to be registered. `labels` may be left out where the source's config.json names them."""

    name: Name
    source: Source
    modality: Modality
    labels: Labels | None = None
    description: str = Field(default="", max_length=4000)
    tags: list[Tag] = Field(default_factory=list[str], max_length=MAX_TAGS)
    accuracy: Annotated[Number, Field(ge=0, le=1)] | None = Field(
        default=None, description="Its own test accuracy, as claimed by the owner"
    )

    @model_validator(mode="after")
    def _agree(self) -> "TeacherBody":
        preprocessing = getattr(self.source, "preprocessing", None)
        if preprocessing is not None and preprocessing.modality != self.modality:
            raise ValueError(
                f"modality is {self.modality!r} but source.preprocessing is for {preprocessing.modality!r}"
            )
        if self.labels is None and not SOURCE_KINDS[self.source.kind].carries_labels:
            raise ValueError(f"labels are needed: a source of kind {self.source.kind!r} does not carry class names")
        return self


class TeacherPatch(Body):
    """Changes to a teacher's description. The model and its labels never change: register another teacher."""

    name: Name | None = None
    description: str | None = Field(default=None, max_length=4000)
    tags: list[Tag] | None = Field(default=None, max_length=MAX_TAGS)
    accuracy: Annotated[Number, Field(ge=0, le=1)] | None = None


class StoredFile(Answer):
    """A file of a teacher or a student."""

    name: str
    size: int = Field(description="Bytes")
    sha256: str


class Teacher(Answer):
    """A registered teacher."""

    id: TeacherId
    name: str
    status: TeacherStatus
    reason: str | None = Field(default=None, description="Why it was rejected, and what to do")
    source: Source
    modality: Modality
    labels: list[str] | None = None
    label_set: LabelSetId | None = None
    description: str = ""
    tags: list[str] = Field(default_factory=list[str])
    accuracy: float | None = None
    parameters: int | None = Field(default=None, description="Number of weights")
    digest: str | None = Field(default=None, description="SHA-256 over the model's files; part of every cache key")
    files: list[StoredFile] = Field(default_factory=list[StoredFile])
    validation: str | None = Field(default=None, description="The job that validates it")
    promoted_from: str | None = Field(default=None, description="The student it was, where it is one of ours")
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
