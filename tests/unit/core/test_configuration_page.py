"""The configuration page tells what the settings class reads, all of it and nothing else."""

import re

import pytest
from pydantic import SecretStr, ValidationError

from docs.configuration import PAGE, page, variables
from service.core.settings import Settings


def test_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m docs.configuration` and commit the page"


def test_every_setting_has_a_row_with_its_default() -> None:
    rows = {
        match.group(1): match.group(2)
        for match in re.finditer(r"^\| `(PRECEPTOR_\w+)`.*?\|.*?\| (.*?) \|", page(), re.MULTILINE)
    }
    assert len(rows) == len(Settings.model_fields)
    assert rows["PRECEPTOR_PORT"] == "`8321`"
    assert rows["PRECEPTOR_MAX_BODY_BYTES"] == "`8388608` (8 MiB)"
    assert rows["PRECEPTOR_JOB_TIMEOUT_SECONDS"] == "`86400` (1 day)"
    assert rows["PRECEPTOR_STORE"] == "unset"


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_the_named_variable_is_the_one_that_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    default = Settings.model_fields[name].default
    for variable in variables(name, Settings.model_fields[name]):
        for other in variables(name, Settings.model_fields[name]):
            monkeypatch.delenv(other, raising=False)
        if isinstance(default, int | float):
            given: object = default + 1
        elif name == "log_level":
            given = "error"
        elif name == "log_format":
            given = "json"
        elif name in ("auth", "webhooks"):
            given = "off"
        elif name == "egress_allow":
            given = "10.0.0.0/8"
        elif name == "hosts":
            given = "ml.example.org,10.0.0.7"
        elif name == "oidc_issuer":
            given = "https://issuer.example.org"
            monkeypatch.setenv("PRECEPTOR_OIDC_AUDIENCE", "us")
        elif name == "mlflow_tracking_uri":
            given = "https://mlflow.example.org/base"
        else:
            given = "/elsewhere"
        monkeypatch.setenv(variable, str(given))
        found = getattr(Settings(), name)
        assert str(found.get_secret_value() if isinstance(found, SecretStr) else found) == str(given)


@pytest.mark.parametrize(
    "value", ["file:///runs", "mlflow.example.org", "http://", "https://me:secret@example.org", "https://e.org/?secret"]
)
def test_tracking_server_is_an_address_without_secrets(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRECEPTOR_MLFLOW_TRACKING_URI", value)
    with pytest.raises(ValidationError, match="MLflow") as caught:
        Settings()
    assert "secret" not in str(caught.value)


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRECEPTOR_MLFLOW_AUTHORIZATION", "Bearer hush")
    assert "hush" not in repr(Settings())
