"""Reads Markdown pages: code, shell commands and links, with the lines that they stand on."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
_FENCE: Final = re.compile(r"^( *)(```+)([^\n`]*)\n(.*?)^ *\2 *$", re.DOTALL | re.MULTILINE)
_SPAN: Final = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#{1,6} +(.*?) *#*$", re.MULTILINE)
_COMMENT: Final = re.compile(r"(?m)(?:^|(?<=\s))#.*$")
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=")
_SEPARATORS: Final = "();<>|&\n"
_SHELL: Final = ("sh", "bash", "console", "")


@dataclass(frozen=True)
class Code:
    """A code block or an inline code span."""

    line: int
    text: str
    language: str | None
    """Of a block, possibly empty; None for a span."""

    @property
    def shell(self) -> bool:
        """Whether it is a block of shell commands."""
        return self.language is not None and self.language in _SHELL


@dataclass(frozen=True)
class Command:
    """One shell command: its words without the variables that are set in front of it."""

    line: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.words)


@dataclass(frozen=True)
class Page:
    """One Markdown page."""

    name: str
    text: str

    @classmethod
    def read(cls, path: Path) -> "Page":
        """The page in a file below the repository's root."""
        return cls(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))

    def at(self, line: int, what: str) -> str:
        """A finding, as the tests print it."""
        return f"{self.name}:{line}: {what}"

    @cached_property
    def code(self) -> list[Code]:
        """All code, blocks first."""
        blocks = [
            Code(self._line(found.start(4)), found[4], found[3].split(" ")[0].strip())
            for found in _FENCE.finditer(self.text)
        ]
        spans = [
            Code(self._line(found.start()), " ".join(found[2].split()), None) for found in _SPAN.finditer(self.prose)
        ]
        return blocks + spans

    @cached_property
    def spans(self) -> list[Code]:
        """Inline code."""
        return [code for code in self.code if code.language is None]

    @cached_property
    def prose(self) -> str:
        """The page with empty lines in place of its blocks."""
        return _FENCE.sub(lambda found: "\n" * found[0].count("\n"), self.text)

    @cached_property
    def commands(self) -> list[Command]:
        """Commands of all shell blocks, and inline code read as one command."""
        return [Command(code.line, words) for code in self.code if code.shell for words in statements(code.text)] + [
            Command(code.line, words) for code in self.spans for words in statements(code.text)
        ]

    @cached_property
    def links(self) -> list[tuple[int, str]]:
        """Line and target of every link."""
        return [(self._line(found.start()), found[1]) for found in _LINK.finditer(self.prose)]

    @cached_property
    def anchors(self) -> set[str]:
        """Names of the headings, as GitHub makes them."""
        return {
            re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")
            for heading in _HEADING.findall(self.prose)
        }

    def _line(self, position: int) -> int:
        return self.text.count("\n", 0, position) + 1


def pages() -> list[Page]:
    """The pages that describe this version: README, the pages beside it, docs. CHANGELOG names what is gone, too."""
    beside = [ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md")]
    return [Page.read(path) for path in (*beside, *sorted((ROOT / "docs").rglob("*.md"))) if path.is_file()]


def statements(text: str) -> Iterator[tuple[str, ...]]:
    """The simple commands of a shell text: pipelines, lists and substitutions are taken apart."""
    lexer = shlex.shlex(_COMMENT.sub("", text.replace("\\\n", " ")), posix=True, punctuation_chars=_SEPARATORS)
    lexer.whitespace_split = True
    lexer.whitespace = " \t\r"
    lexer.commenters = ""
    words: list[str] = []
    try:
        tokens = list(lexer)
    except ValueError:  # Prose with an apostrophe, not a command.
        return
    for token in [*tokens, "\n"]:
        if set(token) <= set(_SEPARATORS):
            if words:
                yield tuple(words)
            words = []
        elif words or not (token in ("export", "sudo", "exec", "do", "then", "else", "$") or _ASSIGNMENT.match(token)):
            words.append(token)
