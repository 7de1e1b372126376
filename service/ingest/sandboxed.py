"""Reads uploads in a process of its own: what libraries do with hostile bytes ends nothing but that process.

The process gets paths, arguments and limits, and answers with what `ingest` returns or with the error that it raises.
"""

import signal
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NoReturn

import numpy as np
import structlog
from PIL import Image

from preceptor.contract.probes import ProbeFormat
from preceptor.contract.problem import FieldError
from service.core.errors import InvalidProbe, PreceptorError, StoreFull, StoreUnavailable, TooLarge, UnsupportedType
from service.core.observability.failure_log import log_cause
from service.core.settings import Settings
from service.core.storage.object_store import translated
from service.sandbox.call import ProcessEnded, call, receive_question, send_answer
from service.sandbox.channel import Channel, ChannelBroken
from service.sandbox.child_process import exit_cause
from service.sandbox.fork_server import ForkServer
from service.sandbox.limits import allow_close, end_on_close, limit, limit_time

from .examples import examples
from .predictions import ingest_predictions
from .probe import IngestedProbe, ingest

log = structlog.stdlib.get_logger(__name__)

_MODULE: Final = "service.ingest.sandboxed"
_ERRORS: Final = {
    kind.__name__: kind for kind in (InvalidProbe, TooLarge, UnsupportedType, StoreFull, StoreUnavailable)
}
_CLOCK: Final = 4
"""By the clock a process may take so many times its seconds of computing: others compute too, and disks are slow."""
_ITEM_BYTES: Final = 16
_FILE_BYTES: Final = 2**26
"""What the largest target has beyond its content: for each item a length and a label, and the rest."""
_TRACE: Final = 4000


class IngestionFailed(Exception):
    """What a process that read an upload says of a failure that is not the upload's."""


def hashes_path(target: Path) -> Path:
    """Where the hashes of a probe's items are written, beside its canonical file; no file if the probe is opaque."""
    return target.with_suffix(".hashes.npy")


async def ingest_sandboxed(
    processes: ForkServer,
    source: Path,
    *,
    filename: str | None,
    format: ProbeFormat | None,
    labels: list[str] | None,
    settings: Settings,
    target: Path,
    check: bool = False,
) -> IngestedProbe:
    """As `ingest`, in a process of its own. It is ended where this is cancelled.

    Parameters
    ----------
    check
        Whether the description has `examples`, too.

    Raises
    ------
    InvalidProbe, TooLarge, UnsupportedType, StoreFull, StoreUnavailable
    """
    arguments = {"filename": filename, "format": format, "labels": labels}
    made = await _made(processes, "probe check" if check else "probe", source, target, arguments, settings)
    return IngestedProbe(made["digest"], made["description"], target, made["notes"])


async def ingest_predictions_sandboxed(
    processes: ForkServer,
    source: Path,
    *,
    items: int,
    classes: int,
    values: str,
    target: Path,
    settings: Settings,
) -> None:
    """As `ingest_predictions`, in a process of its own. It is ended where this is cancelled.

    Raises
    ------
    InvalidProbe, TooLarge, UnsupportedType, StoreFull, StoreUnavailable
    """
    arguments = {"items": items, "classes": classes, "values": values}
    await _made(processes, "predictions", source, target, arguments, settings)


async def _made(
    processes: ForkServer, work: str, source: Path, target: Path, arguments: dict[str, Any], settings: Settings
) -> dict[str, Any]:
    question = {
        "work": work,
        "source": str(source.absolute()),
        "target": str(target.absolute()),
        "arguments": arguments,
        # Limits alone: other settings hold passwords.
        "limits": {name: getattr(settings, name) for name in Settings.model_fields if name.startswith("max_")},
        # A file that is mapped counts as address space, and takes no memory.
        "memory": settings.ingest_memory + source.stat().st_size,
        "seconds": settings.ingest_seconds,
    }
    try:
        answer_document = await _answer(processes, question, settings, target.parent)
        if refused := answer_document.get("refused"):
            raise _error(refused)
        if (failed := answer_document.get("failed")) is not None:
            log.error("an upload could not be read: a fault of this program", trace=str(failed)[:_TRACE])
            _tell_end(1, settings)
        return answer_document["made"]
    except BaseException:
        with suppress(OSError):  # the first error is the one to be read
            target.unlink(missing_ok=True)
            hashes_path(target).unlink(missing_ok=True)
        raise


async def _answer(processes: ForkServer, question: dict[str, Any], settings: Settings, folder: Path) -> dict[str, Any]:
    try:
        return await call(processes, _MODULE, question, folder=folder, seconds=_CLOCK * settings.ingest_seconds)
    except ProcessEnded as error:
        _tell_end(error.code, settings)
    except TimeoutError:
        _tell_end(-signal.SIGXCPU, settings)
    except ChannelBroken as error:
        raise StoreUnavailable(
            "No process could be started to read the file. Try again in some seconds", headers={"Retry-After": "5"}
        ) from error


def _tell_end(code: int | None, settings: Settings) -> NoReturn:
    """Raise the error that says why the process has ended by itself."""
    if code == -signal.SIGXCPU:
        raise TooLarge(
            f"the file was not read within {settings.ingest_seconds:,} seconds of computing; send a smaller sample, or "
            "have the operator raise PRECEPTOR_INGEST_SECONDS"
        )
    if code == -signal.SIGXFSZ:
        raise TooLarge(
            f"the file expands to more than {settings.max_probe_expanded_bytes:,} bytes; send a smaller sample"
        )
    how = "its status is not known" if code is None else exit_cause(code)
    raise InvalidProbe(
        f"the file ended the process that read it ({how}; out of memory?); save it again, and send a smaller sample"
    )


def _error(refused: dict[str, Any]) -> PreceptorError:
    if cause := refused["cause"]:
        log_cause("the store", IngestionFailed(cause))
    return _ERRORS[refused["kind"]](
        refused["detail"],
        errors=[FieldError.model_validate(error) for error in refused["errors"]],
        headers=refused["headers"],
    )


def prepare() -> None:
    """Read a sample of our own, which takes a tenth of a second the first time: libraries import and compile then."""
    Image.init()
    with suppress(PreceptorError, OSError), TemporaryDirectory() as folder:
        source = Path(folder) / "sample.npz"
        np.savez_compressed(source, features=np.eye(2), labels=["a", "b"])
        settings = Settings.model_construct()
        ingest(source, filename=source.name, format=None, labels=None, settings=settings, target=Path(folder) / "made")


def answer(line: Channel) -> None:
    """The process: does what it is asked for, within its limits."""
    with suppress(ChannelBroken):
        question = receive_question(line)
        end_on_close(line.socket)
        settings = Settings.model_construct(**question["limits"])
        _limit(question, settings)
        try:
            answer_document = {"made": _work(question, settings)}
        except PreceptorError as error:
            answer_document = {"refused": _refused(error)}
        except Exception:
            answer_document = {"failed": traceback.format_exc()[-_TRACE:]}
        allow_close(line.socket)
        send_answer(line, answer_document)


def _limit(question: dict[str, Any], settings: Settings) -> None:
    limit(
        question["memory"],
        written=settings.max_probe_expanded_bytes + _ITEM_BYTES * settings.max_probe_items + _FILE_BYTES,
    )
    limit_time(question["seconds"])
    # Python ignores this signal. The error of a write would look like that of a disk.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def _work(question: dict[str, Any], settings: Settings) -> dict[str, Any]:
    try:
        return _WORK[question["work"]](question, settings)
    except MemoryError as error:
        raise TooLarge(
            f"reading the file needs more than {question['memory']:,} bytes of memory; send smaller items, write "
            "smaller row groups, or have the operator raise PRECEPTOR_INGEST_MEMORY"
        ) from error


def _refused(error: PreceptorError) -> dict[str, Any]:
    cause = error.__cause__ if error.status >= 500 else None
    return {
        "kind": type(error).__name__,
        "detail": error.detail,
        "errors": [field.model_dump(mode="json") for field in error.errors],
        "headers": error.headers,
        "cause": None if cause is None else f"{type(cause).__name__}: {cause}",
    }


def _probe(question: dict[str, Any], settings: Settings) -> dict[str, Any]:
    made = ingest(Path(question["source"]), **question["arguments"], settings=settings, target=Path(question["target"]))
    if made.hashes is not None:
        try:
            np.save(hashes_path(made.path), made.hashes, allow_pickle=False)
        except OSError as error:
            raise translated(error) from error
    return {"digest": made.digest, "description": made.description, "notes": made.notes}


def _probe_check(question: dict[str, Any], settings: Settings) -> dict[str, Any]:
    made = _probe(question, settings)
    made["description"]["examples"] = examples(Path(question["target"]))
    return made


def _predictions(question: dict[str, Any], settings: Settings) -> dict[str, Any]:
    ingest_predictions(
        Path(question["source"]), **question["arguments"], settings=settings, target=Path(question["target"])
    )
    return {}


_WORK: Final[dict[str, Callable[[dict[str, Any], Settings], dict[str, Any]]]] = {
    "probe": _probe,
    "probe check": _probe_check,
    "predictions": _predictions,
}
