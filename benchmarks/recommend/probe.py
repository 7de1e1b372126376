"""Rankings with a probe and cached teacher outputs: real pictures, real teachers of the demo zoo."""

import io
import tempfile
import time
from pathlib import Path

import httpx2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.recommend.stack import settings
from benchmarks.report import Report
from examples.demo_zoo import digits, imagenet
from preceptor import Client
from service.cli.dev_stack import Stack

_ITEMS = 512
_TEACHERS = 20


def _probe() -> bytes:
    pictures, labels = digits.load()
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    table = pa.table(
        {
            "image": [{"bytes": digits.png(picture), "path": None} for picture in pictures[:_ITEMS]],
            "label": [names[label] for label in labels[:_ITEMS]],
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _ask(http: httpx2.Client, probe: str, method: str) -> tuple[float, dict[str, float]]:
    """Seconds of one ranking over HTTP, and of its stages."""
    began = time.perf_counter()
    made = http.post("/v1/recommendations", json={"probe": probe, "method": method}, headers={"Prefer": "wait=60"})
    job = made.json()["id"]
    while (answer := http.get(f"/v1/jobs/{job}").json())["status"] not in ("succeeded", "failed"):
        pass
    spent = time.perf_counter() - began
    result = http.get(f"/v1/recommendations/{job}").json()["result"]
    if result is None:
        raise RuntimeError(answer["error"])
    return spent, result["timings"]["stages"]


def measure(report: Report, asked: int) -> None:
    """20 teachers (some registered twice; three with 1,000 classes), 512 pictures of 10 classes."""
    case = f"{_TEACHERS} teachers, {_ITEMS} items"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        digits.write(folder / "zoo")
        imagenet.write(folder / "zoo")
        slugs = sorted(path.parent for path in folder.glob("zoo/teachers/*/teacher.json"))
        with Stack(settings(folder / "data"), logs=folder / "logs") as stack, Client(stack.url, timeout=300) as client:
            for number in range(_TEACHERS):
                client.teachers.add_folder(slugs[number % len(slugs)], name=f"teacher {number}")
            probe = client.probes.upload(_probe(), format="parquet").id
            with httpx2.Client(base_url=stack.url, timeout=300) as http:
                report.row("probe", case, "nothing cached", seconds=_ask(http, probe, "prediction_transport")[0])
                for method in ("auto", "prediction_transport", "alignment", "leep", "logme"):
                    asks = [_ask(http, probe, method) for _ in range(asked)]
                    p50 = float(np.median([spent for spent, _ in asks]))
                    stages = {name: round(value * 1e3) for name, value in asks[-1][1].items() if value >= 0.0005}
                    report.row("probe", case, method, p50_s=p50, stages_ms=stages)
                    if method in ("auto", "prediction_transport"):
                        report.target(f"probe, {_TEACHERS} cached teachers, {method}: p50 s", 1.0, p50, at_most=True)
