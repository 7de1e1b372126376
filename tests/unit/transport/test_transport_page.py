"""docs/transport.md: its example runs, its tables are those of the committed results."""

import json
import re

import pytest

from benchmarks.transport.tables import PAGE, RESULTS, renewed


def test_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), {})
    assert "['first twenty']" in capsys.readouterr().out


def test_tables_are_those_of_the_committed_run() -> None:
    page, results = PAGE.read_text(encoding="utf-8"), json.loads(RESULTS.read_text())
    assert page == renewed(page, results), "run `python -m benchmarks.transport.tables` and commit the page"
    assert (PAGE.parent / "transport-growth.png").stat().st_size > 10_000


def test_every_missed_target_is_explained() -> None:
    """The page names each missed target below its tables, with a reason."""
    reasons = PAGE.read_text(encoding="utf-8").split("### Where a target is missed")[1]
    for target in json.loads(RESULTS.read_text())["targets"]:
        if not target["holds"]:
            assert target["name"] in reasons, f"no reason is given for missing {target['name']!r}"
