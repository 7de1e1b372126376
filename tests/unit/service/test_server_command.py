"""`preceptor-server`: its help, its completion, what a wrong setting gives, and what it becomes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.root import app, worker_command
from service.core.settings import Misconfigured, read_settings


def test_help_names_every_command_and_where_to_begin() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "TERM": "dumb"}).stdout
    assert "Start with `preceptor-server dev`" in shown
    for command in ("dev", "serve", "worker", "keys", "--install-completion"):
        assert command in shown


@pytest.mark.parametrize("words", [["dev"], ["serve"], ["worker"], ["keys"], ["keys", "create"], ["keys", "rotate"]])
def test_every_command_has_help(words: list[str]) -> None:
    shown = CliRunner().invoke(app, [*words, "-h"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert len(shown.stdout.splitlines()) > 5


def test_the_earlier_name_of_create_is_not_shown() -> None:
    assert "mint" not in CliRunner().invoke(app, ["keys", "--help"]).stdout


def test_help_imports_neither_the_application_nor_torch() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from service.cli.root import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "print([name for name in ('service.app', 'fastapi', 'torch', 'worker') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_worker_replaces_the_command_and_imports_from_where_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    becomes: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, arguments: becomes.append([program, *arguments[1:]]))
    assert CliRunner().invoke(app, ["worker", "--lane", "distill"], env={"PRECEPTOR_DATA": "."}).exit_code == 0
    assert becomes[0][0] == sys.executable
    assert becomes[0][-4:] == ["-m", "worker", "--lane", "distill"]
    monkeypatch.setattr(sys, "path", ["/opt/preceptor/bin"])
    assert worker_command("recommend")[1] == "-P", "an installed command does not import from the working folder"
    monkeypatch.setattr(sys, "path", [str(Path.cwd())])
    assert "-P" not in worker_command("recommend")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("PRECEPTOR_PORT", "abc", "PRECEPTOR_PORT: Input should be a valid integer"),
        ("PRECEPTOR_AUTH", "maybe", "PRECEPTOR_AUTH: Input should be 'auto', 'on' or 'off'"),
        ("PRECEPTOR_OIDC_ISSUER", "https://id.example.org", "PRECEPTOR_OIDC_AUDIENCE is not"),
        ("PRECEPTOR_DATA", "/dev/null/data", "the folder /dev/null/data cannot be made"),
    ],
)
def test_a_setting_that_cannot_be_used_is_one_message(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(Misconfigured) as refused:
        read_settings()
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    for arguments in (["serve"], ["dev"], ["keys", "list"], ["worker", "--lane", "recommend"]):
        ended = CliRunner().invoke(app, arguments)
        assert ended.exit_code == 78
        assert message in ended.stderr
        assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("module", [["service"], ["worker", "--lane", "recommend"]])
def test_modules_report_it_as_the_command_does(module: list[str]) -> None:
    environment = {**os.environ, "PRECEPTOR_DATA": "/dev/null/data"}
    ended = subprocess.run(
        [sys.executable, "-m", *module], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 78
    assert ended.stderr.count("\n") == 1
    assert "/dev/null/data" in ended.stderr
