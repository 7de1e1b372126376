"""What every command has at hand: the client, the two streams, and `--json`, `--url`, `--api-key`."""

import functools
import inspect
import json
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Annotated, Any, Concatenate, ParamSpec

import typer
from pydantic import BaseModel
from rich.console import Console

from ..client import Client
from ..display import TransferDisplay, stderr_console
from ..text import plain

P = ParamSpec("P")

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.")]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="The service; default PRECEPTOR_URL.", show_default=False),
]
KeyOption = Annotated[
    str | None,
    typer.Option("--api-key", metavar="KEY", help="Default PRECEPTOR_API_KEY.", show_default=False),
]
_RETRIES = 3
"""Fewer than the SDK's own: someone sits there and waits (about 3 s where nothing listens)."""
_WIDE = 160
"""Columns of a table that goes to a file or a pipe, where no terminal limits it."""


class Session:
    """One run of one command."""

    def __init__(self, url: str | None, api_key: str | None, as_json: bool) -> None:
        self.as_json = as_json
        self._url = url
        self._api_key = api_key
        self._client: Client | None = None
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]
        self.out = Console(file=sys.stdout, markup=False, emoji=False, highlight=False)
        if not self.out.is_terminal:
            self.out.width = max(_WIDE, self.out.width)
        self.err = stderr_console()

    @property
    def client(self) -> Client:
        """The SDK's client, made when it is first needed."""
        if self._client is None:
            self._client = Client(self._url, self._api_key, max_retries=_RETRIES)
        return self._client

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()

    def emit(self, value: BaseModel | Iterable[BaseModel] | dict[str, Any]) -> None:
        """Print a value as JSON on stdout."""
        self._write(_jsonable(value), indent=2)

    def emit_line(self, value: BaseModel) -> None:
        """Print a value as one line of JSON on stdout, at once."""
        self._write(_jsonable(value), indent=None)
        sys.stdout.flush()

    def _write(self, value: Any, indent: int | None) -> None:
        unicode = (sys.stdout.encoding or "ascii").lower().startswith("utf")
        sys.stdout.write(json.dumps(value, indent=indent, ensure_ascii=not unicode) + "\n")

    def note(self, text: str) -> None:
        """Say something to the person, on stderr."""
        self.err.print(plain(text))

    @contextmanager
    def transfers(self, verb: str) -> Generator[TransferDisplay]:
        """Progress of uploads or downloads."""
        with TransferDisplay(verb, self.err) as display:
            yield display


def _jsonable(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return value
    return [item.model_dump(mode="json") for item in value]


def command(group: typer.Typer, name: str) -> Callable[[Callable[Concatenate[Session, P], None]], Any]:
    """Register a function as a command; it receives a Session in place of the three options that all share."""

    def register(function: Callable[Concatenate[Session, P], None]) -> Any:
        @functools.wraps(function)
        def run(context: typer.Context, *, as_json: bool, url: str | None, api_key: str | None, **values: Any) -> None:
            shared = context.find_root().obj or {}
            session = Session(
                url or shared.get("url"), api_key or shared.get("api_key"), as_json or bool(shared.get("as_json"))
            )
            context.find_root().meta["as_json"] = session.as_json
            try:
                function(session, **values)  # pyright: ignore[reportCallIssue]
            finally:
                session.close()

        keyword = inspect.Parameter.KEYWORD_ONLY
        own = [
            parameter.replace(kind=keyword) for parameter in list(inspect.signature(function).parameters.values())[1:]
        ]
        shared = [
            inspect.Parameter("as_json", keyword, default=False, annotation=JsonOption),
            inspect.Parameter("url", keyword, default=None, annotation=UrlOption),
            inspect.Parameter("api_key", keyword, default=None, annotation=KeyOption),
        ]
        context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        signature = inspect.Signature([context, *own, *shared])
        run.__signature__ = signature  # pyright: ignore[reportAttributeAccessIssue]
        run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        del run.__wrapped__  # or typer would read the inner signature
        return group.command(name)(run)

    return register


def new_group(help: str) -> typer.Typer:
    """A command group."""
    return typer.Typer(help=help, no_args_is_help=True, pretty_exceptions_enable=False)
