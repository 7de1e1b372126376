"""What docs/probes.md says is true: its examples run, its limits are the settings', and no error is left out."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import service.core.storage.probe_file
import service.ingest
from service.core.settings import Settings
from service.ingest.columns import FEATURE_COLUMNS, IMAGE_COLUMNS, LABEL_COLUMNS, TEXT_COLUMNS
from service.ingest.readers.formats import READERS

PAGE = (Path(__file__).parents[3] / "docs" / "probes.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"```(python|jsonl|csv) ?(\S*)\n(.*?)```\n\n```json\n(.*?)```", re.DOTALL)
INGEST = Path(service.ingest.__file__).parent
SOURCES = [*sorted(INGEST.rglob("*.py")), Path(service.core.storage.probe_file.__file__)]
STATUS = {"InvalidProbe": "422", "TooLarge": "413", "UnsupportedType": "415"}


@pytest.mark.parametrize("example", EXAMPLE.findall(PAGE), ids=lambda found: found[3][:60])
def test_examples(take: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: tuple[str, ...]) -> None:
    language, name, text, answer = example
    (tmp_path / "made").mkdir()
    monkeypatch.chdir(tmp_path / "made")
    if language == "python":
        exec(compile(text, "docs/probes.md", "exec"), {})
    else:
        Path(name).write_text(text, encoding="utf-8")
    (made,) = (tmp_path / "made").iterdir()
    wanted = json.loads(answer)
    found = take(made.read_bytes(), made.name).description
    assert {key: found[key] for key in wanted} == wanted


def test_every_format_has_an_example() -> None:
    shown = {json.loads(answer).get("format") for *_, answer in EXAMPLE.findall(PAGE)}
    assert shown - {None} == set(READERS)
    for name in (*FEATURE_COLUMNS, *IMAGE_COLUMNS, *LABEL_COLUMNS, *TEXT_COLUMNS):
        assert f"`{name}`" in PAGE


def test_limits() -> None:
    used = {name for path in SOURCES for name in re.findall(r"settings\.(max_\w+)", path.read_text(encoding="utf-8"))}
    rows = dict(re.findall(r"^\| `PRECEPTOR_(MAX_\w+)` \| ([\d,]+(?: [MG]iB)?) \|", PAGE, re.MULTILINE))
    assert set(rows) == {name.upper() for name in used | {"max_probe_bytes"}}
    unit = {"": 1, "MiB": 2**20, "GiB": 2**30}
    for name, value in rows.items():
        number, _, of = value.replace(",", "").partition(" ")
        assert Settings.model_fields[name.lower()].default == int(number) * unit[of], name


def message(node: ast.expr) -> str:
    """The text of an error as the page writes it: `…` for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(message(value) for value in node.values)
    return "…"


def raised() -> Iterator[tuple[str, str]]:
    """Status and text of every error that ingestion raises."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            call = node.exc if isinstance(node, ast.Raise) else None
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in STATUS:
                yield STATUS[call.func.id], message(call.args[0])


def documented() -> Iterator[tuple[str, str]]:
    """Status and part of the text of every error on the page."""
    errors = PAGE.partition("## Errors")[2].partition("### Which format")[2]
    for status, parts in re.findall(r"^\| (\d{3}) \| (.*?) \|", errors, re.MULTILINE):
        for part in parts.split("<br>"):
            yield status, part


def test_every_error_is_on_the_page() -> None:
    page = list(documented())
    missing = [
        (status, text) for status, text in raised() if not any(status == known and part in text for known, part in page)
    ]
    assert len(list(raised())) > 100
    assert missing == []


def test_every_error_on_the_page_is_raised() -> None:
    texts = list(raised())
    stale = [(known, part) for known, part in documented() if not any(known == s and part in text for s, text in texts)]
    assert stale == []
