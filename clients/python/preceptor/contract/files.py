"""Files of each kind of teacher source. Only data formats are accepted: a pickle can run code when it is loaded."""

import re
from typing import Final

from .source_kinds import SOURCE_KINDS

_PICKLES: Final = re.compile(
    r"\.(bin|pt|pth|pkl|pickle|ckpt|joblib|npy|dill|h5|hdf5|keras|msgpack|mar|py|pyc|so|tar|gz|zip)$",
    re.IGNORECASE,
)


def refusal(kind: str, name: str) -> str | None:
    """Why a source of this kind cannot accept a file with this name; None if it can."""
    source = SOURCE_KINDS[kind]
    if source.files is None:
        return source.takes
    if re.fullmatch(source.files, name):
        return None
    if _PICKLES.search(name):
        return (
            f"{name!r} is not accepted: files of this type can run code when they are loaded. Convert the weights "
            f"to safetensors (safetensors.torch.save_file) or ONNX. A source of kind {kind!r} accepts {source.takes}"
        )
    return f"{name!r} is not a file of a {kind!r} source; it accepts {source.takes}"


def missing(kind: str, names: set[str]) -> list[str]:
    """The required files that are not among `names`."""
    lacking = [name for name in SOURCE_KINDS[kind].needed if name not in names]
    if SOURCE_KINDS[kind].sharded and not any(name.endswith(".safetensors") for name in names):
        lacking.append("model.safetensors")
    return lacking
