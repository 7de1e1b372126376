"""The examples in README.md, docs/cli.md and docs/api.md, word by word, against a running stack."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from examples.demo_zoo import digits, tasks
from preceptor import Client
from service.cli.dev_stack import Stack

ROOT = Path(__file__).parents[2]
ADDRESS = "http://127.0.0.1:8321"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the part of the demo zoo that the examples name."""
    root = tmp_path_factory.mktemp("readme")
    zoo = root / ".demo" / "zoo"
    zoo.mkdir(parents=True)
    torch.set_num_threads(1)  # The stack's processes want the other core.
    digits.write(zoo, slugs={"digits-all", "digits-even", "digits-odd"})
    tasks.handwritten_digits(zoo)
    return root


@pytest.fixture(autouse=True)
def own_teachers(client: Client) -> Iterator[None]:
    """What an example registers is gone before the next one: two of them register the same models."""
    before = {teacher.id for teacher in client.teachers.list(modality="image")}
    yield
    for teacher in client.teachers.list(modality="image"):
        if teacher.id not in before:
            client.teachers.delete(teacher)


def blocks(page: str, language: str, heading: str) -> list[str]:
    """Code blocks of one language under one heading of a page."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    assert section, heading
    found = re.findall(rf"```{language}\n(.*?)```", section[1], re.DOTALL)
    assert found, heading
    return found


def run(command: list[str], stack: Stack, folder: Path) -> str:
    """Run an example's text; gives what it printed."""
    environment = {
        **os.environ,
        "PRECEPTOR_URL": stack.url,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        [part.replace(ADDRESS, stack.url) for part in command],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_command_line(stack: Stack, folder: Path) -> None:
    text, _ = blocks("docs/cli.md", "sh", "A first session")
    printed = run(["bash", "-euo", "pipefail", "-c", text], stack, folder)
    assert "Why Handwritten digits (rank 1)" in printed
    assert "Verdict:" in printed
    assert (folder / "student" / "model.safetensors").is_file()


def test_python(stack: Stack, folder: Path) -> None:
    (text,) = blocks("README.md", "python", "Ten lines of Python")
    lines = run([sys.executable, "-c", text], stack, folder).splitlines()
    assert re.match(r"1 Handwritten digits \d\.\d+ \[\]", lines[0])
    assert re.match(r"2 Even digits -?\d\.\d+ \[", lines[1])
    assert lines[-1] in ("helped", "hurt", "no clear effect")


def test_http(stack: Stack, folder: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    names, whole = blocks("docs/api.md", "sh", "A session with curl")
    assert '"name":"felines"' in run(["bash", "-euo", "pipefail", "-c", names], stack, folder)
    printed = run(["bash", "-euo", "pipefail", "-c", whole], stack, folder)
    assert '"status":"ready"' in printed
    assert "event: status" in printed
    assert '"succeeded"' in printed
