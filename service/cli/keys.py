"""`preceptor-server keys`: create, list, rotate and revoke API keys. The service need not run."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NoReturn
from urllib.parse import unquote, urlparse

import typer

from service.core.api_keys import ApiKey, ApiKeys, InvalidKey
from service.core.errors import PreceptorError
from service.core.observability.logging_config import visible
from service.core.private_files import close_to_others
from service.core.storage.object_store import Store

from .configuration import settings_from
from .exit import leave

_LEAST_DAYS: Final = 0.001
_MOST_DAYS: Final = 36_500
_MOST_HOURS: Final = 24 * _MOST_DAYS

group = typer.Typer(
    name="keys",
    help="Create, list, rotate and revoke API keys. The service need not run; it reads a change within seconds.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the key, as `keys list` shows it: key_...")]


def create(
    name: Annotated[str, typer.Option(help="Whose key it is, for the list and the logs.")],
    scope: Annotated[
        Literal["read", "write", "admin"], typer.Option(help="What it allows; each includes those before it.")
    ] = "write",
    days: Annotated[
        float | None, typer.Option(help="Lifetime in days; unlimited without this option.", show_default=False)
    ] = None,
    max_jobs: Annotated[int, typer.Option(min=0, help="Most unfinished jobs at once; 0 for no limit.")] = 0,
) -> None:
    """Create a key. It goes to stdout and is shown this once."""
    # `nan` compares false with everything.
    if days is not None and not _LEAST_DAYS <= days <= _MOST_DAYS:
        raise typer.BadParameter(f"--days is {days:g}; give {_LEAST_DAYS} (about 90 seconds) to {_MOST_DAYS:,}")

    async def act(keys: ApiKeys) -> int:
        lifetime = None if days is None else timedelta(days=days)
        try:
            _show(*await keys.mint(name, scope, lifetime=lifetime, max_jobs=max_jobs))
        except InvalidKey as error:
            print(f"Error: {error}", file=sys.stderr)
            return 2
        return 0

    _run(act)


group.command("create")(create)
group.command("mint", hidden=True)(create)  # Its name in earlier releases.


@group.command("list")
def show_all() -> None:
    """List all keys, without their secrets."""

    async def act(keys: ApiKeys) -> int:
        for key in sorted([key async for key in keys.all()], key=lambda key: key.id):
            print(_line(key))
        return 0

    _run(act)


@group.command()
def rotate(
    id: IdArgument,
    grace_hours: Annotated[float, typer.Option(help="How long the old key stays valid, in hours.")] = 24.0,
) -> None:
    """Create a key in the place of another, which stays valid for a while."""
    if not 0 <= grace_hours <= _MOST_HOURS:
        raise typer.BadParameter(f"--grace-hours is {grace_hours:g}; give 0 to {_MOST_HOURS:,}")

    async def act(keys: ApiKeys) -> int:
        try:
            made = await keys.rotate(id, timedelta(hours=grace_hours))
        except InvalidKey as error:
            print(f"Error: {error}", file=sys.stderr)
            return 1
        if made is None:
            return _unknown(id)
        print(f"{id} stays valid for {grace_hours:g} hours", file=sys.stderr)
        _show(*made)
        return 0

    _run(act)


@group.command()
def revoke(id: IdArgument) -> None:
    """End a key. The service rejects it within seconds."""

    async def act(keys: ApiKeys) -> int:
        if not await keys.revoke(id):
            return _unknown(id)
        print(f"{id} is revoked")
        return 0

    _run(act)


def _run(act: Callable[[ApiKeys], Coroutine[Any, Any, int]]) -> NoReturn:
    """Do something with the keys, and end this process with its status."""
    settings = settings_from()
    if owner := _other_owner(settings.store_url):
        print(
            f"The store belongs to user {owner}, who could not read a key that root has written. Run this command as "
            f"that user, for example with `setpriv --reuid {owner}`, or by `docker compose run`",
            file=sys.stderr,
        )
        leave(1)
    close_to_others()
    try:
        status = asyncio.run(act(ApiKeys(Store(settings.store_url, settings.data.absolute() / "scratch"))))
    except PreceptorError as error:
        print(f"Error: {error}", file=sys.stderr)
        status = 1
    leave(status)


def _show(key: ApiKey, text: str) -> None:
    print(_line(key), file=sys.stderr)
    print("The key, shown this once:", file=sys.stderr)
    print(text)


def _other_owner(store: str) -> int | None:
    """User id of a folder store's owner, if that is not root and this process runs as root."""
    parts = urlparse(store)
    if parts.scheme != "file" or os.geteuid() != 0:
        return None
    folder = Path(unquote(parts.path))
    return folder.stat().st_uid or None if folder.is_dir() else None


def _line(key: ApiKey) -> str:
    ends = "never" if key.expires_at is None else key.expires_at.isoformat()
    state = "expired" if key.expired else "valid"
    limit = f", at most {key.max_jobs} jobs" if key.max_jobs else ""
    # A key of an earlier release may have any name.
    return f"{key.id}  {key.scope:5}  {state}, ends {ends}{limit}  {visible(key.name)}"


def _unknown(id: str) -> int:
    print(f"There is no key {visible(id)}. `preceptor-server keys list` shows them", file=sys.stderr)
    return 1


if __name__ == "__main__":
    group(prog_name="preceptor-server keys")
