"""The table of teacher sources: files and treatment of each kind. All other modules read it.

Only data formats are accepted: a pickle can run code when it is loaded.
"""

from dataclasses import dataclass
from typing import Final

_TOKENIZER: Final = (
    r"tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|vocab\.txt|vocab\.json|"
    r"merges\.txt|spiece\.model|sentencepiece\.bpe\.model"
)
SAFETENSORS: Final = r"model\.safetensors|model-\d{5}-of-\d{5}\.safetensors|model\.safetensors\.index\.json"


@dataclass(frozen=True)
class SourceKind:
    """Properties of a kind of teacher source.

    Attributes
    ----------
    files
        Regular expression of the file names that may be uploaded; None if none may.
    needed
        Files required for validation.
    takes
        The accepted files in words, for messages; if none are accepted, what to do instead.
    carries_labels
        Whether its files name the classes; a registration may then omit `labels`.
    sandboxed
        Whether its model runs in a sandbox process, because the model is a program.
    downloads
        Whether the worker downloads the model.
    runs_model
        Whether there is a model to run; otherwise only its predictions are known.
    sharded
        Whether the weights may be split into several safetensors files.
    """

    files: str | None
    needed: tuple[str, ...]
    takes: str
    carries_labels: bool = False
    sandboxed: bool = False
    downloads: bool = False
    runs_model: bool = True
    sharded: bool = False

    @property
    def takes_files(self) -> bool:
        """Whether files can be uploaded."""
        return self.files is not None


SOURCE_KINDS: Final[dict[str, SourceKind]] = {
    "transformers": SourceKind(
        files=rf"config\.json|{SAFETENSORS}|preprocessor_config\.json|processor_config\.json|{_TOKENIZER}",
        needed=("config.json",),
        takes="config.json, model.safetensors, and the preprocessor's or tokenizer's JSON files",
        carries_labels=True,
        sharded=True,
    ),
    "onnx": SourceKind(
        files=rf"model\.onnx|{_TOKENIZER}",
        needed=("model.onnx",),
        takes="model.onnx, and tokenizer.json for text",
        sandboxed=True,
    ),
    "torch_export": SourceKind(
        files=rf"model\.pt2|{_TOKENIZER}",
        needed=("model.pt2",),
        takes="model.pt2, and tokenizer.json for text",
        sandboxed=True,
    ),
    "timm": SourceKind(
        files=r"config\.json|model\.safetensors",
        needed=("model.safetensors",),
        takes="model.safetensors and config.json",
    ),
    "hub": SourceKind(
        files=None,
        needed=(),
        takes="a teacher of kind 'hub' is loaded from its repository; it takes no files",
        carries_labels=True,
        downloads=True,
    ),
    "predictions": SourceKind(
        files=None,
        needed=(),
        takes="a teacher of kind 'predictions' has no model files; upload its predictions over a probe instead",
        runs_model=False,
    ),
}
