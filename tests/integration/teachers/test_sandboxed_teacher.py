"""A teacher that runs in a process of its own: same answers, and its misdeeds end nothing but that process."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from preceptor.contract.teachers import Teacher, TeacherStatus
from service.sandbox.fork_server import ForkedProcess, ForkServer
from worker.errors import InvalidItems
from worker.jobs.teacher_access import LoadedTeachers
from worker.teachers.child_limits import fork_server
from worker.teachers.errors import TeacherUnusable
from worker.teachers.interface import Items
from worker.teachers.loading import load_teacher
from worker.teachers.outputs import run_teacher
from worker.teachers.sandboxed import SandboxedTeacher
from worker.teachers.validation import validate_teacher

LABELS = ["cat", "dog", "fox"]
SOURCE = {"kind": "onnx", "preprocessing": {"modality": "features", "dimension": 6}}
Make = Callable[..., Teacher]
Folder = Callable[..., Path]
SERVERS: list[ForkServer] = []


def rows(count: int) -> Items:
    """Feature vectors."""
    return Items(features=np.random.default_rng(1).normal(size=(count, 6)).astype(np.float32))


def beyond_eight_items(nodes: list[Any]) -> list[Any]:
    """Nodes that see `excess`: by how many a batch has more than eight items, and 0 for the sample of a validation."""
    return [
        helper.make_node("Shape", ["x"], ["items"], end=1),
        helper.make_node("Sub", ["items", "eight"], ["over"]),
        helper.make_node("Max", ["over", "nothing"], ["excess"]),
        *nodes,
    ]


def greedy(onnx_folder: Folder, _: onnx.GraphProto | None = None) -> Path:
    """Asks for 8 GiB a surplus item."""
    nodes = [
        helper.make_node("Mul", ["excess", "factor"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
        helper.make_node("Gemm", ["x", "w"], ["z"]),
        helper.make_node("Add", ["z", "sum"], ["logits"]),
    ]
    return onnx_folder(beyond_eight_items(nodes), constants([2**31]))


def endless(onnx_folder: Folder, endless_body: onnx.GraphProto) -> Path:
    """Turns 2^50 rounds a surplus item."""
    nodes = [
        helper.make_node("Mul", ["excess", "factor"], ["trips"]),
        helper.make_node("Loop", ["trips", "true", "x"], ["y"], body=endless_body),
        helper.make_node("Gemm", ["y", "w"], ["logits"]),
    ]
    return onnx_folder(beyond_eight_items(nodes), constants([2**50]) | {"true": np.array(True)})


def constants(factor: list[int]) -> dict[str, Any]:
    """What the nodes above refer to."""
    return {
        "eight": np.array([8], dtype=np.int64),
        "nothing": np.array([0], dtype=np.int64),
        "factor": np.array(factor, dtype=np.int64),
    }


@pytest.fixture(scope="module", autouse=True)
def processes() -> Iterator[ForkServer]:
    """What starts all children here."""
    SERVERS.append(fork_server(1, "cpu"))
    yield SERVERS[-1]
    SERVERS.pop().close()


@contextmanager
def apart(teacher: Teacher, folder: Path, **more: Any) -> Iterator[SandboxedTeacher]:
    """Closed at the end."""
    loaded = SandboxedTeacher(SERVERS[-1], teacher, folder, threads=1, **more)
    try:
        yield loaded
    finally:
        loaded.close()


def process(loaded: SandboxedTeacher) -> ForkedProcess:
    """The child."""
    return loaded._process  # pyright: ignore[reportPrivateUsage]


def alive(pid: int) -> bool:
    """Whether a process exists."""
    return Path(f"/proc/{pid}").exists()


def test_it_answers_as_in_this_process(make_teacher: Make, onnx_folder: Folder) -> None:
    teacher, folder, items = make_teacher("features", SOURCE, LABELS), onnx_folder(), rows(70)
    here = load_teacher(teacher, folder, threads=1)
    expected = run_teacher(here, [items], batch_size=16)
    with apart(teacher, folder) as loaded:
        found = run_teacher(loaded, [items], batch_size=16)
        assert np.array_equal(found.logits, expected.logits)
        assert (found.features is None) == (expected.features is None)
        if found.features is not None and expected.features is not None:
            assert np.array_equal(found.features, expected.features)
        assert (loaded.classes, loaded.parameters, loaded.labels) == (3, here.parameters, here.labels)
        child = process(loaded)
        assert child.ended() is None
        assert child.pid in descendants()
    assert child.code in (0, -signal.SIGKILL), "it ends when its line is closed, or is killed, whichever is first"
    assert not alive(child.pid)
    here.close()


@pytest.mark.parametrize("hostile", [greedy, endless])
def test_a_graph_that_behaves_for_a_sample_alone(
    make_teacher: Make,
    onnx_folder: Folder,
    endless_body: onnx.GraphProto,
    hostile: Callable[[Folder, onnx.GraphProto], Path],
) -> None:
    teacher, folder = make_teacher("features", SOURCE, LABELS), hostile(onnx_folder, endless_body)
    assert validate_teacher(teacher, folder).status is TeacherStatus.READY
    with apart(teacher, folder, batch_seconds=3) as loaded:
        assert run_teacher(loaded, [rows(8)]).logits.shape == (8, 3)
        with pytest.raises(TeacherUnusable, match=r"needs more memory|did not answer 9 items within 3 seconds"):
            run_teacher(loaded, [rows(9)])


def test_memory_is_capped_wherever_the_model_runs_on_the_processor(make_teacher: Make, onnx_folder: Folder) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("models run on a GPU here, whose driver maps all of its memory")
    teacher, folder = make_teacher("features", SOURCE, LABELS), greedy(onnx_folder)
    with (
        apart(teacher, folder, device="auto") as loaded,
        pytest.raises(TeacherUnusable, match="needs more memory"),
    ):
        run_teacher(loaded, [rows(9)])


def test_a_wrong_width_is_the_probes_fault(make_teacher: Make, onnx_folder: Folder) -> None:
    with apart(make_teacher("features", SOURCE, LABELS), onnx_folder()) as loaded:
        wide = Items(features=np.zeros((4, 9), dtype=np.float32))
        with pytest.raises((InvalidItems, TeacherUnusable), match="9"):
            run_teacher(loaded, [wide])
        assert run_teacher(loaded, [rows(2)]).logits.shape == (2, 3), "and the next batch is answered"


def test_an_unreadable_picture_is_named(make_teacher: Make, onnx_folder: Folder) -> None:
    graph = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w3"], ["logits"]),
    ]
    folder = onnx_folder(graph, {"w3": np.eye(3, dtype=np.float32)}, shape=["n", 3, 8, 8])
    source = {"kind": "onnx", "preprocessing": {"modality": "image", "size": [8, 8], "resize": "exact"}}
    with (
        apart(make_teacher("image", source, LABELS), folder) as loaded,
        pytest.raises(InvalidItems, match=r"\b1001\b"),
    ):
        loaded.predict(Items(images=[b"no picture"], start=1001))


def test_a_child_that_is_killed(make_teacher: Make, onnx_folder: Folder) -> None:
    with apart(make_teacher("features", SOURCE, LABELS), onnx_folder()) as loaded:
        os.kill(process(loaded).pid, signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(TeacherUnusable, match="SIGKILL"):
                run_teacher(loaded, [rows(2)])


def test_a_damaged_file_is_told(make_teacher: Make, onnx_folder: Folder) -> None:
    with apart(make_teacher("features", SOURCE, LABELS), onnx_folder()):
        pass
    folder, before = onnx_folder(), descendants()
    (folder / "model.onnx").write_bytes(b"\x08\x0a" * 50)
    with pytest.raises(TeacherUnusable, match="no graph"):
        SandboxedTeacher(SERVERS[-1], make_teacher("features", SOURCE, LABELS), folder, threads=1)
    assert descendants() == before


def test_the_child_ends_with_its_parent(make_teacher: Make, onnx_folder: Folder) -> None:
    with apart(make_teacher("features", SOURCE, LABELS), onnx_folder()) as loaded:
        # The kernel does the same with the sockets of a killed process.
        process(loaded).channel.socket.close()
        assert process(loaded).ended(20) == 0


def test_a_server_that_is_killed_is_started_again(make_teacher: Make, onnx_folder: Folder) -> None:
    teacher, folder = make_teacher("features", SOURCE, LABELS), onnx_folder()
    server, before = fork_server(1, "cpu"), descendants()
    try:
        first = SandboxedTeacher(server, teacher, folder, threads=1)
        (pid,) = descendants() - before - {process(first).pid}
        os.kill(pid, signal.SIGKILL)
        assert run_teacher(first, [rows(2)]).logits.shape == (2, 3), "what it started goes on"
        second = SandboxedTeacher(server, teacher, folder, threads=1)
        assert run_teacher(second, [rows(2)]).logits.shape == (2, 3)
        second.close()
        assert not alive(process(second).pid)
        first.close()
    finally:
        server.close()


def test_the_next_job_gets_a_new_process(make_teacher: Make, onnx_folder: Folder) -> None:
    teacher, folder = make_teacher("features", SOURCE, LABELS), onnx_folder()
    kept = LoadedTeachers("cpu", 1)
    with kept.using(teacher, folder) as first:
        assert run_teacher(first, [rows(2)]).logits.shape == (2, 3)
    with kept.using(teacher, folder) as again:
        assert again is first
        assert isinstance(again, SandboxedTeacher)
        os.kill(process(again).pid, signal.SIGKILL)
        with pytest.raises(TeacherUnusable):
            run_teacher(again, [rows(2)])
    with pytest.raises(TeacherUnusable), kept.using(teacher, folder) as again:
        run_teacher(again, [rows(2)])
    with kept.using(teacher, folder) as fresh:
        assert fresh is not first
        assert run_teacher(fresh, [rows(2)]).logits.shape == (2, 3)
        fresh.close()


def descendants() -> set[int]:
    """Processes started by this one, and by those."""
    found, waiting = set[int](), [os.getpid()]
    while waiting:
        more = children_of(waiting.pop())
        found |= more
        waiting += more
    return found


def children_of(pid: int) -> set[int]:
    """Processes whose parent this is."""
    with suppress(FileNotFoundError):
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
        return {int(number) for numbers in lists for number in numbers.split()}
    return set()
