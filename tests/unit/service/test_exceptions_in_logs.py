"""What a log tells of an exception: where it happened, and no value of a variable."""

import json
import subprocess
import sys

import pytest

SECRET = "key_01m.the-secret-part"
CODE = f"""
import structlog
from service.core.observability.logging_config import configure
from service.core.settings import Settings
configure(Settings(log_format=FORMAT), "service")

def handle(key):
    raise RuntimeError("something went wrong")

try:
    handle("{SECRET}")
except RuntimeError:
    structlog.stdlib.get_logger("x").exception("failed")
"""


@pytest.mark.parametrize("how", ["json", "console"])
def test_values_of_variables_are_not_told(how: str) -> None:
    code = CODE.replace("FORMAT", repr(how)).replace(f'handle("{SECRET}")', "handle(chr(115) + 'ecret-part')")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "something went wrong" in done.stderr
    assert "secret-part" not in done.stderr
    if how == "json":
        (frames,) = [entry["frames"] for entry in json.loads(done.stderr)["exception"]]
        assert frames[-1]["name"] == "handle"
