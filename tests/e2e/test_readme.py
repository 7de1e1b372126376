"""The examples in README.md, word by word, against a running stack."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from examples.demo_zoo import digits, tasks
from service.cli.dev_stack import Stack

README = Path(__file__).parents[2] / "README.md"
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


def blocks(language: str, heading: str) -> list[str]:
    """Code blocks of one language under one heading."""
    text = README.read_text()
    section = re.search(rf"^### {heading}\n(.*?)(?=^##)", text, re.DOTALL | re.MULTILINE)
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
    (text,) = blocks("sh", "Command line")
    printed = run(["bash", "-euo", "pipefail", "-c", text], stack, folder)
    assert "Why Handwritten digits (rank 1)" in printed
    assert "Verdict:" in printed
    assert (folder / "student" / "model.safetensors").is_file()


def test_python(stack: Stack, folder: Path) -> None:
    (text,) = blocks("python", "Python")
    lines = run([sys.executable, "-c", text], stack, folder).splitlines()
    assert re.match(r"1 Handwritten digits \d\.\d+ \[\]", lines[0])
    assert lines[-1].split(" mean=")[0] in ("helped", "hurt", "no clear effect")


def test_http(stack: Stack, folder: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    names, whole = blocks("sh", "HTTP")
    assert '"name":"felines"' in run(["bash", "-euo", "pipefail", "-c", names], stack, folder)
    printed = run(["bash", "-euo", "pipefail", "-c", whole], stack, folder)
    assert '"status":"ready"' in printed
    assert "event: status" in printed
    assert '"succeeded"' in printed
