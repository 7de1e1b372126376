"""Decides whether a teacher may be used: it loads, answers a sample, and its labels mean something."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from preceptor.contract.source_kinds import SOURCE_KINDS
from preceptor.contract.teachers import HubSource, OutputKind, Teacher, TeacherStatus
from service.sandbox.child_process import end, start
from service.sandbox.limits import limit, limit_time

from . import child_limits
from .digest import file_digests, teacher_digest
from .errors import TeacherUnusable, reason_of
from .fingerprint import fingerprint, preprocessing_warnings, sample_warnings
from .interface import Items, LoadedTeacher, Outputs, RawOutputs, ShowsInputs, length, part
from .labels import agreed_labels, checked_labels
from .loading import load_teacher
from .output_values import Finding, are_probabilities, recognise
from .outputs import RunStopped, run_teacher
from .samples import sample, varied_sample

_ITEMS_AT_ONCE: Final = 2
"""As many as the sample has: a large model takes no more memory for a dozen items."""
_LOOK_SECONDS: Final = 0.2
"""Between two questions whether a child is still to work."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of a validation.

    Attributes
    ----------
    status
        READY or REJECTED.
    reason
        Why it was rejected and what to do; None for a teacher that is ready.
    labels
        The class names to store, in the order of the outputs.
    classes
        Number of outputs.
    parameters
        Number of weights, where known.
    digest
        Of files and preprocessing; part of every cache key.
    features
        Width of the feature vectors that the teacher shows; None where it shows none.
    output
        What its outputs were taken for.
    warnings
        What may be wrong with it.
    fingerprint
        Its inputs and outputs on a sample, as the contract's `TeacherFingerprint`.
    """

    status: TeacherStatus
    reason: str | None = None
    labels: list[str] | None = None
    classes: int | None = None
    parameters: int | None = None
    digest: str | None = None
    features: int | None = None
    output: OutputKind | None = None
    warnings: list[str] = field(default_factory=list[str])
    fingerprint: dict[str, Any] | None = None

    @classmethod
    def rejected(cls, reason: str) -> Self:
        """A rejection with its reason."""
        return cls(TeacherStatus.REJECTED, reason)

    def to_json(self) -> dict[str, object]:
        """As plain values, for another process or a record."""
        return asdict(self)


def validate_teacher(
    teacher: Teacher,
    folder: Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    isolate: bool | None = None,
    memory_bytes: int | None = None,
    timeout_seconds: float = 120.0,
    should_stop: Callable[[], bool] = lambda: False,
) -> Verdict:
    """Load a teacher, run it on a sample, and judge the result. Never raises for a fault of the teacher.

    Parameters
    ----------
    teacher
        Its registration.
    folder
        Its files. A teacher of kind ``hub`` is downloaded into it.
    device, threads
        As for `load_teacher`. An isolated validation runs on the CPU.
    isolate
        Whether a child process with a memory cap does the work. None: for ONNX, torch.export, and text models with
        a tokenizer of their own.
    memory_bytes
        Address space of that child; None takes a default that grows with the files.
    timeout_seconds
        The child is ended after so long.
    should_stop
        Asked several times a second while a child works; it is ended where that says so.

    Raises
    ------
    RunStopped
        `should_stop` said so.
    """
    if isolate is None:
        isolate = SOURCE_KINDS[teacher.source.kind].sandboxed or _has_tokenizer(teacher)
    try:
        if isolate and SOURCE_KINDS[teacher.source.kind].runs_model:
            return _validate_apart(teacher, folder, threads, memory_bytes, timeout_seconds, should_stop)
        if teacher.labels is not None:
            checked_labels(teacher.labels)
        if teacher.source.kind == "predictions":
            return _judge_predictions(teacher)
        return _judge(teacher, folder, device, threads)
    except RunStopped:
        raise
    except Exception as error:
        return Verdict.rejected(reason_of(error, folder))


def _validate_apart(
    teacher: Teacher,
    folder: Path,
    threads: int | None,
    memory_bytes: int | None,
    timeout_seconds: float,
    should_stop: Callable[[], bool],
) -> Verdict:
    pass

    if isinstance(teacher.source, HubSource):
        from .sources import hub

        # The child has no network credentials.
        hub.fetch_missing(teacher.source, folder)
    return validate_isolated(
        teacher,
        folder,
        threads=threads,
        memory_bytes=memory_bytes,
        timeout_seconds=timeout_seconds,
        should_stop=should_stop,
    )


def _has_tokenizer(teacher: Teacher) -> bool:
    return teacher.source.kind in ("transformers", "hub") and teacher.modality == "text"


def _judge_predictions(teacher: Teacher) -> Verdict:
    if teacher.labels is None:
        raise TeacherUnusable("a teacher of kind 'predictions' needs `labels`; register it with its class names")
    labels = checked_labels(teacher.labels)
    digest = teacher_digest(teacher.source, {})
    return Verdict(TeacherStatus.READY, None, labels, len(labels), None, digest)


def _judge(teacher: Teacher, folder: Path, device: str, threads: int | None) -> Verdict:
    loaded = load_teacher(teacher, folder, device=device, threads=threads)
    try:
        given = agreed_labels(teacher.labels, loaded.labels)
        if given is None:
            raise TeacherUnusable(
                "the model's files name no classes; give `labels`, or write id2label into config.json"
            )
        if loaded.classes is not None:
            _check_width(loaded.classes, given, loaded)
        labels = checked_labels(given)
        size = getattr(loaded, "picture_size", None)
        few, varied = sample(teacher, size), varied_sample(teacher, size)
        finding = _find_kind(loaded, teacher, few, varied, labels)
        outputs = _run_sample(loaded, few)
        _check_width(outputs.logits.shape[1], labels)
        logits = run_teacher(loaded, [varied], batch_size=_ITEMS_AT_ONCE).logits
        found = fingerprint(
            loaded.prepared(varied) if isinstance(loaded, ShowsInputs) else None, logits, teacher.modality
        )
        warnings = [*([finding.warning] if finding.warning else []), *preprocessing_warnings(_preprocessing(teacher))]
        return Verdict(
            TeacherStatus.READY,
            None,
            labels,
            len(labels),
            loaded.parameters,
            teacher_digest(teacher.source, file_digests(folder)),
            None if outputs.features is None else outputs.features.shape[1],
            finding.kind,
            [*warnings, *sample_warnings(found, logits, teacher.modality)],
            found.model_dump(mode="json"),
        )
    finally:
        loaded.close()


def _preprocessing(teacher: Teacher) -> object:
    return getattr(teacher.source, "preprocessing", None)


def _find_kind(loaded: LoadedTeacher, teacher: Teacher, few: Items, varied: Items, labels: list[str]) -> Finding:
    """What the outputs are. A source without a choice returns logits, unless every row sums to 1."""
    if not isinstance(loaded, RawOutputs):
        values = run_teacher(loaded, [varied], batch_size=_ITEMS_AT_ONCE).logits
        if are_probabilities(values):
            return Finding("logits", "every row of the outputs sums to 1, but the source returns logits by definition")
        return Finding("logits")
    loaded.raw(few)
    begins = range(0, length(varied), _ITEMS_AT_ONCE)
    values = np.concatenate([loaded.raw(part(varied, begin, begin + _ITEMS_AT_ONCE)) for begin in begins])
    finite = values[np.isfinite(values).all(axis=1)]
    _check_width(values.shape[1], labels, loaded)
    if len(values) != length(varied) or len(finite) != len(values):
        return Finding(loaded.kind)  # The run below gives the reason.
    finding = recognise(
        values,
        getattr(teacher.source, "output", "logits"),
        labels=len(labels),
        name=loaded.output_name,
        activation=loaded.activation.name if loaded.activation is not None else "",
    )
    loaded.kind = finding.kind
    return finding


def _run_sample(loaded: LoadedTeacher, items: Items) -> Outputs:
    """Run the sample at once and item by item: a teacher must answer any batch, and answer it alike."""
    together = run_teacher(loaded, [items])
    alone = run_teacher(loaded, [part(items, 0, 1)])
    scale = max(1.0, float(np.abs(together.logits[:1]).max(initial=0.0)))
    if together.logits.shape[1] == alone.logits.shape[1]:
        difference = float(np.abs(together.logits[:1] - alone.logits).max(initial=0.0)) / scale
        if difference > 0.05:
            raise TeacherUnusable(
                f"the teacher answers the same item differently alone and in a batch (by {difference:.2g} of its "
                f"largest logit); export it in evaluation mode: model.eval()"
            )
    return Outputs(together.logits, together.features)


def _check_width(width: int, labels: list[str], loaded: LoadedTeacher | None = None) -> None:
    if width == 1 and len(labels) == 2 and isinstance(loaded, RawOutputs):
        return  # A binary score.
    if width == 1 and len(labels) != 2:
        raise TeacherUnusable(
            f"the model has one output, a binary score, but there are {len(labels)} labels; give two labels: first the "
            f"class for 0, then the class for 1"
        )
    if width != len(labels):
        raise TeacherUnusable(
            f"the model has {width} outputs but there are {len(labels)} labels; give one label for each output, "
            f"in order"
        )


def validate_isolated(
    teacher: Teacher,
    folder: Path,
    *,
    threads: int | None = None,
    memory_bytes: int | None = None,
    timeout_seconds: float = 120.0,
    should_stop: Callable[[], bool] = lambda: False,
) -> Verdict:
    """As `validate_teacher`, in a child process on the CPU.

    Parameters
    ----------
    memory_bytes
        Cap on the child's address space; None: as `child.memory_for` says.
    timeout_seconds
        The child is killed after so long.
    should_stop
        The child is killed where this says so.

    Raises
    ------
    RunStopped
        `should_stop` said so.
    """
    request = {
        "teacher": teacher.model_dump(mode="json"),
        "folder": str(folder.absolute()),
        "threads": threads or 1,
        "seconds": math.ceil(timeout_seconds) * (threads or 1) + 5,
        "memory": memory_bytes or child_limits.memory_for(folder),
    }
    process = start(
        "worker.teachers.validation",
        folder,
        child_limits.variables(threads, "cpu"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        with _ended_where(should_stop, process):
            answer, _ = process.communicate(json.dumps(request).encode(), timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        return Verdict.rejected(
            f"the model did not answer the sample within {timeout_seconds:g} seconds; register a smaller model"
        )
    finally:
        end(process)
    return _read_answer(answer, process.returncode)


@contextmanager
def _ended_where(should_stop: Callable[[], bool], process: "subprocess.Popen[bytes]") -> Generator[None]:
    """End a child within this block as soon as `should_stop` says so.

    Raises
    ------
    RunStopped
        It was ended.
    """
    over, stopped = threading.Event(), threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_SECONDS):
            if should_stop():
                stopped.set()
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                return

    watching = threading.Thread(target=watch, name="validation", daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()
    if stopped.is_set():
        raise RunStopped


def _read_answer(answer: bytes, code: int) -> Verdict:
    try:
        reply = json.loads(answer)
        return Verdict(**(reply | {"status": TeacherStatus(reply["status"])}))
    except (ValueError, KeyError, TypeError):
        return Verdict.rejected(child_limits.cause_of_end(code))


def _child() -> None:
    # Libraries may print: the answer gets a descriptor of its own.
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    request = json.load(sys.stdin)
    limit_time(request["seconds"])
    limit(request["memory"], written=child_limits.LARGEST_WRITTEN)
    verdict = validate_teacher(
        Teacher.model_validate(request["teacher"]),
        Path(request["folder"]),
        device="cpu",
        threads=request["threads"],
        isolate=False,
    )
    with pipe:
        pipe.write(json.dumps(verdict.to_json()).encode())


if __name__ == "__main__":
    _child()
