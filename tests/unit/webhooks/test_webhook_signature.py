"""The signature against the example of the Standard Webhooks reference implementations, and against a receiver."""

import base64
import hashlib
import hmac

from hypothesis import given, strategies as st

from service.webhooks.sender import signature

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_published_example() -> None:
    made = signature(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(key=st.binary(min_size=24, max_size=64), id=st.from_regex(r"msg_[a-z0-9]{26}", fullmatch=True), body=st.binary())
def test_whoever_has_the_key_can_verify_it(key: bytes, id: str, body: bytes) -> None:
    made = signature("whsec_" + base64.b64encode(key).decode(), id, 1_700_000_000, body)
    expected = hmac.new(key, b"%s.1700000000.%s" % (id.encode(), body), hashlib.sha256).digest()
    assert made.startswith("v1,")
    assert base64.b64decode(made[3:]) == expected


def test_a_changed_part_changes_it() -> None:
    given_ = (SECRET, "msg_a", 1, b"{}")
    others = [("whsec_" + base64.b64encode(b"x" * 24).decode(), "msg_a", 1, b"{}"), (SECRET, "msg_b", 1, b"{}"),
              (SECRET, "msg_a", 2, b"{}"), (SECRET, "msg_a", 1, b"{} ")]  # fmt: skip
    assert len({signature(*given_), *(signature(*other) for other in others)}) == 5
