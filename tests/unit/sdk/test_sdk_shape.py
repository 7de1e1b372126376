"""What holds of the package as a whole: its weight, and that both clients offer the same."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import preceptor
from preceptor import AsyncClient, Client, UnexpectedAnswerError
from preceptor.core.download import place
from preceptor.resources import jobs as aio_jobs, jobs as sync_jobs
from preceptor.text import plain

HEAVY = "httpx2 rich typer torch numpy fastapi"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("preceptor.contract.recommendations", HEAVY),
        ("preceptor.core.waiting", "httpx2 rich typer torch numpy"),
        ("preceptor.cli", "torch numpy fastapi redis"),
    ],
)
def test_a_module_imports_no_more_than_it_needs(module: str, absent: str) -> None:
    program = f"import sys, {module}; print([name for name in {absent.split()} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_announced_name_is_there() -> None:
    for name in preceptor.__all__:
        assert getattr(preceptor, name).__name__ == name
    assert set(preceptor.__all__) <= set(dir(preceptor))
    assert preceptor.__version__
    with pytest.raises(AttributeError):
        preceptor.no_such_name  # noqa: B018
    assert (Path(preceptor.__file__).parent / "py.typed").exists()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def surface(kind: type) -> dict[str, list[str]]:
    """Public methods and their parameters."""
    found: dict[str, list[str]] = {}
    for name, member in inspect.getmembers(kind):
        if name.startswith("_"):
            continue
        found[name] = list(inspect.signature(member).parameters) if inspect.isfunction(member) else []
    return found


@pytest.mark.anyio
async def test_both_clients_offer_the_same() -> None:
    pairs: list[tuple[type, type]] = [(Client, AsyncClient), (sync_jobs.JobHandle, aio_jobs.AsyncJobHandle)]
    blocking, asynchronous = Client(), AsyncClient()
    for name, namespace in vars(blocking).items():
        if not name.startswith("_"):
            pairs.append((type(namespace), type(getattr(asynchronous, name))))
    assert len(pairs) == 10
    for ours, theirs in pairs:
        assert surface(ours) == surface(theirs), ours
    blocking.close()
    await asynchronous.close()


def test_a_name_from_the_service_cannot_choose_its_folder(tmp_path: Path) -> None:
    assert place(tmp_path, "config.json") == tmp_path / "config.json"
    assert place(tmp_path / "x.json", "config.json") == tmp_path / "x.json"
    assert place(f"{tmp_path}/new/", "config.json") == tmp_path / "new" / "config.json"
    for name in ("../x", "/etc/passwd", "a/b", "", ".bashrc", "a\nb"):
        with pytest.raises(UnexpectedAnswerError, match="no plain file name"):
            place(tmp_path, name)


def test_plain_text_cannot_steer_a_terminal() -> None:
    assert plain("a\x1b[31m\x07\r\x9b鳥\tb\n") == "a\ufffd[31m\ufffd\ufffd\ufffd鳥\tb\n"
