"""Teachers from the Hugging Face Hub: fetched once, pinned to one commit, then read like any uploaded folder."""

import glob
import os
from pathlib import Path
from typing import Final

from preceptor.contract.files import adapter, missing, refusal
from preceptor.contract.teachers import HubSource, Teacher

from ..errors import TeacherUnusable
from ..interface import LoadedTeacher
from ..preprocessing.texts import read_options
from . import transformers as transformers_folder

_LARGEST: Final = 16 * 2**30
_UPLOAD: Final = "download the model yourself and upload its files as a source of kind 'transformers'"


def load(teacher: Teacher, folder: Path, *, device: str, threads: int | None) -> LoadedTeacher:
    """Fetch the repository into `folder`, where it is not there yet, and load it as a `transformers` folder.

    Raises
    ------
    TeacherUnusable
        The Hub cannot be reached, does not know the repository or commit, or has no safetensors for it.
    """
    if not isinstance(teacher.source, HubSource):
        raise TypeError(f"not a Hub source: {teacher.source.kind}")
    fetch_missing(teacher.source, folder)
    return transformers_folder.load(teacher, folder, device=device, threads=threads)


def fetch_missing(source: HubSource, folder: Path) -> None:
    """Fetch the repository, unless the folder holds it already.

    Raises
    ------
    TeacherUnusable
    """
    if not is_complete(folder):
        fetch(source, folder)


def is_complete(folder: Path) -> bool:
    """Whether a folder holds all files of a `transformers` model, all shards included."""
    names = {path.name for path in folder.iterdir() if path.is_file()}
    shards = read_options(folder / "model.safetensors.index.json").get("weight_map")
    wanted = set(shards.values()) if isinstance(shards, dict) and "model.safetensors" not in names else set[str]()
    return not missing("transformers", names) and wanted <= names


def fetch(source: HubSource, folder: Path) -> None:
    """Download what a `transformers` source consists of, and nothing else of the repository.

    `HF_ENDPOINT` and `HF_TOKEN` are honoured, as everywhere in the Hub's own library.
    """
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    endpoint = os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
    name = f"{source.repository} at {source.revision[:12]}"
    try:
        # Asked first because it fails at once; the download below retries for half a minute.
        known = HfApi(endpoint=endpoint).model_info(
            source.repository, revision=source.revision, files_metadata=True, timeout=20
        )
        sizes = {file.rfilename: file.size or 0 for file in known.siblings or ()}
        wanted = _wanted(name, sizes)
        snapshot_download(
            source.repository,
            revision=source.revision,
            local_dir=folder,
            allow_patterns=[glob.escape(file) for file in wanted],
            endpoint=endpoint,
        )
    except GatedRepoError:
        raise TeacherUnusable(
            f"{name} is gated: accept its terms and give the worker a token in HF_TOKEN, or {_UPLOAD}"
        ) from None
    except RevisionNotFoundError:
        raise TeacherUnusable(f"the Hub has no commit {source.revision} of {source.repository}; check it") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise TeacherUnusable(
            f"the Hub has no repository {source.repository!r}, or it is private: check the name, or give the "
            f"worker a "
            f"token in HF_TOKEN"
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise TeacherUnusable(f"the Hub answered with status {status} for {name}; try later, or {_UPLOAD}") from None
    except TeacherUnusable:
        raise
    except Exception as error:  # refused, timed out, offline: each transport has its own class
        raise TeacherUnusable(
            f"the Hub at {endpoint} cannot be reached from this worker ({type(error).__name__}); set "
            f"HF_ENDPOINT to a "
            f"mirror, or {_UPLOAD}"
        ) from None


def _wanted(name: str, sizes: dict[str, int]) -> list[str]:
    if reason := adapter(sizes):
        raise TeacherUnusable(f"{name} is no whole model: {reason}, and upload its files")
    wanted = [file for file in sizes if refusal("transformers", file) is None]
    if lacking := missing("transformers", set(wanted)):
        pickles = [file for file in sizes if file.endswith((".bin", ".pt", ".pth", ".ckpt"))]
        why = f" (only {pickles[0]}, which can run code when it is loaded)" if pickles else ""
        raise TeacherUnusable(
            f"{name} has no {' and no '.join(lacking)}{why}; convert it to safetensors, or choose another model"
        )
    total = sum(sizes[file] for file in wanted)
    if total > _LARGEST:
        raise TeacherUnusable(f"{name} has {total:,} bytes, more than {_LARGEST:,}; choose a smaller model")
    return wanted
