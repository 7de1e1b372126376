"""Running over a probe, and packing outputs into bytes."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from preceptor.contract.teachers import Modality, OnnxSource, PredictionsSource
from worker.teachers.digest import file_digests, teacher_digest
from worker.teachers.errors import TeacherUnusable
from worker.teachers.interface import Batch, Float32, Items, Outputs, length
from worker.teachers.outputs import (
    RunStopped,
    TeacherOutputs,
    decode_outputs,
    encode_outputs,
    outputs_key,
    precision_loss,
    run_teacher,
)


@dataclass
class Doubling:
    """A teacher of vectors: logits are twice the vector, features the vector itself."""

    shows_features: bool = True
    sizes: list[int] = field(default_factory=list[int])
    labels: list[str] | None = None
    classes: int | None = 3
    parameters: int | None = 0
    modality: Modality = "features"
    class_weights: Float32 | None = None

    def predict(self, batch: Batch) -> Outputs:
        self.sizes.append(length(batch))
        assert batch.features is not None
        return Outputs(2 * batch.features, batch.features if self.shows_features else None)

    def close(self) -> None: ...


def probe(vectors: Float32, size: int) -> Iterator[Items]:
    for start in range(0, len(vectors), size):
        yield Items(features=vectors[start : start + size], start=start)


@pytest.fixture
def vectors() -> Float32:
    return np.random.default_rng(0).normal(size=(23, 3)).astype(np.float32)


def test_items_keep_their_order_whatever_the_batches(vectors: Float32) -> None:
    for size, batch_size in ((5, 2), (23, 4), (1, 8), (7, 7)):
        teacher = Doubling()
        done: list[int] = []
        found = run_teacher(teacher, probe(vectors, size), batch_size=batch_size, on_batch=done.append)
        assert np.array_equal(found.logits, 2 * vectors)
        assert found.features is not None
        assert np.array_equal(found.features, vectors)
        assert max(teacher.sizes) <= batch_size
        assert done == sorted(done)
        assert done[-1] == 23


def test_a_run_stops_when_told(vectors: Float32) -> None:
    done: list[int] = []
    with pytest.raises(RunStopped, match="after 8 items"):
        run_teacher(
            Doubling(), probe(vectors, 8), batch_size=4, on_batch=done.append, should_stop=lambda: len(done) == 2
        )


def test_no_items_and_no_features(vectors: Float32) -> None:
    assert run_teacher(Doubling(), iter(())).logits.shape == (0, 3)
    assert run_teacher(Doubling(shows_features=False), probe(vectors, 8)).features is None


def test_numbers_that_are_not_finite_name_the_item(vectors: Float32) -> None:
    vectors[9, 1] = np.nan
    with pytest.raises(TeacherUnusable, match="not finite for item 9"):
        run_teacher(Doubling(), probe(vectors, 4), batch_size=3)


def test_a_failing_teacher_becomes_a_reason(vectors: Float32) -> None:
    class Failing(Doubling):
        def predict(self, batch: Batch) -> Outputs:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied\n  at /usr/lib/x.py")

    class Short(Doubling):
        def predict(self, batch: Batch) -> Outputs:
            return Outputs(np.zeros((1, 3), dtype=np.float32))

    with pytest.raises(TeacherUnusable, match=r"could not be run .*shapes cannot be multiplied"):
        run_teacher(Failing(), probe(vectors, 4))
    with pytest.raises(TeacherUnusable, match="1 rows for 4 items"):
        run_teacher(Short(), probe(vectors, 4))


def test_outputs_survive_encoding(vectors: Float32) -> None:
    for features in (vectors[:, :2], None):
        found = decode_outputs(encode_outputs(TeacherOutputs(vectors, features)))
        assert np.array_equal(found.logits, vectors)
        if features is None:
            assert found.features is None
        else:
            assert found.features is not None
            assert np.array_equal(found.features, features)


def test_half_precision_states_what_it_lost(vectors: Float32) -> None:
    outputs = TeacherOutputs(vectors * 10, vectors * 1e6)
    data = encode_outputs(outputs, half=True)
    loss = precision_loss(data)
    found = decode_outputs(data)
    assert loss == {"logits": np.abs(found.logits - outputs.logits).max()}
    assert 0 < loss["logits"] < 0.02
    assert found.features is not None
    assert np.array_equal(found.features, vectors * 1e6)  # beyond float16: kept as it was
    assert len(data) < len(encode_outputs(outputs))


@pytest.mark.parametrize("data", [b"", b"\x00" * 20, b"not outputs at all"])
def test_other_bytes_are_no_outputs(data: bytes) -> None:
    with pytest.raises(ValueError, match="not the outputs of a teacher"):
        decode_outputs(data)
    with pytest.raises(ValueError, match="not the outputs of a teacher"):
        decode_outputs(encode_outputs(TeacherOutputs(np.ones((4, 2), dtype=np.float32)))[:-3])


def test_probabilities_at_a_temperature() -> None:
    outputs = TeacherOutputs(np.array([[0.0, np.log(4.0)], [1e4, -1e4]], dtype=np.float32))
    assert np.allclose(outputs.probabilities(), [[0.2, 0.8], [1, 0]])
    assert np.allclose(outputs.probabilities(2.0)[0], [1 / 3, 2 / 3])


def test_digests_and_keys_tell_apart_what_matters(tmp_path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    (tmp_path / ".hidden").write_bytes(b"3")
    files = file_digests(tmp_path)
    assert list(files) == ["a", "b"]
    preprocessing = {"modality": "features", "dimension": 3}
    plain = OnnxSource.model_validate({"preprocessing": preprocessing})
    scaled = OnnxSource.model_validate({"preprocessing": preprocessing | {"std": 2.0}})
    known = teacher_digest(plain, files)
    others = {
        teacher_digest(scaled, files),
        teacher_digest(PredictionsSource(), files),
        teacher_digest(plain, {"a": files["b"], "b": files["a"]}),
        teacher_digest(plain, {"a": files["a"]}),
    }
    assert len(known) == 64
    assert len(others | {known}) == 5
    assert known == teacher_digest(plain, dict(reversed(files.items())))
    keys = {outputs_key(d, s, p) for d in ("d", "e") for s in (plain, scaled) for p in ("p", "q")}
    assert len(keys) == 8
    assert outputs_key("d", plain, "p") == outputs_key("d", plain.model_copy(), "p")
