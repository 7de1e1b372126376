"""The memory-mapped label index: changes, other handles and processes, reloads, damaged files."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from worker.transport import LabelIndex, brute_force, index_files, label_index, top_k
from worker.transport.index_files import DamagedIndexError

DIM = 8
NAMES = ("vocabulary.f32", "digests.bin", "labels.jsonl", "members.i32", "weights.f32", "teachers.log")


def rows(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


def open_index(path: Path) -> LabelIndex:
    return LabelIndex.open(path, "encoder", DIM)


def filled(path: Path, teachers: int = 6) -> LabelIndex:
    index = open_index(path)
    for number in range(teachers):
        index.add(f"t{number}", [f"l{number}-{i}" for i in range(3 + number)], rows(3 + number, number))
    return index


def assert_holds(index: LabelIndex, expected: dict[str, np.ndarray]) -> None:
    """The view has exactly these teachers with exactly these (unit) embeddings."""
    zoo = index.zoo()
    assert sorted(zoo.teachers) == sorted(expected)
    for position, teacher in enumerate(zoo.teachers):
        part = slice(int(zoo.starts[position]), int(zoo.starts[position] + zoo.counts[position]))
        given = expected[teacher].astype(np.float64)
        unit = given / np.linalg.norm(given, axis=1, keepdims=True)
        np.testing.assert_allclose(zoo.vocabulary[zoo.members[part]], unit, atol=1e-6)
        assert float(zoo.weights[part].sum()) == pytest.approx(1.0, abs=1e-6)


def test_teachers_come_go_and_are_replaced(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    expected: dict[str, np.ndarray] = {}
    draw = np.random.default_rng(0)
    for step in range(120):
        name = f"t{int(draw.integers(15))}"
        if name in expected and draw.random() < 0.4:
            assert index.remove(name)
            del expected[name]
        else:
            count = int(draw.integers(1, 6))
            expected[name] = rows(count, step)
            index.add(name, [f"{name}/{step}/{i}" for i in range(count)], expected[name])
        assert (name in index) == (name in expected)
        assert len(index) == len(expected)
        if step % 20 == 0:
            assert_holds(index, expected)
            assert_holds(open_index(tmp_path), expected)
    assert not index.remove("unknown")
    assert_holds(index, expected)
    query = rows(4, 999)
    fresh = open_index(tmp_path / "fresh")
    fresh.add_many([(name, [str(i) for i in range(len(r))], r, None) for name, r in expected.items()])
    for mode in ("balanced", "coverage"):
        found, same = top_k(index, query, None, 5, mode=mode), brute_force(fresh, query, None, 5, mode=mode)
        assert found.ids == same.ids
        np.testing.assert_allclose(found.costs, same.costs, atol=1e-9)


def test_equal_embeddings_share_one_row(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    shared = rows(5, 1)
    for number in range(30):
        index.add(f"t{number}", list("abcde"), shared)
    zoo = index.zoo()
    assert zoo.vocabulary.shape == (5, DIM)
    assert len(set(zoo.families.tolist())) == 1
    assert index.labels() == list("abcde")


def test_embeddings_are_read_from_one_mapped_file(tmp_path: Path) -> None:
    index = filled(tmp_path)
    zoo = index.zoo()
    assert isinstance(zoo.vocabulary.base, np.memmap)
    assert not zoo.vocabulary.flags.writeable
    assert index.zoo() is zoo, "a view is made once as long as nothing changes"


def test_a_view_does_not_change_under_its_reader(tmp_path: Path) -> None:
    index = filled(tmp_path)
    zoo = index.zoo()
    before = zoo.vocabulary.copy(), zoo.members.copy(), zoo.teachers
    index.remove("t0")
    index.add("t9", ["new"], rows(1, 77))
    index.compact()
    np.testing.assert_array_equal(zoo.vocabulary, before[0])
    np.testing.assert_array_equal(zoo.members, before[1])
    assert zoo.teachers == before[2]
    assert index.zoo().generation > zoo.generation


def test_other_handles_see_changes_after_a_refresh(tmp_path: Path) -> None:
    writer, reader = open_index(tmp_path), open_index(tmp_path)
    assert not reader.refresh()
    writer.add("t0", ["a"], rows(1, 0))
    assert "t0" not in reader
    assert reader.refresh()
    assert "t0" in reader
    assert reader.generation == writer.generation
    reader.add("t1", ["b"], rows(1, 1))
    assert sorted(writer.zoo().teachers) == ["t0", "t1"]
    writer.compact()
    assert sorted(reader.zoo().teachers) == ["t0", "t1"]
    assert reader.generation == writer.generation


def test_another_process_reads_and_writes_the_same_index(tmp_path: Path) -> None:
    index = filled(tmp_path, 3)
    program = (
        "import sys, numpy as np\n"
        "from worker.transport.label_index import LabelIndex\n"
        "index = LabelIndex.open(sys.argv[1], 'encoder', 8)\n"
        "print(sorted(index.zoo().teachers))\n"
        "index.add('other', ['x'], np.ones((1, 8)))\n"
        "index.remove('t0')\n"
    )
    run = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "['t0', 't1', 't2']"
    assert sorted(index.zoo().teachers) == ["other", "t1", "t2"]


def test_threads_write_in_turns(tmp_path: Path) -> None:
    handles = [open_index(tmp_path) for _ in range(3)]

    def work(handle: LabelIndex, first: int) -> None:
        for number in range(first, first + 15):
            handle.add(f"t{number}", [f"a{number}", "b"], np.stack([rows(1, number)[0], np.ones(DIM)]))
            if number % 5 == 0:
                handle.compact()

    threads = [threading.Thread(target=work, args=(handle, 100 * i)) for i, handle in enumerate(handles)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {
        f"t{number}": np.stack([rows(1, number)[0], np.ones(DIM, np.float32)])
        for first in (0, 100, 200)
        for number in range(first, first + 15)
    }
    for handle in (*handles, open_index(tmp_path)):
        assert_holds(handle, expected)


def test_compaction_drops_what_nobody_refers_to(tmp_path: Path) -> None:
    index = filled(tmp_path)
    for name in ("t1", "t3", "t5"):
        index.remove(name)
    before = index.generation
    index.compact()
    expected = {f"t{n}": rows(3 + n, n) for n in (0, 2, 4)}
    assert_holds(index, expected)
    assert index.zoo().vocabulary.shape[0] == 3 + 5 + 7
    assert index.labels() == [f"l{n}-{i}" for n in (0, 2, 4) for i in range(3 + n)]
    assert index.generation > before
    assert len([p for p in tmp_path.iterdir() if p.is_dir()]) == 1
    index.add("t1", ["again"], rows(1, 50))
    assert_holds(open_index(tmp_path), {**expected, "t1": rows(1, 50)})


def test_compaction_comes_by_itself_when_most_is_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_index, "_SMALLEST_COMPACTION", 20)
    index = open_index(tmp_path)
    for step in range(12):
        index.add("t", [str(i) for i in range(6)], rows(6, step))
    assert index.zoo().vocabulary.shape[0] <= 24
    assert_holds(open_index(tmp_path), {"t": rows(6, 11)})


def test_an_index_belongs_to_one_encoder(tmp_path: Path) -> None:
    filled(tmp_path)
    with pytest.raises(ValueError, match="'encoder' with 8 dimensions"):
        LabelIndex.open(tmp_path, "another", DIM)
    with pytest.raises(ValueError, match="rebuild the index"):
        LabelIndex.open(tmp_path, "encoder", DIM + 1)
    with pytest.raises(ValueError, match="dim must be"):
        LabelIndex.open(tmp_path / "x", "encoder", 0)


@pytest.mark.parametrize(
    ("teacher", "labels", "embeddings", "prior", "reason"),
    [
        ("", ["a"], np.ones((1, DIM)), None, "1 to 65535 bytes"),
        ("t", [], np.ones((0, DIM)), None, "at least one"),
        ("t", ["a"], np.ones((2, DIM)), None, "1 labels and embeddings"),
        ("t", ["a"], np.zeros((1, DIM)), None, "zero or not finite"),
        ("t", ["a"], np.full((1, DIM), np.nan), None, "zero or not finite"),
        ("t", ["a"], np.ones((1, DIM)), [0.0], "not all zero"),
        ("t", ["a"], np.ones((1, DIM)), [0.5, 0.5], "prior has shape"),
        ("t", ["a", "b"], np.ones((2, DIM)), [1.0, float("nan")], "finite"),
    ],
)
def test_bad_teachers_are_refused_and_leave_no_trace(
    tmp_path: Path, teacher: str, labels: list[str], embeddings: np.ndarray, prior: list[float] | None, reason: str
) -> None:
    index = filled(tmp_path, 2)
    before = {name: (tmp_path / "g0" / name).read_bytes() for name in NAMES}
    with pytest.raises(ValueError, match=reason):
        index.add_many([("good", ["a"], np.ones((1, DIM)), None), (teacher, labels, embeddings, prior)])
    assert {name: (tmp_path / "g0" / name).read_bytes() for name in NAMES} == before


def test_a_crash_at_any_byte_of_the_log_keeps_what_came_before(tmp_path: Path) -> None:
    filled(tmp_path, 4)
    log = tmp_path / "g0" / "teachers.log"
    whole = log.read_bytes()
    ends = [0, *(end for _, end in index_files.decode(whole))]
    for cut in range(0, len(whole) + 1, 7):
        log.write_bytes(whole[:cut])
        complete = sum(end <= cut for end in ends) - 1
        assert_holds(open_index(tmp_path), {f"t{n}": rows(3 + n, n) for n in range(complete)})
    log.write_bytes(whole[:-1])
    index = open_index(tmp_path)
    index.add("t3", ["x"], rows(1, 30))
    expected = {f"t{n}": rows(3 + n, n) for n in range(3)} | {"t3": rows(1, 30)}
    assert_holds(index, expected)
    assert_holds(open_index(tmp_path), expected)


def test_a_flipped_byte_in_the_log_ends_it_there(tmp_path: Path) -> None:
    filled(tmp_path, 4)
    log = tmp_path / "g0" / "teachers.log"
    whole = log.read_bytes()
    starts = [0, *(end for _, end in index_files.decode(whole))]
    for number in range(4):
        broken = bytearray(whole)
        broken[(starts[number] + starts[number + 1]) // 2] ^= 0x10
        log.write_bytes(broken)
        assert_holds(open_index(tmp_path), {f"t{n}": rows(3 + n, n) for n in range(number)})


def test_bytes_that_no_record_speaks_of_are_ignored_and_overwritten(tmp_path: Path) -> None:
    """A crash after the data and before the log leaves such bytes in every data file."""
    filled(tmp_path, 3)
    for name in NAMES[:-1]:
        with (tmp_path / "g0" / name).open("ab") as file:
            file.write(b"\x13" * 33)
    index = open_index(tmp_path)
    index.add("t3", ["x", "y"], rows(2, 40))
    expected = {f"t{n}": rows(3 + n, n) for n in range(3)} | {"t3": rows(2, 40)}
    assert_holds(index, expected)
    assert_holds(open_index(tmp_path), expected)


@pytest.mark.parametrize("name", NAMES[:-1])
def test_lost_data_is_an_error_that_says_so(tmp_path: Path, name: str) -> None:
    """The log speaks of bytes that are gone: no answer is better than a wrong one."""
    filled(tmp_path, 3)
    path = tmp_path / "g0" / name
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DamagedIndexError, match=f"{name} has .* bytes, the log needs"):
        open_index(tmp_path)
    path.unlink()
    with pytest.raises(DamagedIndexError, match="has 0 bytes"):
        open_index(tmp_path)


def test_a_label_outside_the_vocabulary_is_never_followed(tmp_path: Path) -> None:
    for row in (-1, 2**30):
        filled(tmp_path / str(row), 3)
        path = tmp_path / str(row) / "g0" / "members.i32"
        members = np.frombuffer(path.read_bytes(), np.int32).copy()
        members[4] = row
        path.write_bytes(members.tobytes())
        with pytest.raises(DamagedIndexError, match="rows above"):
            open_index(tmp_path / str(row)).zoo()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 1}', b"\xff\xfe"])
def test_a_damaged_head_is_an_error_that_says_so(tmp_path: Path, content: bytes) -> None:
    filled(tmp_path, 2)
    (tmp_path / "CURRENT").write_bytes(content)
    with pytest.raises(DamagedIndexError, match="CURRENT"):
        open_index(tmp_path)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    current = json.loads((tmp_path / "CURRENT").read_bytes())
    (tmp_path / "CURRENT").write_text(json.dumps(current | {"format": 2}))
    with pytest.raises(ValueError, match="format 2, this program reads 1"):
        open_index(tmp_path)


def test_any_unicode_is_a_name_and_a_label(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    labels = ["naïve\n", "猫", 'quote" \\', "\u2028", ""]
    index.add("учитель/../#1", labels, rows(5, 3))
    again = open_index(tmp_path)
    assert again.zoo().teachers == ("учитель/../#1",)
    assert again.labels() == labels
