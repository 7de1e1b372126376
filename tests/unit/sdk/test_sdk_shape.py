"""What holds of the package as a whole: its weight, and that both clients offer the same."""

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import preceptor
from preceptor import AsyncClient, Client, UnexpectedAnswerError, resources
from preceptor.core.files.download import place
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


ASYNC_ONLY = {"http_client", "sleep"}
"""Parameters of the client whose types differ."""


def pairs() -> dict[str, tuple[type, type]]:
    """Every blocking class of a resource with its asynchronous one."""
    found: dict[str, tuple[type, type]] = {"Client": (Client, AsyncClient)}
    for module in pkgutil.iter_modules(resources.__path__):
        classes = vars(importlib.import_module(f"{resources.__name__}.{module.name}"))
        own = {
            name: kind
            for name, kind in classes.items()
            if inspect.isclass(kind)
            and kind.__module__ == f"{resources.__name__}.{module.name}"
            and not name.startswith("_")
        }
        for name, kind in own.items():
            if not name.startswith("Async"):
                found[name] = (kind, own[f"Async{name}"])
        assert len(own) == 2 * sum(not name.startswith("Async") for name in own), module.name
    return found


def blocking(text: str) -> str:
    """A text about the asynchronous client as it is about the blocking one."""
    return (
        text.replace("async with", "with")
        .replace("asynchronous", "blocking")
        .replace("Async", "")
        .replace("An b", "A b")
        .replace("tasks", "threads")
    )


def surface(kind: type) -> dict[str, tuple[str, dict[str, str]]]:
    """Docstring, parameters (kind, annotation, default) and return type of every public member and of `__init__`."""
    found: dict[str, tuple[str, dict[str, str]]] = {"": (blocking(inspect.getdoc(kind) or ""), {})}
    for name, member in inspect.getmembers_static(kind):
        if name.startswith("_") and name != "__init__":
            continue
        function = member.fget if isinstance(member, property) else member
        if not inspect.isfunction(function):
            continue
        signature = inspect.signature(function)
        shown = {
            parameter.name: blocking(f"{parameter.kind.name} {parameter.annotation} {parameter.default}")
            for parameter in signature.parameters.values()
            if parameter.name not in ASYNC_ONLY | {"driver"}
        }
        shown["return"] = blocking(str(signature.return_annotation))
        found[name] = (blocking(inspect.getdoc(function) or ""), shown)
    return found


def test_every_namespace_of_the_client_is_compared() -> None:
    client = Client()
    known = {kind for kind, _ in pairs().values()}
    assert {type(value) for name, value in vars(client).items() if not name.startswith("_")} <= known
    client.close()


@pytest.mark.parametrize("name", pairs())
def test_both_clients_offer_the_same(name: str) -> None:
    ours, theirs = pairs()[name]
    first, second = surface(ours), surface(theirs)
    assert set(first) == set(second)
    for member, described in first.items():
        assert described == second[member], member


@pytest.mark.parametrize("name", pairs())
def test_what_waits_is_a_coroutine_in_one_of_them(name: str) -> None:
    """Apart from lists, events and what is known already, every method of the asynchronous class is awaited."""
    ours, theirs = pairs()[name]
    for member in surface(ours):
        function, other = inspect.getattr_static(ours, member, None), inspect.getattr_static(theirs, member, None)
        if inspect.isfunction(function) and member not in ("__init__", "list", "events", "deliveries", "pages"):
            assert inspect.iscoroutinefunction(other), f"{name}.{member}"
            assert not inspect.iscoroutinefunction(function), f"{name}.{member}"


def test_a_name_from_the_service_cannot_choose_its_folder(tmp_path: Path) -> None:
    assert place(tmp_path, "config.json") == tmp_path / "config.json"
    assert place(tmp_path / "x.json", "config.json") == tmp_path / "x.json"
    assert place(f"{tmp_path}/new/", "config.json") == tmp_path / "new" / "config.json"
    for name in ("../x", "/etc/passwd", "a/b", "", ".bashrc", "a\nb"):
        with pytest.raises(UnexpectedAnswerError, match="no plain file name"):
            place(tmp_path, name)


def test_plain_text_cannot_steer_a_terminal() -> None:
    assert plain("a\x1b[31m\x07\r\x9b鳥\tb\n") == "a\ufffd[31m\ufffd\ufffd\ufffd鳥\tb\n"
