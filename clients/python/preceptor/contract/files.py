"""Files of each kind of teacher source. Only data formats are accepted: a pickle can run code when it is loaded."""

import re
from collections.abc import Iterable
from typing import Final

from .source_kinds import SAFETENSORS, SOURCE_KINDS

_PICKLES: Final = re.compile(
    r"\.(bin|pt|pth|pkl|pickle|ckpt|joblib|npy|dill|h5|hdf5|keras|msgpack|mar|py|pyc|so|tar|gz|zip)$",
    re.IGNORECASE,
)
_ADAPTERS: Final = re.compile(r"adapter_config\.json|(adapter_|pytorch_lora_)(model|weights)[\w.-]*", re.IGNORECASE)
_ADAPTER_TENSOR: Final = re.compile(r"(^|\.)(lora_\w+|ia3_l|hada_w\d_\w|oft_[rsR])(\.|$)")
_MERGE: Final = (
    "Merge it into its base model and use the folder of the result: load the base classifier, then "
    "PeftModel.from_pretrained(BASE, ADAPTER).merge_and_unload().save_pretrained(FOLDER)"
)


def refusal(kind: str, name: str) -> str | None:
    """Why a source of this kind cannot accept a file with this name; None if it can."""
    source = SOURCE_KINDS[kind]
    if source.files is None:
        return source.takes
    if re.fullmatch(source.files, name):
        return None
    if _ADAPTERS.fullmatch(name):
        return f"{name!r} belongs to an adapter (LoRA, PEFT), which is only the difference from a base model. {_MERGE}"
    if _PICKLES.search(name):
        return (
            f"{name!r} is not accepted: files of this type can run code when they are loaded. Convert the weights "
            f"to safetensors (safetensors.torch.save_file) or ONNX. A source of kind {kind!r} accepts {source.takes}"
        )
    return f"{name!r} is not a file of a {kind!r} source; it accepts {source.takes}"


def adapter(names: Iterable[str]) -> str | None:
    """Why a folder with these files is an adapter (LoRA, PEFT) instead of a model; None if it is a model or neither."""
    names = sorted(names)
    found = [name for name in names if _ADAPTERS.fullmatch(name)]
    if not found or any(re.fullmatch(rf"{SAFETENSORS}|model\.onnx|model\.pt2", name) for name in names):
        return None
    return (
        f"{' and '.join(found)} belong{'s' if len(found) == 1 else ''} to an adapter (LoRA, PEFT), which is only the "
        f"difference from a base model. {_MERGE}"
    )


def adapter_weights(tensors: Iterable[str]) -> str | None:
    """Why weights with these names are those of an adapter that was not merged; None if they are not."""
    found = next((name for name in sorted(tensors) if _ADAPTER_TENSOR.search(name)), None)
    return None if found is None else f"the weights hold {found!r}, a part of an adapter (LoRA, PEFT). {_MERGE}"


def missing(kind: str, names: set[str]) -> list[str]:
    """The required files that are not among `names`."""
    lacking = [name for name in SOURCE_KINDS[kind].needed if name not in names]
    if SOURCE_KINDS[kind].sharded and not any(name.endswith(".safetensors") for name in names):
        lacking.append("model.safetensors")
    return lacking
