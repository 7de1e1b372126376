"""A distillation as a TensorBoard event file: one chart a number, one line an arm.

The file is written once, from the histories in the run's checkpoints: it is complete even if the job was interrupted,
and training does not wait for it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.record_writer import RecordWriter
from tensorboardX.summary import scalar

from preceptor.contract.distillations import EpochMetrics

from .scalars import scalars_of

NAME: Final = "events.out.tfevents.student"
"""TensorBoard reads files with `tfevents` in their names. Usually host and time follow; both are omitted here."""
_VERSION: Final = "brain.Event:2"


def write_events(curves: Mapping[str, list[EpochMetrics]], path: Path, ended: float) -> None:
    """Write the epochs of all arms.

    Parameters
    ----------
    curves
        The epochs of each arm, by its name. The tag of a number is `field/arm`: TensorBoard puts the arms of one field
        side by side.
    path
        Path of the file; TensorBoard needs `tfevents` in its name.
    ended
        End of the last arm, in seconds since 1970. The times of each arm are shifted so that it ends then.
    """
    writer = RecordWriter(str(path))
    try:
        writer.write(Event(wall_time=ended, file_version=_VERSION).SerializeToString())
        for arm, epochs in curves.items():
            label = "_".join(arm.split())
            clock = ended - sum(metrics.seconds for metrics in epochs)
            for metrics in epochs:
                clock += metrics.seconds
                for name, value in scalars_of(metrics).items():
                    summary = scalar(f"{name}/{label}", value)
                    writer.write(Event(wall_time=clock, step=metrics.epoch, summary=summary).SerializeToString())
    finally:
        writer.close()
