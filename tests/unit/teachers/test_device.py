"""A worker tries its device before it takes a job."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from worker.teachers.sources.torch_device import DeviceMissing, require_device


@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_what_is_there_is_taken(name: str) -> None:
    require_device(name)


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta"])
def test_what_is_not_there_is_told_with_what_to_do(name: str) -> None:
    with pytest.raises(DeviceMissing, match=f"'{name}'.*PRECEPTOR_DEVICE to auto or cpu"):
        require_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_cuda_worker_without_cuda_ends_at_once(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "worker", "--lane", "distill"],
        env={**os.environ, "PRECEPTOR_DEVICE": "cuda", "PRECEPTOR_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 78
    assert "cannot compute there" in ended.stderr
    assert not (tmp_path / "redis").exists()
