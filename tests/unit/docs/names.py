"""What the pages name, looked up where it is defined. Each function lists what does not exist."""

import contextlib
import importlib.util
import io
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final
from unittest import mock
from urllib.parse import parse_qsl

import typer

from docs.configuration import Settings, variables
from preceptor import Client
from preceptor.cli import app as command_line
from service.app import create_app
from tests.unit.docs.pages import ROOT, Command, Page

_FOLDERS: Final = ("benchmarks", "clients", "deploy", "docs", "examples", "service", "tests", "worker")
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_REQUEST: Final = re.compile(rf"(?:\b({'|'.join(_METHODS)}) )?(?<![\w.])(/v1/[^\s'\"`|,;)]+)")
_OUTSIDE_V1: Final = re.compile(r"/(?:health|metrics|version|docs|redoc|openapi)[\w./-]*")
_PLACEHOLDER: Final = re.compile(r"[{$*<…]|\.\.\.|^[A-Z]+$")
_FILE: Final = re.compile(r"[\w.*<>{}-]+(?:/[\w.*<>{}-]+)*/?")
_OPTION: Final = re.compile(r"--[a-z][a-z-]+")
_SETTING: Final = re.compile(r"\bPRECEPTOR_[A-Z0-9_]*[A-Z0-9]\b(?!_)")


def makefile(page: Page) -> Iterator[str]:
    """Targets and variables of ``make``."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][\w-]*):", text, re.MULTILINE))
    known = set(re.findall(r"\$\((?:or \$\()?([A-Z]+)\b", text))
    for command in _of(page, "make"):
        for word in command.words[1:]:
            name, given, _ = word.partition("=")
            if given and name not in known:
                yield page.at(command.line, f"`{command}`: the Makefile reads no variable {name}")
            if not given and not word.startswith("-") and not _PLACEHOLDER.search(word) and word not in targets:
                yield page.at(command.line, f"`{command}`: the Makefile has no target {word}")


def client_commands(page: Page) -> Iterator[str]:
    """Commands and options of ``preceptor``."""
    for command in _of(page, "preceptor"):
        node: Any = _tree()
        options = set(_options(node))
        words = list(command.words[1:])
        while words and words[0] in getattr(node, "commands", {}):
            node = node.commands[words.pop(0)]
            options |= set(_options(node))
        rest = [word for word in words if not word.startswith("-")]
        if getattr(node, "commands", None) and rest and not _PLACEHOLDER.search(rest[0]):
            yield page.at(command.line, f"`{command}`: there is no command {rest[0]!r}")
        for word in words:
            option = word.partition("=")[0]
            if option.startswith("--") and option not in options | {"--help"}:
                yield page.at(command.line, f"`{command}`: there is no option {option}")


def server_commands(page: Page) -> Iterator[str]:
    """Commands and options of ``preceptor-server``, read from their help."""
    entry = server_entry()
    assert entry is not None
    for command in _of(page, "preceptor-server"):
        words = [word for word in command.words[1:] if word not in ("...", "…")]
        status, shown = _server_help(entry, tuple(words))
        missing = [word for word in map(_name_of, words) if word.startswith("--") and word not in shown]
        if status != 0 or missing:
            yield page.at(command.line, f"`{command}`: {'no option ' + missing[0] if missing else 'no such command'}")


def modules(page: Page) -> Iterator[str]:
    """Modules and options of ``python -m``."""
    for command in page.commands:
        if re.fullmatch(r"(?:.*/)?python3?", command.words[0]) is None or command.words[1:2] != ("-m",):
            continue
        name = command.words[2] if len(command.words) > 2 else ""
        if name.partition(".")[0] not in _FOLDERS:
            continue
        found = _module(name)
        if found is None:
            yield page.at(command.line, f"`{command}`: there is no module {name}")
            continue
        text = "".join(path.read_text(encoding="utf-8") for path in found)
        for option in (_name_of(word) for word in command.words[3:] if word.startswith("--")):
            if f'"{option}"' not in text:
                yield page.at(command.line, f"`{command}`: {name} has no option {option}")


def options(page: Page) -> Iterator[str]:
    """Options that stand alone in inline code: of any command of ours, or of docker."""
    for code in page.spans:
        found = _OPTION.match(code.text)
        if found and found[0] not in _known_options():
            yield page.at(code.line, f"`{code.text}`: no command has the option {found[0]}")


def settings(page: Page) -> Iterator[str]:
    """Environment variables ``PRECEPTOR_...``: of the settings, or read by name somewhere."""
    for number, line in enumerate(page.text.splitlines(), 1):
        for name in _SETTING.findall(line):
            if name not in _known_settings():
                yield page.at(number, f"{name} is not read anywhere")


def metrics(page: Page) -> Iterator[str]:
    """Prometheus metrics: on the dashboard, which another test compares with what the service exports."""
    dashboard = (ROOT / "deploy/grafana/preceptor.json").read_text(encoding="utf-8")
    for code in page.spans:
        found = re.match(r"preceptor_[a-z_]*[a-z](?=$|\{)", code.text)
        if found and re.search(rf"\b{found[0]}(_bucket|_sum|_count)?\b", dashboard) is None:
            yield page.at(code.line, f"`{code.text}`: there is no metric {found[0]}")


def endpoints(page: Page) -> Iterator[str]:
    """Paths of the API with methods and query parameters."""
    for command in _of(page, "curl"):
        method, address = _curl(command)
        if "/v1/" in address and not _operation(method, address[address.index("/v1/") :]):
            yield page.at(command.line, f"`{command}`: there is no {method} {address}")
    for code in page.code:
        if code.shell:
            continue
        for method, path in _REQUEST.findall(code.text):
            if not _operation(method or None, path):
                yield page.at(code.line, f"`{code.text}`: there is no {method} {path}".replace("  ", " "))
        if code.language is None and code.text.startswith("?"):
            for name in (name for name, _ in parse_qsl(code.text[1:], keep_blank_values=True)):
                if name not in {name for *_, names in _operations() for name in names}:
                    yield page.at(code.line, f"`{code.text}`: no request has the parameter {name}")
    for code in page.spans:
        for path in code.text.split():
            if _OUTSIDE_V1.fullmatch(path) and path not in _other_paths():
                yield page.at(code.line, f"`{code.text}`: there is no {path}")


def files(page: Page) -> Iterator[str]:
    """Paths of the repository in inline code and in commands."""
    named = [(code.line, word) for code in page.spans for word in [code.text] if " " not in word]
    named += [(command.line, word) for command in page.commands for word in command.words[1:]]
    for line, word in named:
        if _FILE.fullmatch(word) is None:
            continue
        if "/" in word and word.split("/")[0] in _FOLDERS:
            pattern = re.sub(r"<[^>]*>|\{[^}]*\}", "*", word.rstrip("/"))
            if not any(True for _ in ROOT.glob(pattern)):
                yield page.at(line, f"`{word}` does not exist")
        elif re.fullmatch(r"[\w-]+\.(?:py|md)", word) and word not in _file_names():
            yield page.at(line, f"`{word}`: no file has this name")


def links(page: Page) -> Iterator[str]:
    """Targets of relative links, with their headings."""
    for line, target in page.links:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page.name).parent / path if path else ROOT / page.name
        if not file.exists():
            yield page.at(line, f"the link to {target} leads nowhere")
        elif anchor and file.suffix == ".md":
            other = page if not path else Page.read(file.resolve())
            if anchor not in other.anchors:
                yield page.at(line, f"the link to {target}: {other.name} has no such heading")


def sdk(page: Page) -> Iterator[str]:
    """Attributes of the client: in code, and in tables with a row for each namespace."""
    for code in page.code:
        if code.language not in (None, "python"):
            continue
        for path in re.findall(r"(?<![\w./])client((?:\.[a-z]\w*)+)", code.text):
            if not _has(path.strip(".").split(".")[:2]):
                yield page.at(code.line, f"client{path} does not exist")
    for namespace, methods in re.findall(r"^\| `client(?:\.(\w+))?` \| (.*) \|$", page.text, re.MULTILINE):
        for method in re.findall(r"`(\w+)`", methods):
            if not _has([*filter(None, [namespace]), method]):
                yield f"{page.name}: client.{namespace}.{method} does not exist"


CHECKS: Final[tuple[Callable[[Page], Iterator[str]], ...]] = (
    makefile, client_commands, modules, options, settings, metrics, endpoints, files, links, sdk,
)  # fmt: skip


def server_entry() -> Callable[[], Any] | None:
    """The function behind ``preceptor-server``; None while there is no such command."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("scripts", {})
    if "preceptor-server" not in scripts:
        return None
    module, _, name = scripts["preceptor-server"].partition(":")
    return getattr(importlib.import_module(module), name)


def _of(page: Page, program: str) -> Iterator[Command]:
    for command in page.commands:
        if command.words[0].rpartition("/")[2] == program:
            yield command
        elif (
            command.words[:2] == ("docker", "compose") and program in command.words
        ):  # `run --entrypoint PROGRAM SERVICE`
            at = command.words.index(program)
            yield Command(command.line, (program, *command.words[at + 2 :]))


def _name_of(word: str) -> str:
    return word.partition("=")[0]


@cache
def _tree() -> Any:
    return typer.main.get_command(command_line)


def _options(node: Any) -> Iterator[str]:
    for parameter in node.params:
        yield from (name for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("-"))


def _walk(node: Any) -> Iterator[str]:
    yield from _options(node)
    for command in getattr(node, "commands", {}).values():
        yield from _walk(command)


@cache
def _server_help(entry: Callable[[], Any], words: tuple[str, ...]) -> tuple[int, str]:
    """Exit status and text of ``preceptor-server WORDS --help``, for typer and argparse alike."""
    shown = io.StringIO()
    status: Any = 0
    with (
        mock.patch.object(sys, "argv", ["preceptor-server", *(word for word in words if word != "--help"), "--help"]),
        mock.patch.dict("os.environ", {"COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb"}),
        contextlib.redirect_stdout(shown),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        try:
            status = entry() or 0
        except SystemExit as ended:
            status = ended.code or 0
    return int(status), shown.getvalue()


@cache
def _module(name: str) -> list[Path] | None:
    """The files of a module that ``python -m`` can run."""
    path = ROOT.joinpath(*name.split("."))
    if (path / "__main__.py").is_file():
        return sorted(path.glob("*.py"))
    return [path.with_suffix(".py")] if path.with_suffix(".py").is_file() else None


@cache
def _known_options() -> set[str]:
    docker = {"--build", "--build-arg", "--no-deps", "--scale", "--secret", "--volumes", "--wait", "--entrypoint"}
    ours = {
        option
        for folder in _FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        for option in re.findall(r"\"(--[a-z][a-z-]+)(?:/--[a-z-]+)?\"", path.read_text(encoding="utf-8"))
    }
    return docker | ours | set(_walk(_tree()))


@cache
def _known_settings() -> set[str]:
    named = {name for key, field in Settings.model_fields.items() for name in variables(key, field)}
    for folder in ("clients", "service", "worker", "deploy"):
        for path in (ROOT / folder).rglob("*.py"):
            named |= set(re.findall(r"[\"'](PRECEPTOR_[A-Z0-9_]+)[\"']", path.read_text(encoding="utf-8")))
    return named


@cache
def _application() -> Any:
    return create_app(Settings(redis_url=None))


@cache
def _operations() -> list[tuple[str, list[str], set[str]]]:
    """Method, path segments and query parameters of every operation."""
    document = _application().openapi()
    found: list[tuple[str, list[str], set[str]]] = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            names = {entry["name"] for entry in operation.get("parameters", []) if entry["in"] == "query"}
            found.append((method.upper(), path.strip("/").split("/"), names))
    return found


@cache
def _other_paths() -> set[str]:
    listed = {path for route in _application().routes if (path := getattr(route, "path", None))}
    return listed | set(_application().openapi()["paths"]) | {_application().openapi_url}


def _operation(method: str | None, address: str) -> bool:
    """Whether an operation has this method, path and these query parameters."""
    path, _, query = address.rstrip("/.").partition("?")
    wanted = path.strip("/").split("/")
    asked = {name for name, _ in parse_qsl(query, keep_blank_values=True)}

    def same(segment: str, template: str) -> bool:
        return template.startswith("{") or segment == template or bool(_PLACEHOLDER.search(segment))

    return any(
        len(segments) == len(wanted)
        and all(map(same, wanted, segments))
        and (method is None or method in (verb, "HEAD"))
        and asked <= names
        for verb, segments, names in _operations()
    )


def _curl(command: Command) -> tuple[str, str]:
    """Method and address of a call of curl."""
    words = list(command.words)
    method = "GET"
    if any(re.fullmatch(r"-d|--data\S*|--json", word) for word in words):
        method = "POST"
    for at, word in enumerate(words):
        if re.fullmatch(r"-\w*T|--upload-file", word):
            method = "PUT"
        if word in ("-X", "--request"):
            return words[at + 1], next((word for word in words if "/v1/" in word), "")
    return method, next((word for word in words if "/v1/" in word), "")


@cache
def _file_names() -> set[str]:
    below = {path.name for folder in _FOLDERS for path in (ROOT / folder).rglob("*.*")}
    return below | {path.name for path in ROOT.iterdir()}


@cache
def _client() -> Client:
    return Client("http://127.0.0.1:9")


def _has(path: list[str]) -> bool:
    """Whether the client has this attribute."""
    found: Any = _client()
    for name in path:
        if not hasattr(found, name):
            return False
        found = getattr(found, name)
    return True
