"""The TensorBoard file, read back record by record as TensorBoard does: lengths, checksums, messages."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event

from preceptor.contract.distillations import EpochMetrics
from worker.distillation.tracking import scalars_of
from worker.distillation.tracking.tensorboard import NAME, write_events

ENDED = 1_700_000_000.0


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> int:
    crc = _crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _events(path: Path) -> Iterator[Any]:
    data = path.read_bytes()
    while data:
        length, length_crc = struct.unpack("<QI", data[:12])
        body, (body_crc,) = data[12 : 12 + length], struct.unpack("<I", data[12 + length : 16 + length])
        assert length_crc == _masked(data[:8])
        assert body_crc == _masked(body)
        yield Event.FromString(body)
        data = data[16 + length :]


def _epoch(number: int, **numbers: Any) -> EpochMetrics:
    return EpochMetrics(epoch=number, loss=1 / number, cross_entropy=0.5, transport=0.25, seconds=2.0, **numbers)


def test_checksum_is_that_of_the_standard() -> None:
    """The check value of CRC-32C (RFC 3720, B.4): the reader above is not made to fit."""
    assert _crc32c(b"123456789") == 0xE3069283


def test_every_number_of_every_arm_is_read_back(tmp_path: Path) -> None:
    curves = {
        "with teacher": [_epoch(n, accuracy=n / 4, agreement=0.5) for n in (1, 2, 3)],
        "without teacher": [_epoch(n, accuracy=n / 8) for n in (1, 2)],
    }
    path = tmp_path / NAME
    write_events(curves, path, ENDED)
    first, *others = _events(path)
    assert first.file_version == "brain.Event:2"
    found: dict[str, list[tuple[int, float]]] = {}
    for event in others:
        (value,) = event.summary.value
        found.setdefault(value.tag, []).append((event.step, value.simple_value))
    assert set(found) == {
        *(f"{name}/with_teacher" for name in scalars_of(curves["with teacher"][0])),
        *(f"{name}/without_teacher" for name in scalars_of(curves["without teacher"][0])),
    }
    assert found["accuracy/with_teacher"] == [(1, 0.25), (2, 0.5), (3, 0.75)]
    assert found["loss/without_teacher"] == [(1, 1.0), (2, 0.5)]
    assert [event.wall_time for event in others if event.summary.value[0].tag == "loss/with_teacher"] == [
        ENDED - 4,
        ENDED - 2,
        ENDED,
    ]


def test_file_is_found_by_tensorboard_and_may_be_downloaded() -> None:
    assert "tfevents" in NAME
    assert NAME.replace(".", "").isalnum()


def test_same_epochs_make_the_same_file(tmp_path: Path) -> None:
    for name in ("a.tfevents", "b.tfevents"):
        write_events({"with teacher": [_epoch(1)]}, tmp_path / name, ENDED)
    assert (tmp_path / "a.tfevents").read_bytes() == (tmp_path / "b.tfevents").read_bytes()


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_what_is_no_number_is_left_out(value: float | None) -> None:
    assert "accuracy" not in scalars_of(_epoch(1, accuracy=value))
    assert "epoch" not in scalars_of(_epoch(1))


def test_new_numbers_are_tracked_by_themselves() -> None:
    class Later(EpochMetrics):
        temperature: float = 3.5
        steady: bool = True

    assert scalars_of(Later.model_validate(_epoch(1).model_dump()))["temperature"] == 3.5
    assert "steady" not in scalars_of(Later.model_validate(_epoch(1).model_dump()))
