"""What a large hostile body costs, beside a plain valid one of the same size: time and memory for each byte.

`python -m tests.fuzz.sizes` prints a table. A body within the limit must not cost much more than its length explains.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from . import measure
from .http_inputs import files_of
from .http_parsers import Application

TARGET_CPU: Final = 10.0
TARGET_MEMORY: Final = 20.0  # an empty object of two letters takes 64 bytes once it is read
"""At most so many times what the plain body takes for each byte."""
_JSON: Final = [["content-type", "application/json"]]
_TURNS: Final = 3
_MOST_DIGITS: Final = 4299  # Python reads no integers of more than 4300


@dataclass(frozen=True)
class Cost:
    """What one kind of body takes.

    Attributes
    ----------
    cpu
        Seconds of processor time, the median of some turns.
    memory
        Bytes of resident memory at most, over what there was before; the largest of some turns.
    cpu_ratio, memory_ratio
        For each byte, over what the plain body takes for each byte; that is one byte of memory at least.
    """

    body: str
    path: str
    size: int
    status: int
    answer: int
    cpu: float
    memory: int
    cpu_ratio: float = 1.0
    memory_ratio: float = 1.0


def _filled(start: str, unit: Callable[[int], str], end: str, size: int) -> bytes:
    """As many units, with commas between them, as fit in so many bytes; spaces fill it up."""
    parts: list[str] = []
    left = size - len(start) - len(end)
    while left > 0:
        part = unit(len(parts))
        left -= len(part.encode()) + 1
        if left >= 0:
            parts.append(part)
    text = (start + ",".join(parts) + end).encode()
    return text + b" " * (size - len(text))


def plain(size: int) -> bytes:
    """A label set that is taken: long names of labels, and what they mean."""
    names = [f"{number:06} {'a' * 150}" for number in range(min(max(size // 450, 2), 18_000))]
    described = dict.fromkeys(names, "b" * 100)
    text = json.dumps({"labels": names, "descriptions": described}).encode()
    return text + b" " * (size - len(text))


def bodies(size: int) -> dict[tuple[str, str], bytes]:
    """Hostile bodies of one size, by what they are and where they go."""
    sets, asks = "/v1/label-sets", "/v1/recommendations"
    digits, depth = "9" * _MOST_DIGITS, 900
    labels = '{"labels": ['
    ask = '{"student": {"labels": ["a", "b"]}, "candidates": ['
    nest = "[" * depth + "]" * depth
    return {
        ("integers of 4,299 digits", sets): _filled(labels, lambda _: digits, "]}", size),
        ("one of 4,299 digits as a prior", sets): _filled(
            '{"labels": ["a", "b"], "prior": [', lambda _: digits, "]}", size
        ),
        ("floats of 4,299 digits", sets): _filled(
            '{"labels": ["a", "b"], "prior": [', lambda _: f"0.{digits}", "]}", size
        ),
        ("unknown keys, 100,000 or as many as fit", sets): _filled("{", lambda n: f'"k{n:x}": 0', "}", size),
        ("unknown keys in each candidate", asks): _filled(ask, lambda n: f'{{"k{n:x}": 0}}', "]}", size),
        ("one object of unknown keys inside", asks): _filled(
            '{"student": {"labels": ["a"]}, "filter": {', lambda n: f'"k{n:x}": 0', "}}", size
        ),
        ("empty candidates", asks): _filled(ask, lambda _: "{}", "]}", size),
        ("candidates of one label", asks): _filled(
            ask, lambda n: f'{{"name": "n{n:x}", "labels": ["a{n:x}"]}}', "]}", size
        ),
        ("lists in lists, 900 deep, again and again", sets): _filled(labels, lambda _: nest, "]}", size),
        ("brackets that only open", sets): b"[" * size,
        ("objects that only open", sets): b'{"a":' * (size // 5),
        ("zeros for labels", sets): _filled(labels, lambda _: "0", "]}", size),
        ("the same label again and again", sets): _filled(labels, lambda _: '"a"', "]}", size),
        ("labels of one letter and more", sets): _filled(labels, lambda n: f'"{n:x}"', "]}", size),
        ("empty lists as embeddings", sets): _filled('{"labels": ["a"], "embeddings": [', lambda _: "[]", "]}", size),
        ("embeddings of short numbers", sets): _filled(
            '{"labels": ["a"], "embeddings": [[', lambda _: "1", "]]}", size
        ),
        ("a label of escapes", sets): b'{"labels": ["' + b"\\u732b" * ((size - 16) // 6) + b'"]}',
        ("a label of surrogate pairs", sets): b'{"labels": ["' + b"\\ud83d\\ude00" * ((size - 16) // 12) + b'"]}',
        ("a label of combining marks", sets): ('{"labels": ["' + "\u0345\u0315" * ((size - 16) // 4) + '"]}').encode(),
        ("labels that are alike when composed", sets): _filled(
            labels, lambda n: f'"{chr(0xAC00 + n % 11_172)}{n:x}"', "]}", size
        ),
        ("a key that stands twice at the end", sets): _filled("{", lambda n: f'"k{n:x}": 0', ', "k0": 1}', size - 10),
        ("spaces", sets): b" " * (size - 2) + b"{}",
        ("not JSON at the end", sets): _filled(labels, lambda n: f'"{n:x}"', "]", size),
        ("pair costs", asks): _filled(
            '{"student": {"labels": ["a"]}, "pair_costs": [',
            lambda n: f'{{"teacher": "t{n:x}", "student": "a", "cost": 0}}',
            "]}",
            size,
        ),
    }


def _cost(application: Application, name: str, path: str, body: bytes) -> Cost:
    files = files_of("POST", path, _JSON, body)
    times: list[float] = []
    largest = status = answer = 0
    for _ in range(_TURNS):
        measure.forget_peak()
        before, began = measure.resident(), time.process_time()
        status, _, content = application.ask(files)
        times.append(time.process_time() - began)
        largest, answer = max(largest, measure.peak() - before), len(content)
    return Cost(name, path, len(body), status, answer, round(statistics.median(times), 4), largest)


def compared(size: int) -> list[Cost]:
    """The plain body, and the hostile ones beside it.

    Parameters
    ----------
    size
        Bytes of each body; the application takes none that is larger.
    """
    application = Application(max_body_bytes=size)
    body = plain(size)
    _cost(application, "plain", "/v1/label-sets", body)  # what is loaded or grown once is nobody's cost
    base = _cost(application, "plain", "/v1/label-sets", body)
    found = [base]
    for (name, path), hostile in bodies(size).items():
        cost = _cost(application, name, path, hostile)
        share = cost.size / base.size
        ratios = cost.cpu / base.cpu / share, cost.memory / max(base.memory, base.size) / share
        found.append(Cost(**{**asdict(cost), "cpu_ratio": round(ratios[0], 2), "memory_ratio": round(ratios[1], 2)}))
    return found


def report(size: int) -> dict[str, Any]:
    """The comparison as plain values."""
    costs = compared(size)
    worst = max(cost.cpu_ratio for cost in costs), max(cost.memory_ratio for cost in costs)
    return {
        "size": size,
        "targets": {"cpu_ratio": TARGET_CPU, "memory_ratio": TARGET_MEMORY},
        "found": {
            "cpu_ratio": worst[0],
            "memory_ratio": worst[1],
            "targets met": worst[0] <= TARGET_CPU and worst[1] <= TARGET_MEMORY,
        },
        "bodies": [asdict(cost) for cost in costs],
    }


def main() -> int:
    """Exit status 0 where the targets are met."""
    reader = argparse.ArgumentParser(prog="python -m tests.fuzz.sizes", description=__doc__)
    reader.add_argument("--size", type=int, default=8 * 2**20, help="bytes of each body; the service's limit is 8 MiB")
    reader.add_argument("--json", action="store_true", help="print the report as JSON")
    arguments = reader.parse_args()
    found = report(arguments.size)
    if arguments.json:
        print(json.dumps(found))
        return 0
    for cost in found["bodies"]:
        print(
            f"{cost['body']:45} {cost['status']} {cost['cpu']:8.3f} s {cost['memory'] / 2**20:8.1f} MiB"
            f" {cost['cpu_ratio']:7.2f} {cost['memory_ratio']:7.2f} {cost['answer']:9,} bytes of answer"
        )
    return 0 if found["found"]["targets met"] else 1


if __name__ == "__main__":
    sys.exit(main())
