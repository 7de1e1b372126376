"""Picture teachers against transformers itself: the same pixels, the same logits.

The reference is what a user of transformers writes: ``model(**processor(image))`` with the processor's Pillow variant,
one picture at a time.
"""

import io
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from preceptor.contract.base import now
from preceptor.contract.ids import TEACHER, new_id
from preceptor.contract.teachers import Teacher, TeacherStatus
from worker.teachers.interface import Items
from worker.teachers.sources import transformers as source

PIXEL_TOLERANCE: Final = 1e-5
LOGIT_TOLERANCE: Final = 1e-4
_LABELS: Final = ("cat", "dog", "red fox")
_SHORT: Final = 6
_SQUARE: Final = {"height": 32, "width": 32}
_IMAGENET: Final = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


@dataclass(frozen=True)
class Architecture:
    """A small model.

    Attributes
    ----------
    name
        Of its config, model and row.
    model
        Prefix of the classes in transformers.
    options
        Of its config.
    processor
        The type of its own image processor, and its settings.
    """

    name: str
    model: str
    options: Mapping[str, Any]
    processor: Mapping[str, Any] = field(default_factory=dict[str, Any])


_VIT: Final = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 32,
    "patch_size": 8,
}
_CONVOLUTIONS: Final = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
_PYRAMID: Final = {
    "num_encoder_blocks": 2,
    "depths": [1, 1],
    "hidden_sizes": [8, 16],
    "strides": [4, 2],
    "num_attention_heads": [1, 2],
    "mlp_ratios": [2, 2],
}


def architectures() -> list[Architecture]:
    """The architectures, each with its own processor at a small size."""
    edge: dict[str, Any] = {"size": {"shortest_edge": 32}}
    cropped: dict[str, Any] = {"size": {"shortest_edge": 36}, "crop_size": _SQUARE}
    return [
        Architecture("vit", "ViT", _VIT, {"image_processor_type": "ViTImageProcessor", "size": _SQUARE}),
        Architecture(
            "deit",
            "DeiT",
            _VIT,
            {"image_processor_type": "DeiTImageProcessor", "size": {"height": 36, "width": 36}, "crop_size": _SQUARE},
        ),
        Architecture(
            "beit", "Beit", _VIT, {"image_processor_type": "BeitImageProcessor", "size": _SQUARE, "resample": 3}
        ),
        Architecture(
            "dinov2",
            "Dinov2",
            {name: value for name, value in _VIT.items() if name != "intermediate_size"} | {"mlp_ratio": 2},
            {"image_processor_type": "BitImageProcessor", **cropped, **_IMAGENET},
        ),
        Architecture(
            "swin",
            "Swin",
            {
                "image_size": 32,
                "patch_size": 2,
                "embed_dim": 8,
                "depths": [1, 1],
                "num_heads": [1, 2],
                "window_size": 4,
            },
            {"image_processor_type": "ViTImageProcessor", "size": _SQUARE, "resample": 3, **_IMAGENET},
        ),
        Architecture(
            "convnext",
            "ConvNext",
            {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
            {"image_processor_type": "ConvNextImageProcessor", **edge, "crop_pct": 0.9},
        ),
        Architecture(
            "resnet",
            "ResNet",
            {**_CONVOLUTIONS, "layer_type": "basic"},
            {"image_processor_type": "ConvNextImageProcessor", **edge, "crop_pct": 0.875, **_IMAGENET},
        ),
        Architecture(
            "regnet",
            "RegNet",
            {**_CONVOLUTIONS, "groups_width": 4},
            {"image_processor_type": "ConvNextImageProcessor", **edge, **_IMAGENET},
        ),
        Architecture(
            "bit",
            "Bit",
            {**_CONVOLUTIONS, "num_groups": 4},
            {"image_processor_type": "BitImageProcessor", **cropped},
        ),
        Architecture(
            "mobilenet_v2",
            "MobileNetV2",
            {"image_size": 32, "depth_multiplier": 0.35},
            {"image_processor_type": "MobileNetV2ImageProcessor", **cropped},
        ),
        Architecture(
            "efficientnet",
            "EfficientNet",
            {
                "image_size": 32,
                "width_coefficient": 0.25,
                "depth_coefficient": 0.25,
                "hidden_dim": 320,
            },
            {"image_processor_type": "EfficientNetImageProcessor", "size": _SQUARE, "rescale_offset": True},
        ),
        Architecture(
            "pvt",
            "Pvt",
            {**_PYRAMID, "image_size": 32, "sequence_reduction_ratios": [2, 1], "patch_sizes": [4, 2]},
            {"image_processor_type": "PvtImageProcessor", "size": _SQUARE},
        ),
        Architecture(
            "poolformer",
            "PoolFormer",
            {
                "num_encoder_blocks": 2,
                "depths": [1, 1],
                "hidden_sizes": [8, 16],
                "patch_sizes": [7, 3],
                "strides": [4, 2],
                "padding": [2, 1],
            },
            {"image_processor_type": "PoolFormerImageProcessor", **edge, "crop_size": _SQUARE, "crop_pct": 0.9},
        ),
        Architecture(
            "segformer",
            "Segformer",
            {**_PYRAMID, "sr_ratios": [2, 1], "patch_sizes": [7, 3]},
            {"image_processor_type": "SegformerImageProcessor", "size": _SQUARE},
        ),
    ]


def settings_of(architecture: Architecture) -> dict[str, dict[str, Any]]:
    """Five `preprocessor_config.json` by name: the architecture's own, and four that any of them may have."""
    return {
        "own": dict(architecture.processor),
        "stretched, lanczos": {
            "image_processor_type": "ViTImageProcessor",
            "size": _SQUARE,
            "resample": 1,
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
        },
        "shortest edge, bicubic, odd": {
            "image_processor_type": "CLIPImageProcessor",
            "size": {"shortest_edge": 37},
            "crop_size": _SQUARE,
            "resample": 3,
        },
        "crop without resize": {
            "image_processor_type": "DeiTImageProcessor",
            "do_resize": False,
            "do_center_crop": True,
            "crop_size": _SQUARE,
            **_IMAGENET,
        },
        "nearest, scaled to -1..1 by the factor": {
            "image_processor_type": "MobileNetV1ImageProcessor",
            "size": {"shortest_edge": 36},
            "crop_size": _SQUARE,
            "resample": 0,
            "rescale_factor": 1 / 127.5,
            "image_mean": [1.0] * 3,
            "image_std": [1.0] * 3,
        },
    }


def sample_pictures(count: int) -> list[bytes]:
    """Encoded pictures of many sizes and kinds, the same every time: photographs' noise, flat areas, thin strips."""
    sizes = [(50, 40), (3, 120), (32, 32), (200, 2), (31, 97), (640, 480), (17, 16), (129, 64), (36, 37)]
    found: list[bytes] = []
    for number in range(count):
        draw = np.random.default_rng(number)
        width, height = sizes[number % len(sizes)]
        rows, columns = np.mgrid[0:height, 0:width]
        colours = draw.uniform(-3, 3, (2, 3))
        ground = 128 + rows[..., None] * colours[0] + columns[..., None] * colours[1]
        pixels = np.clip(ground + draw.normal(0, 30, (height, width, 3)), 0, 255).astype(np.uint8)
        image = Image.fromarray(pixels)
        if number % 5 == 4:
            image = image.convert("L")
        buffer = io.BytesIO()
        image.save(buffer, ("PNG", "JPEG", "BMP")[number % 3])
        found.append(buffer.getvalue())
    return found


def make_folder(architecture: Architecture, folder: Path) -> None:
    """Write a model with random weights that tells pictures apart."""
    import transformers

    torch.manual_seed(7)
    config = getattr(transformers, f"{architecture.model}Config")(
        **architecture.options,
        num_labels=len(_LABELS),  # PVT's own default wins over id2label.
        id2label=dict(enumerate(_LABELS)),
        label2id={label: number for number, label in enumerate(_LABELS)},
    )
    model = getattr(transformers, f"{architecture.model}ForImageClassification")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 1.5 / parameter[0].numel() ** 0.5)
        # Statistics of real activations: else deep ones vanish behind batch normalisation.
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
                module.weight.fill_(1)
            elif isinstance(module, torch.nn.Linear) and module.out_features == len(_LABELS):
                module.weight.mul_(0.1)
        model.train()(torch.randn(16, 3, 32, 32))
    model.save_pretrained(folder)


def compare(folder: Path, model: Any, pictures: list[bytes]) -> dict[str, Any]:
    """Largest differences of pixels and logits between this product and transformers, for a folder.

    Parameters
    ----------
    model
        The folder's model, as transformers loads it.
    """
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    teacher = source.load(_registration(), folder, device="cpu", threads=1)
    with torch.inference_mode():
        images = [Image.open(io.BytesIO(data)).convert("RGB") for data in pictures]
        reference = [processor(images=image, return_tensors="pt")["pixel_values"] for image in images]
        logits = np.concatenate([model(pixel_values=values).logits.numpy() for values in reference])
    pixels = 0.0
    for data, values in zip(pictures, reference, strict=True):
        found = teacher.prepared(Items(images=[data]))["pixel_values"]
        if found.shape != values.shape:
            return {"pixels": float("inf"), "logits": float("inf"), "spread": 0.0}
        pixels = max(pixels, float(np.abs(found - values.numpy()).max()))
    answers = teacher.predict(Items(images=pictures)).logits
    return {
        "pixels": pixels,
        "logits": float(np.abs(answers - logits).max()),
        "spread": float(np.ptp(logits, axis=0).max()),
    }


def _registration() -> Teacher:
    return Teacher.model_validate(
        {
            "id": new_id(TEACHER),
            "name": "pictures",
            "status": TeacherStatus.VALIDATING,
            "source": {"kind": "transformers"},
            "modality": "image",
            "created_at": now(),
            "updated_at": now(),
        }
    )


def run(short: bool) -> list[dict[str, Any]]:
    """One row for each architecture and setting; `short` takes some of the architectures and few pictures."""
    from transformers import AutoModelForImageClassification

    chosen = architectures()[:: 4 if short else 1]
    pictures = sample_pictures(_SHORT if short else 45)
    rows: list[dict[str, Any]] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as parent:
            for architecture in chosen:
                folder = Path(parent) / architecture.name
                make_folder(architecture, folder)
                model = AutoModelForImageClassification.from_pretrained(folder).eval()
                for name, options in settings_of(architecture).items():
                    (folder / "preprocessor_config.json").write_text(json.dumps(options))
                    found = compare(folder, model, pictures)
                    holds = found["pixels"] < PIXEL_TOLERANCE and found["logits"] < LOGIT_TOLERANCE
                    rows.append(
                        {
                            "kind": "pictures",
                            "architecture": architecture.name,
                            "settings": name,
                            "items": len(pictures),
                            "pixels": found["pixels"],
                            "logits": found["logits"],
                            "spread": found["spread"],
                            "holds": holds,
                        }
                    )
    finally:
        torch.set_num_threads(threads)
    return rows
