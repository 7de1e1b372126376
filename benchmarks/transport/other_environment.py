"""Libraries whose dependencies conflict with ours, run in the environment of ``PEERS_PYTHON``.

Create one with::

    python -m venv ~/peers && ~/peers/bin/pip install torch ott-jax geomloss && export PEERS_PYTHON=~/peers/bin/python
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.transport.workloads import Batch


class OtherEnvironment:
    """The process of the other environment; without one, ``prepare`` returns None."""

    def __init__(self) -> None:
        python = os.environ.get("PEERS_PYTHON")
        self._folder = Path(tempfile.mkdtemp(prefix="peers-"))
        self._process = None
        if python:
            server = Path(__file__).with_name("peer_server.py")
            self._process = subprocess.Popen(
                [python, str(server)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )

    def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "failed" in answer:
            raise RuntimeError(answer["failed"])
        return answer

    def prepare(
        self, peer: str, batch: Batch, items: int, eps: float, **options: Any
    ) -> tuple[Callable[[], float], float] | None:
        """A timed call of the library on the first items, and its marginal error; None if it is not installed."""
        if self._process is None:
            return None
        name = f"{peer}-{items}-{batch.cost.shape}-{eps}-{options}"
        arrays = self._folder / "arrays.npz"
        np.savez(arrays, p=batch.predictions[:items], q=batch.targets[:items], cost=batch.cost)
        points = self._folder / "points.npz"
        np.savez(points, teacher=batch.teacher_points, student=batch.student_points)
        job = {"do": "prepare", "peer": peer, "name": name, "arrays": str(arrays), "points": str(points), "eps": eps}
        answer = self._ask({**job, **options})
        return (lambda: float(self._ask({"do": "run", "name": name})["seconds"])), float(answer["error"])

    def close(self) -> None:
        """End the peer process."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait(timeout=30)
