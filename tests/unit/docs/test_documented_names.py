"""What README and docs name exists: targets, commands, options, settings, metrics, endpoints, files, links, methods."""

import argparse
from collections.abc import Callable, Iterator

import pytest
import typer

from tests.unit.docs import names
from tests.unit.docs.pages import Page, pages, statements

Check = Callable[[Page], Iterator[str]]


@pytest.mark.parametrize("check", names.CHECKS, ids=lambda check: check.__name__)
def test_everything_that_is_named_exists(check: Check) -> None:
    assert [finding for page in pages() for finding in check(page)] == []


def test_every_server_command_exists() -> None:
    if names.server_entry() is None:
        pytest.skip("pyproject.toml has no command preceptor-server yet")
    assert [finding for page in pages() for finding in names.server_commands(page)] == []


def test_something_of_each_kind_is_found() -> None:
    """The checks read the pages: without commands, requests and links they would pass, too."""
    programs = {command.words[0] for page in pages() for command in page.commands}
    assert {"make", "preceptor", "preceptor-server", "curl", "python", "docker"} <= programs
    assert {page.name for page in pages()} >= {"README.md", "SECURITY.md", "docs/cli.md", "docs/research/ranking.md"}
    assert sum(len(page.links) for page in pages()) > 50
    assert sum(len(page.spans) for page in pages()) > 500


@pytest.mark.parametrize(
    ("check", "text", "finding"),
    [
        (names.makefile, "`make nothing`", "no target nothing"),
        (names.makefile, "```sh\nFAST=1 make fuzz HOURS=3\n```", "no variable HOURS"),
        (names.client_commands, "`preceptor fly`", "no command 'fly'"),
        (names.client_commands, "```sh\nx=$(preceptor teachers add a --colour red | jq .)\n```", "no option --colour"),
        (names.client_commands, "```sh\npreceptor distill --data a \\\n    --tests b\n```", "no option --tests"),
        (names.modules, "`python -m tests.nothing`", "no module tests.nothing"),
        (names.modules, "`python -m tests.fuzz --hours 3`", "no option --hours"),
        (names.options, "Give `--colour red`.", "no command has the option --colour"),
        (names.settings, "PRECEPTOR_COLOUR is red", "PRECEPTOR_COLOUR is not read"),
        (names.metrics, "`preceptor_colours_total{kind}`", "no metric preceptor_colours_total"),
        (names.endpoints, "`GET /v1/colours`", "no GET /v1/colours"),
        (names.endpoints, "`PUT /v1/recommendations`", "no PUT /v1/recommendations"),
        (names.endpoints, "```sh\ncurl -X DELETE http://127.0.0.1:8321/v1/jobs/$JOB\n```", "no DELETE"),
        (names.endpoints, "```sh\ncurl -T a http://127.0.0.1:8321/v1/probes?filename=a\n```", "no PUT"),
        (names.endpoints, "```sh\ncurl --data-binary @a 'http://127.0.0.1:8321/v1/probes?colour=a'\n```", "no POST"),
        (names.endpoints, "Send `?colour=red`.", "parameter colour"),
        (names.endpoints, "`/health/dead`", "no /health/dead"),
        (names.files, "`service/nothing.py`", "does not exist"),
        (names.files, "`nothing_at_all.py`", "no file has this name"),
        (names.files, "```sh\npython docs/research/nothing.py\n```", "does not exist"),
        (names.links, "[a](docs/nothing.md)", "leads nowhere"),
        (names.links, "# One\n[a](#two)", "no such heading"),
        (names.links, "[a](docs/cli.md#nothing)", "docs/cli.md has no such heading"),
        (names.sdk, "`client.teachers.fly()`", "client.teachers.fly does not exist"),
        (names.sdk, "| `client.teachers` | `add` `fly` |", "client.teachers.fly does not exist"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_does_not_exist_is_found(check: Check, text: str, finding: str) -> None:
    (found,) = check(Page("README.md", text))
    assert finding in found


def _server_with_typer() -> None:
    server, keys = typer.Typer(), typer.Typer()
    server.add_typer(keys, name="keys")

    @server.command()
    def worker(lane: str = "recommend") -> None: ...

    @keys.command()
    def create(name: str = "", scope: str = "write") -> None: ...

    server()


def _server_with_argparse() -> None:
    server = argparse.ArgumentParser()
    commands = server.add_subparsers(required=True)
    commands.add_parser("worker").add_argument("--lane")
    create = commands.add_parser("keys").add_subparsers(required=True).add_parser("create")
    create.add_argument("--name", required=True)
    create.add_argument("--scope")
    server.parse_args()


@pytest.mark.parametrize("server", [_server_with_typer, _server_with_argparse])
def test_server_commands_are_read_from_their_help(server: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "server_entry", lambda: server)
    text = """
`preceptor-server worker --lane recommend` and `preceptor-server keys create --name ci --scope write`

```sh
preceptor-server fly
preceptor-server keys create --colour red
docker compose run --rm --entrypoint preceptor-server service keys create --name a
docker compose run --rm --entrypoint preceptor-server service keys mint
```
"""
    found = list(names.server_commands(Page("README.md", text)))
    assert [finding.split("`")[1] for finding in found] == [
        "preceptor-server fly",
        "preceptor-server keys create --colour red",
        "preceptor-server keys mint",
    ]


def test_shell_text_is_taken_apart() -> None:
    text = "export A=b\nid=$(curl -s x -d '{\"a\": 1}' | python3 -c 'import json') # no\nfor f in a; do make up; done"
    found = [" ".join(words) for words in statements(text)]
    assert found[:2] == ['curl -s x -d {"a": 1}', "python3 -c import json"]
    assert "make up" in found
