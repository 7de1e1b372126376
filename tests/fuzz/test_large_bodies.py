"""Large hostile bodies take little more than a plain one of the same size. `python -m tests.fuzz.sizes` tells more."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

SIZE: Final = 2**19
BUSY: Final = 2.0
"""The machine of the tests does other things, too: times may be so much larger than the target."""


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_no_body_costs_much_more_than_its_length_explains() -> None:
    # In a process of its own: what other tests have left in this one would be measured with it.
    command = [sys.executable, "-m", "tests.fuzz.sizes", "--json", "--size", str(SIZE)]
    told = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=Path(__file__).resolve().parents[2])
    found = json.loads(told.stdout)
    plain, *hostile = found["bodies"]
    assert (plain["body"], plain["status"]) == ("plain", 200)
    assert len(hostile) > 20
    assert {body["status"] for body in hostile} <= {400, 413, 422}
    assert max(body["answer"] for body in hostile) < 5_000
    targets = found["targets"]
    slow = {body["body"] for body in hostile if body["cpu_ratio"] > BUSY * targets["cpu_ratio"]}
    large = {body["body"] for body in hostile if body["memory_ratio"] > BUSY * targets["memory_ratio"]}
    assert not slow | large, [body for body in hostile if body["body"] in slow | large]
