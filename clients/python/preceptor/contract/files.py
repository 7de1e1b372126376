"""Which files a teacher of each source consists of. Data formats only: a pickle can run code when loaded."""

import re
from typing import Final

_PICKLES: Final = re.compile(
    r"\.(bin|pt|pth|pkl|pickle|ckpt|joblib|npy|dill|h5|hdf5|keras|msgpack|mar|py|pyc|so|tar|gz|zip)$",
    re.IGNORECASE,
)
_TOKENIZER: Final = (
    r"tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|vocab\.txt|vocab\.json|"
    r"merges\.txt|spiece\.model|sentencepiece\.bpe\.model"
)
_SAFETENSORS: Final = r"model\.safetensors|model-\d{5}-of-\d{5}\.safetensors|model\.safetensors\.index\.json"
_ALLOWED: Final = {
    "transformers": rf"config\.json|{_SAFETENSORS}|preprocessor_config\.json|processor_config\.json|{_TOKENIZER}",
    "onnx": rf"model\.onnx|{_TOKENIZER}",
    "torch_export": rf"model\.pt2|{_TOKENIZER}",
    "timm": r"config\.json|model\.safetensors",
    "hub": r"(?!)",
    "predictions": r"(?!)",
}
_NEEDED: Final = {
    "transformers": ("config.json",),
    "onnx": ("model.onnx",),
    "torch_export": ("model.pt2",),
    "timm": ("model.safetensors",),
    "hub": (),
    "predictions": (),
}


def refusal(kind: str, name: str) -> str | None:
    """Why a source of this kind cannot take a file of this name; None where it can."""
    if re.fullmatch(_ALLOWED[kind], name):
        return None
    if kind == "predictions":
        return "a teacher of kind 'predictions' has no model files; upload its predictions over a probe instead"
    if kind == "hub":
        return "a teacher of kind 'hub' is loaded from its repository; it takes no files"
    expected = {
        "transformers": "config.json, model.safetensors, and the preprocessor's or tokenizer's JSON files",
        "onnx": "model.onnx, and tokenizer.json for text",
        "torch_export": "model.pt2, and tokenizer.json for text",
        "timm": "model.safetensors and config.json",
    }[kind]
    if _PICKLES.search(name):
        return (
            f"{name!r} is not accepted: files of this type can run code when they are loaded. Convert the weights "
            f"to safetensors (safetensors.torch.save_file) or ONNX. A source of kind {kind!r} takes {expected}"
        )
    return f"{name!r} is not a file of a {kind!r} source; it takes {expected}"


def missing(kind: str, names: set[str]) -> list[str]:
    """The files that a source of this kind still lacks."""
    lacking = [name for name in _NEEDED[kind] if name not in names]
    if kind == "transformers" and not any(name.endswith(".safetensors") for name in names):
        lacking.append("model.safetensors")
    return lacking
