"""The deployment files as their readers see them."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.configuration import variables
from service.core.settings import Settings

ROOT = Path(__file__).parents[3]


class Dockerfile:
    """Instructions of a Dockerfile, by stage."""

    def __init__(self, text: str) -> None:
        self.text = text
        joined = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
        self.arguments: dict[str, str] = {}
        self.parents: dict[str, str] = {}
        self.stages: dict[str, list[tuple[str, str]]] = {}
        stage = ""
        for line in filter(None, map(str.strip, joined.splitlines())):
            word, rest = line.split(None, 1)
            if word == "FROM":
                match = re.fullmatch(r"(\S+) AS (\S+)", rest)
                assert match, f"a stage without a name: {line}"
                parent, stage = match.groups()
                self.parents[stage] = parent
                self.stages[stage] = []
            else:
                if word == "ARG":
                    name, _, value = rest.partition("=")
                    self.arguments.setdefault(name, value)
                if stage:
                    self.stages[stage].append((word, rest))

    def lineage(self, stage: str) -> list[tuple[str, str]]:
        """All instructions that shape a stage's image, those of its parents first."""
        parent = self.parents[stage]
        return (self.lineage(parent) if parent in self.stages else []) + self.stages[stage]

    def environment(self, stage: str) -> dict[str, str]:
        """The variables that a container of this stage has."""
        found: dict[str, str] = {}
        for word, rest in self.lineage(stage):
            if word == "ENV":
                found.update(re.findall(r"(\w+)=(\S+)", rest))
        return found

    def last(self, stage: str, word: str) -> str:
        """The instruction of this kind that is in force."""
        found = [rest for name, rest in self.lineage(stage) if name == word]
        assert found, f"{stage} has no {word}"
        return found[-1]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def dockerfile() -> Dockerfile:
    return Dockerfile((ROOT / "Dockerfile").read_text())


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="session")
def gpu_override() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text())


@pytest.fixture(scope="session")
def setting_names() -> set[str]:
    return {variable for name, field in Settings.model_fields.items() for variable in variables(name, field)}
