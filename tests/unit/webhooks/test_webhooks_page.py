"""The receiver that docs/webhooks.md shows, run as it stands there."""

import base64
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import docs.configuration
from service.webhooks.dispatcher import RETRY_DELAYS
from service.webhooks.sender import signature

PAGE = Path(docs.configuration.__file__).with_name("webhooks.md").read_text(encoding="utf-8")
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
BODY = b'{"type":"job.succeeded"}'


@pytest.fixture(scope="module")
def verified() -> Callable[..., bool]:
    (shown,) = [text for text in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "def verified" in text]
    names: dict[str, Callable[..., bool]] = {}
    exec(compile(shown, "docs/webhooks.md", "exec"), names)
    return names["verified"]


def headers(moment: float) -> dict[str, str]:
    timestamp = int(moment)
    return {
        "webhook-id": "msg_a",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(SECRET, "msg_a", timestamp, BODY),
    }


def test_it_takes_what_the_service_sends(verified: Callable[..., bool]) -> None:
    sent = headers(time.time())
    assert verified(SECRET, sent, BODY)
    assert verified(SECRET, sent | {"webhook-signature": f"v1,AAAA {sent['webhook-signature']}"}, BODY)


def test_it_refuses_everything_else(verified: Callable[..., bool]) -> None:
    sent = headers(time.time())
    assert not verified(SECRET, sent, BODY + b" ")
    assert not verified("whsec_" + base64.b64encode(bytes(32)).decode(), sent, BODY)
    assert not verified(SECRET, sent | {"webhook-id": "msg_b"}, BODY)
    assert not verified(SECRET, sent | {"webhook-signature": "v1,"}, BODY)
    for moment in (time.time() - 400, time.time() + 400):
        assert not verified(SECRET, headers(moment), BODY)
    assert not verified(SECRET, sent | {"webhook-timestamp": "now"}, BODY)


def test_the_pauses_are_those_of_the_dispatcher() -> None:
    assert "after 5 seconds, 5 minutes, 30 minutes, 2, 5, 8 and 8 hours" in PAGE
    assert RETRY_DELAYS == (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 8 * 3600, 8 * 3600)
