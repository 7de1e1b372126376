"""`/v1/probes`"""

from collections.abc import Sequence
from pathlib import Path

from ...contract.page import Page
from ...contract.probes import Probe, ProbeFormat
from ...errors import invalid
from ..calls import Call, at, call, model, nothing
from ..transfer import OnTransfer, Upload


def upload(
    source: str | Path | bytes,
    labels: Sequence[str] | None,
    format: ProbeFormat | None,
    progress: OnTransfer | None,
    idempotency_key: str | None,
) -> Call[Probe]:
    if isinstance(source, bytes):
        if format is None:
            raise invalid("give `format` (npz, parquet, zip, jsonl or csv) with bytes: they have no file name")
        filename, file = None, Upload.of(source, f"probe.{format}", progress)
    else:
        path = Path(source)
        if not path.is_file():
            raise invalid(f"{str(path)!r} is not a file")
        filename, file = path.name, Upload.of(path, path.name, progress)
    query = {"filename": None if format else filename, "format": format, "labels": labels}
    return call("POST", "/v1/probes", model(Probe), query=query, upload=file, idempotency_key=idempotency_key)


def get(probe: str) -> Call[Probe]:
    return call("GET", at("probes", probe), model(Probe))


def page(limit: int, cursor: str | None) -> Call[Page[Probe]]:
    return call("GET", "/v1/probes", model(Page[Probe]), query={"limit": limit, "cursor": cursor})


def delete(probe: str) -> Call[None]:
    return call("DELETE", at("probes", probe), nothing)
