"""What one caller waits for behind the work of others, whatever they send. In calm: after all faults."""

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx2
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from service.core.state import State

from .deployment import Deployment

WAIT_SECONDS: Final = 2.0
"""Most that a job of milliseconds waits."""

_TIMES: Final = 8
_NAMES: Final = 20_000
_WARM_SECONDS: Final = 90.0


def quick_jobs_wait_little(deployment: Deployment) -> list[str]:
    """Others validate models that never end and rank by thousands of new names; a caller asks for milliseconds."""
    first, second, third = asyncio.run(_keys(deployment))
    deployment.signal("service", signal.SIGTERM)  # It looks for keys when it starts.
    _until_keys_count(deployment.url)
    deployment.wait_ready()
    starts, wrong = deployment.starts, list[str]()
    with _client(deployment.url, third) as asking:
        _ask(asking, _WARM_SECONDS)  # A worker that has just been started loads its encoder first.
        with _client(deployment.url, first) as one, _client(deployment.url, second) as other:
            jobs = [(one, _endless_validation(one, deployment.folder / "endless" / str(number))) for number in range(5)]
            jobs += [(other, _long_names(other, number)) for number in range(2)]
            for number in range(_TIMES):
                seconds = _ask(asking, 60)
                if seconds > WAIT_SECONDS:
                    wrong.append(f"job {number} of milliseconds took {seconds:.1f} s")
                time.sleep(0.5)
            for client, id in jobs:
                client.post(f"/v1/jobs/{id}/cancel")
            wrong += _not_ended(jobs)
    if deployment.starts != starts:
        wrong.append("a worker ended")
    return wrong


async def _keys(deployment: Deployment) -> list[str]:
    async with State(deployment.settings()) as state:
        return [(await state.api_keys.mint(f"caller {number}", "write"))[1] for number in range(3)]


@contextmanager
def _client(url: str, key: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=90) as client:
        yield client


def _until_keys_count(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        with suppress(httpx2.HTTPError):
            if httpx2.get(f"{url}/v1/jobs").status_code == 401:
                return
        assert time.monotonic() < deadline, "the service asks for no key"
        time.sleep(0.2)


def _ask(client: httpx2.Client, wait: float) -> float:
    """Seconds until a small ranking has succeeded."""
    body = {
        "student": {"labels": ["cat", "dog"]},
        "candidates": [{"name": "one", "labels": ["tiger", "wolf"]}, {"name": "two", "labels": ["bus", "tram"]}],
    }
    begun = time.monotonic()
    answer = client.post("/v1/recommendations", json=body, headers={"Prefer": f"wait={min(wait, 60):.0f}"})
    answer.raise_for_status()
    deadline = begun + wait
    while (found := client.get(f"/v1/jobs/{answer.json()['id']}").json())["status"] != "succeeded":
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return time.monotonic() - begun


def _long_names(client: httpx2.Client, number: int) -> str:
    names = [f"new name {number} {each} of many" for each in range(_NAMES)]
    body = {"student": {"labels": ["cat", "dog"]}, "candidates": [{"name": "many", "labels": names}]}
    answer = client.post("/v1/recommendations", json=body)
    answer.raise_for_status()
    return str(answer.json()["id"])


def _endless_validation(client: httpx2.Client, folder: Path) -> str:
    source = {"kind": "onnx", "preprocessing": {"modality": "features", "dimension": 6}}
    registered = {"name": folder.name, "modality": "features", "labels": ["a", "b", "c"], "source": source}
    teacher = client.post("/v1/teachers", json=registered).raise_for_status().json()["id"]
    client.put(f"/v1/teachers/{teacher}/files/model.onnx", content=endless_model()).raise_for_status()
    return str(client.post(f"/v1/teachers/{teacher}/validation").raise_for_status().json()["id"])


def endless_model() -> bytes:
    """An ONNX graph whose loop ends in some centuries."""
    value, count = helper.make_tensor_value_info, [TensorProto.INT64, TensorProto.BOOL, TensorProto.FLOAT]
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["v"], ["w2"])],
        "body",
        [value("i", count[0], []), value("go", count[1], []), value("v", count[2], None)],
        [value("on", count[1], []), value("w2", count[2], None)],
    )
    constants: dict[str, Any] = {
        "w": np.ones((6, 3), dtype=np.float32),
        "trips": np.array(2**62),
        "true": np.array(True),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Loop", ["trips", "true", "x"], ["y"], body=body),
            helper.make_node("Gemm", ["y", "w"], ["logits"]),
        ],
        "endless",
        [value("x", TensorProto.FLOAT, ["n", 6])],
        [value("logits", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


def _not_ended(jobs: list[tuple[httpx2.Client, str]]) -> list[str]:
    """Those that were canceled and have no end after some seconds."""
    deadline = time.monotonic() + 10
    waiting = list(jobs)
    while waiting and time.monotonic() < deadline:
        time.sleep(0.2)
        waiting = [
            (client, id)
            for client, id in waiting
            if json.loads(client.get(f"/v1/jobs/{id}").text)["status"] not in ("canceled", "succeeded", "failed")
        ]
    return [f"{id} was canceled and has no end" for _, id in waiting]
