"""The rooms: no circle of imports, a docstring at every door, folders that can be read at a glance."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[3]
ROOMS = (ROOT / "service", ROOT / "worker", ROOT / "clients/python/preceptor")
MOST_FILES = 16
"""Modules of one folder. The estimators are siblings of one kind: their folder may hold more."""
SIBLINGS = {"worker/ranking/estimators", "clients/python/preceptor/contract", "clients/python/preceptor/cli"}


def folders() -> list[Path]:
    return sorted({file.parent for room in ROOMS for file in room.rglob("*.py")})


def circle(imports: dict[str, set[str]]) -> list[str]:
    """One circle of modules that import each other, or nothing."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert sorted(set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}))) == ["a", "b", "c"]


def test_no_modules_import_each_other() -> None:
    graph = grimp.build_graph("preceptor", "service", "worker", exclude_type_checking_imports=True, cache_dir=None)
    modules = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(modules) > 300
    assert circle(modules) == []


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_folder_says_what_lives_in_it(folder: Path) -> None:
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    assert text is not None
    assert len(text) > 30


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_folder_can_be_read_at_a_glance(folder: Path) -> None:
    modules = [file.name for file in folder.glob("*.py") if file.name != "__init__.py"]
    assert len(modules) <= MOST_FILES or str(folder.relative_to(ROOT)) in SIBLINGS
