"""Time that a second job on the same data spends in its teacher, with outputs from the cache."""

import io
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.recommend.stack import settings
from benchmarks.report import Report
from examples.demo_zoo import digits, imagenet
from preceptor import Client
from service.cli.dev_stack import Stack

_ITEMS = 300
_NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def _probe() -> bytes:
    pictures, labels = digits.load()
    table = pa.table(
        {
            "image": [{"bytes": digits.png(picture), "path": None} for picture in pictures[:_ITEMS]],
            "label": [_NAMES[label] for label in labels[:_ITEMS]],
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def measure(report: Report) -> None:
    """Two jobs, the second with another seed and another loss weight."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        imagenet.write(folder / "zoo", (0,))
        teacher = next(path.parent for path in folder.glob("zoo/teachers/*/teacher.json"))
        with Stack(settings(folder / "data"), logs=folder / "logs") as stack, Client(stack.url, timeout=300) as client:
            ready = client.teachers.add_folder(teacher)
            probe = client.probes.upload(_probe(), format="parquet")
            share = 0.0
            for number, case in enumerate(("first job", "second job, another seed")):
                job = client.distillations.create(
                    data=probe,
                    teachers=[ready.id],
                    loss={"name": "transport", "weight": 1.0 + number},
                    training={"epochs": 2, "seed": number},
                    compare=False,
                )
                timings = job.wait(timeout=280).timings
                share = timings.stages["teachers"] / timings.total
                report.row(
                    "cached",
                    f"{_ITEMS} pictures, EfficientNet-Lite 0",
                    case,
                    teachers_s=round(timings.stages["teachers"], 3),
                    total_s=round(timings.total, 3),
                    share=round(share, 4),
                )
            report.target("second job: share of its time in the teacher", 0.02, share, at_most=True)
