"""What the images promise, read from the Dockerfile: no engine is needed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

TARGETS = ("service", "worker")


def test_both_targets_exist(dockerfile: Any) -> None:
    assert set(TARGETS) <= set(dockerfile.stages)
    assert list(dockerfile.stages)[-1] == "service", "a build without --target gives the small image"


@pytest.mark.parametrize("target", TARGETS)
def test_runs_as_a_fixed_unprivileged_user(dockerfile: Any, target: str) -> None:
    user, group = map(int, dockerfile.last(target, "USER").split(":"))
    assert user >= 1000
    assert group >= 1000
    made = " ".join(rest for word, rest in dockerfile.lineage(target) if word == "RUN")
    assert f"--uid {user}" in made
    assert f"--owner={user}" in made, "/data belongs to the user"


@pytest.mark.parametrize("target", TARGETS)
def test_commands_are_in_exec_form_so_that_signals_arrive(dockerfile: Any, target: str) -> None:
    entry = json.loads(dockerfile.last(target, "ENTRYPOINT"))
    assert entry[:2] == ["/opt/preceptor/bin/preceptor-server", {"service": "serve", "worker": "worker"}[target]]
    check = dockerfile.last(target, "HEALTHCHECK").partition("CMD ")[2]
    assert json.loads(check) == ["/opt/preceptor/bin/python", "-I", "-S", "/opt/healthcheck.py", target]
    assert dockerfile.last(target, "STOPSIGNAL") == "SIGTERM"


@pytest.mark.parametrize("target", TARGETS)
def test_writes_go_to_data_or_tmp(dockerfile: Any, target: str) -> None:
    environment = dockerfile.environment(target)
    for name in ("HOME", "HF_HOME", "PRECEPTOR_DATA"):
        assert environment[name].split("/")[1] in ("data", "tmp"), name
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"
    assert environment["PYTHONSAFEPATH"] == "1"


@pytest.mark.parametrize("target", TARGETS)
def test_neither_compiler_nor_pip_is_in_the_image(dockerfile: Any, target: str) -> None:
    steps = " ".join(rest for word, rest in dockerfile.lineage(target) if word == "RUN")
    assert "gcc" not in steps
    assert "pip" not in steps
    sources = [rest for word, rest in dockerfile.lineage(target) if word == "COPY" and "--from=" in rest]
    assert sources == [f"--from={target}-environment /opt/preceptor /opt/preceptor"]


def test_torch_is_installed_for_the_worker_alone(dockerfile: Any) -> None:
    def steps(stage: str) -> str:
        return " ".join(rest for word, rest in dockerfile.lineage(stage) if word == "RUN")

    assert "torch.sh" in steps("worker-environment")
    assert "torch.sh" not in steps("service-environment")
    assert "--extra worker" not in steps("service-environment")
    assert dockerfile.arguments["TORCH_VARIANT"] == "cpu"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("extra", ["oidc", "telemetry"])
def test_what_a_variable_switches_on_is_in_the_image(dockerfile: Any, target: str, extra: str) -> None:
    steps = " ".join(rest for word, rest in dockerfile.lineage(f"{target}-environment") if word == "RUN")
    assert f"--extra {extra} pyproject.toml >> service.txt" in steps


def test_versions_do_not_float(dockerfile: Any) -> None:
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", dockerfile.arguments["PYTHON_IMAGE"])
    for stage, parent in dockerfile.parents.items():
        assert parent in dockerfile.stages or parent == "${PYTHON_IMAGE}", f"{stage} is based on {parent}"
    for stage in dockerfile.stages:
        for word, rest in dockerfile.stages[stage]:
            for command in re.split(r"&&", rest) if word == "RUN" else ():
                if " install " in command and "/bin/pip" in command:
                    assert re.search(r"==|-c pinned\.txt|--no-index", command), command


def test_every_variable_is_a_setting(dockerfile: Any, setting_names: set[str]) -> None:
    assert set(re.findall(r"PRECEPTOR_[A-Z_]+", dockerfile.text)) <= setting_names
    assert "PRECEPTOR_DATA" in dockerfile.text


def test_the_build_sees_what_it_copies_and_no_secrets(root: Path, dockerfile: Any) -> None:
    lines = (root / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*", "everything is left out that is not named"
    named = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    assert not [name for name in named if name.startswith((".env", ".git", "tests"))]
    copied = [
        source
        for stage in dockerfile.stages
        for word, rest in dockerfile.stages[stage]
        if word == "COPY" and "--from=" not in rest
        for source in [part for part in rest.split() if not part.startswith("--")][:-1]
        if source != "."
    ]
    assert copied
    for source in copied:
        assert any(source == name or source.startswith(name + "/") for name in named), source


def test_nothing_the_images_need_is_ignored_by_git(root: Path) -> None:
    ignored = (root / ".gitignore").read_text().splitlines()
    folders = {line.strip("/") for line in ignored if line.endswith("/")}
    for path in (root / "deploy").rglob("*.*"):
        parents = set(path.relative_to(root).parts[:-1]) - {"__pycache__"}
        assert not parents & folders, path
