"""Writes the demo zoo: ``python -m examples.demo_zoo.build --out FOLDER``. Deterministic, under a minute on 2 cores.

FOLDER/teachers/SLUG holds a teacher with its `teacher.json`; FOLDER/probes/TASK the student's data; FOLDER/demo.json
lists both.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def build(out: Path, report: Callable[[str], None] = print) -> None:
    """Write the whole zoo.

    Parameters
    ----------
    out
        The folder; created if absent; files in it are replaced.
    report
        Receives one line for each step.
    """
    # Read when transformers is first imported: no downloads and no telemetry.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    from . import digits, imagenet, tasks, text_teachers
    from .diagnoses import read_classification
    from .folder import write_json
    from .static_text import WordVectors

    # Results repeat bit for bit only for an equal number of threads.
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)

    def step(what: str, do: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        made = do()
        report(f"  {what}: {time.perf_counter() - begin:.1f} s")
        return made

    step("EfficientNet-Lite 0, 1, 2 with their ImageNet weights, written as ONNX", lambda: imagenet.write(out))
    known = step("diagnoses read", read_classification)
    step("seven text teachers trained", lambda: text_teachers.write(out, known, WordVectors(256)))
    step("six digit teachers trained", lambda: digits.write(out))
    made = step("students' data", lambda: [tasks.birth_defects(out, known), tasks.handwritten_digits(out)])
    slugs = sorted(path.parent.name for path in (out / "teachers").glob("*/teacher.json"))
    write_json(out / "demo.json", {"teachers": slugs, "tasks": made})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Write the demo zoo: real teachers and two student tasks.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    out = parser.parse_args().out
    begin = time.perf_counter()
    build(out)
    described = json.loads((out / "demo.json").read_text(encoding="utf-8"))
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(
        f"{len(described['teachers'])} teachers and {len(described['tasks'])} tasks in {out} "
        f"({size / 1e6:.0f} MB, {time.perf_counter() - begin:.0f} s)"
    )


if __name__ == "__main__":
    main()
