"""`/v1/probes`"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

from ...contract.page import Page
from ...contract.probes import Probe, ProbeCheck, ProbeFormat
from ...errors import invalid
from ..bodies import kind_of, listed
from ..calls import Call, Query, at, call, model, nothing
from ..files.class_names import require_names
from ..files.transfer import OnTransfer, Upload

Source = str | os.PathLike[str] | bytes
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def upload(
    source: Source,
    labels: Sequence[str] | None,
    format: ProbeFormat | None,
    progress: OnTransfer | None,
    idempotency_key: str | None,
) -> Call[Probe]:
    query, file = _sent(source, labels, format, progress)
    return call("POST", "/v1/probes", model(Probe), query=query, upload=file, idempotency_key=idempotency_key)


def check(
    source: Source, labels: Sequence[str] | None, format: ProbeFormat | None, progress: OnTransfer | None
) -> Call[ProbeCheck]:
    query, file = _sent(source, labels, format, progress)
    return call("POST", "/v1/probes", model(ProbeCheck), query={**query, "check": "true"}, upload=file)


def _sent(
    source: Any, labels: Sequence[str] | None, format: ProbeFormat | None, progress: OnTransfer | None
) -> tuple[Query, Upload]:
    names = None if labels is None else listed(labels, "labels")
    if names is not None:
        require_names(names, "?labels")
    content = content_of(source, "the probe")
    if isinstance(content, bytes):
        if format is None:
            raise invalid("give `format` (npz, parquet, zip, jsonl or csv) with bytes: they have no file name")
        return {"format": format, "labels": names}, Upload.of(content, f"probe.{format}", progress)
    query: Query = {"filename": None if format else content.name, "format": format, "labels": names}
    return query, Upload.of(content, content.name, progress)


def content_of(source: Any, what: str) -> Path | bytes:
    """A local file or bytes to be uploaded.

    Raises
    ------
    InvalidRequestError
        It is neither; says what to do.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if not isinstance(source, str | os.PathLike):
        saved = "Save it to a file (DataFrame.to_parquet, numpy.savez), then give its path"
        raise invalid(f"{what} must be a path or bytes, not {kind_of(source)}. {saved}")
    return file_of(source, what)


def file_of(source: Any, what: str) -> Path:
    """A local file to be uploaded.

    Raises
    ------
    InvalidRequestError
    """
    if not isinstance(source, str | os.PathLike):
        raise invalid(f"{what} must be given as a path, not as {kind_of(source)}")
    text = os.fspath(cast("str | os.PathLike[str]", source))
    if _URL.match(text):
        raise invalid(f"{text!r} is a URL, and the SDK uploads local files only. Download it, then give its path")
    path = Path(text)
    if path.is_dir():
        raise invalid(f"{text!r} is a folder. Give a file, for example a zip of the folder")
    if not path.is_file():
        raise invalid(f"{text!r} does not exist. Give the path of a file")
    if path.stat().st_size == 0:
        raise invalid(f"{text!r} is empty. Was it written completely?")
    return path


def get(probe: str) -> Call[Probe]:
    return call("GET", at("probes", probe), model(Probe))


def page(limit: int, cursor: str | None) -> Call[Page[Probe]]:
    return call("GET", "/v1/probes", model(Page[Probe]), query={"limit": limit, "cursor": cursor})


def delete(probe: str) -> Call[None]:
    return call("DELETE", at("probes", probe), nothing)
