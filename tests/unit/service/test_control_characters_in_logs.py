"""What a stranger writes into a path or a message cannot forge log lines or command a terminal."""

import json
import re
import subprocess
import sys

import pytest

from service.core.observability.logging_config import visible

CODE = """
import asyncio, logging, structlog
from service.middleware.request_log import RequestLog
from service.core.observability.logging_config import configure
from service.core.settings import Settings
configure(Settings(log_format=FORMAT), "service")

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 404})

async def send(message):
    pass

scope = {"type": "http", "method": METHOD, "path": PATH, "headers": []}
asyncio.run(RequestLog(app)(scope, None, send))
structlog.stdlib.get_logger("ours").warning(PATH)
logging.getLogger("another").warning("%s", PATH)
try:
    raise ValueError(PATH)
except ValueError:
    structlog.stdlib.get_logger("ours").exception("failed")
"""
PATH = "/a\n2026-01-01 [info     ] forged\r\x1b[2J\x1b]0;title\x07\x00\x7f\x9b31m\u202e\u2028\ud800ä"
METHOD = "GE\nT\x1b[0m"
HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e]")


@pytest.fixture(params=["json", "console"])
def logged(request: pytest.FixtureRequest) -> str:
    """Everything that was logged."""
    code = CODE
    for name, value in (("FORMAT", request.param), ("METHOD", METHOD), ("PATH", PATH)):
        code = code.replace(name, ascii(value))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env={"PYTHONIOENCODING": "utf-8"}
    )
    return done.stderr.decode("utf-8")


def test_nothing_hidden_is_written(logged: str) -> None:
    assert "Traceback" in logged or '"frames"' in logged
    assert not HIDDEN.search(logged)
    assert logged.count("forged") >= 4
    assert not any(line.startswith("2026-01-01") for line in logged.splitlines())
    for line in logged.splitlines():
        if line.startswith("{"):
            json.loads(line)


def test_a_request_is_one_line_with_all_of_its_path_and_method(logged: str) -> None:
    (line,) = [line for line in logged.splitlines() if "request_id" in line and "milliseconds" in line]
    if line.startswith("{"):
        line = json.dumps(json.loads(line), ensure_ascii=False)
    line = line.replace("\\\\", "\\")  # The console puts what has spaces between quotes, and escapes once more.
    assert r"/a\n2026-01-01 [info     ] forged\r\x1b[2J\x1b]0;title\x07\x00\x7f\x9b31m\u202e\u2028\ud800ä" in line
    assert r"GE\nT\x1b[0m" in line


def test_plain_text_stays_as_it_is() -> None:
    assert visible("/v1/jobs/Grüße 猫 \\n") == "/v1/jobs/Grüße 猫 \\n"
