"""What the image layers install is what the distributions ask for."""

import subprocess
import sys
import tomllib
from pathlib import Path

SCRIPT = "deploy/image/requirements.py"


def _printed(root: Path, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, SCRIPT, *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.splitlines()


def test_the_service_layer_has_all_dependencies_of_both_distributions(root: Path) -> None:
    printed = _printed(root, "pyproject.toml", "clients/python/pyproject.toml")
    for path in ("pyproject.toml", "clients/python/pyproject.toml"):
        dependencies = tomllib.loads((root / path).read_text())["project"]["dependencies"]
        assert set(dependencies) - {"preceptor"} <= set(printed)
    assert "preceptor" not in printed, "our own distribution comes from a wheel"
    assert not [line for line in printed if line.startswith("torch")]


def test_the_worker_layer_pins_torch_the_way_the_script_reads_it(root: Path, tmp_path: Path) -> None:
    printed = _printed(root, "--extra", "worker", "pyproject.toml")
    assert len([line for line in printed if line.startswith("torch==")]) == 1

    requirements = tmp_path / "worker.txt"
    requirements.write_text("numpy>=2\n")
    refused = subprocess.run(
        ["sh", "deploy/image/torch.sh", str(requirements), "constraints.txt", "cpu"],
        cwd=root, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert refused.returncode == 1
    assert "pins no version of torch" in refused.stderr

    requirements.write_text("\n".join(printed))
    refused = subprocess.run(
        ["sh", "deploy/image/torch.sh", str(requirements), "constraints.txt", "tpu"],
        cwd=root, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert refused.returncode == 1
    assert "must be cpu or cuda" in refused.stderr


def test_the_build_context_has_what_the_wheels_name(root: Path) -> None:
    context = (root / ".dockerignore").read_text().splitlines()
    for folder in ("", "clients/python/"):
        project = tomllib.loads((root / folder / "pyproject.toml").read_text())["project"]
        for name in (project["readme"], *project.get("license-files", ())):
            assert (root / folder / name).is_file()
            assert f"!{folder}{name}" in context


def test_the_licence_of_the_sdk_is_that_of_the_project(root: Path) -> None:
    assert (root / "clients/python/LICENSE").read_bytes() == (root / "LICENSE").read_bytes()
