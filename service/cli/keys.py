"""`python -m service.cli.keys`: create, list, rotate and revoke API keys. The service need not run."""

import argparse
import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlparse

from service.cli.exit import leave
from service.core.api_keys import SCOPES, ApiKey, ApiKeys
from service.core.private_files import close_to_others
from service.core.settings import Settings
from service.core.storage.object_store import Store


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 where done, 1 where there is no such key, or where the service could not read it."""
    parser = argparse.ArgumentParser(prog="python -m service.cli.keys", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    mint = commands.add_parser("mint", help="make a key; it is shown once")
    mint.add_argument("--name", required=True, help="whose it is, for the list and the logs")
    mint.add_argument("--scope", choices=SCOPES, default="write", help="each includes those before it")
    mint.add_argument("--days", type=float, help="its lifetime; for ever where absent")
    mint.add_argument("--max-jobs", type=int, default=0, help="most unfinished jobs at once; 0 for no limit")
    commands.add_parser("list", help="show all keys, without their secrets")
    rotate = commands.add_parser("rotate", help="make a key in the place of another, which goes on for a while")
    rotate.add_argument("id")
    rotate.add_argument("--grace-hours", type=float, default=24.0, help="how long the old one goes on")
    revoke = commands.add_parser("revoke", help="end a key; the service refuses it within seconds")
    revoke.add_argument("id")
    given = parser.parse_args(arguments)
    settings = Settings()
    if owner := _other_owner(settings.store_url):
        print(
            f"The store belongs to user {owner}, who could not read a key that root has written. Run this command as "
            f"that user, for example with `setpriv --reuid {owner}`, or by `docker compose run`",
            file=sys.stderr,
        )
        return 1
    close_to_others()
    store = Store(settings.store_url, settings.data.absolute() / "scratch")
    return asyncio.run(_do(given, ApiKeys(store)))


async def _do(given: argparse.Namespace, keys: ApiKeys) -> int:
    if given.command == "list":
        for key in sorted([key async for key in keys.all()], key=lambda key: key.id):
            print(_line(key))
        return 0
    if given.command == "revoke":
        if await keys.revoke(given.id):
            print(f"{given.id} is revoked")
            return 0
        return _unknown(given.id)
    if given.command == "mint":
        lifetime = None if given.days is None else timedelta(days=given.days)
        key, text = await keys.mint(given.name, given.scope, lifetime=lifetime, max_jobs=given.max_jobs)
    else:
        made = await keys.rotate(given.id, timedelta(hours=given.grace_hours))
        if made is None:
            return _unknown(given.id)
        key, text = made
        print(f"{given.id} goes on for {given.grace_hours:g} hours", file=sys.stderr)
    print(_line(key), file=sys.stderr)
    print("The key, shown this once:", file=sys.stderr)
    print(text)
    return 0


def _other_owner(store: str) -> int | None:
    """User id of a folder store's owner, where that is not root, as who this runs."""
    parts = urlparse(store)
    if parts.scheme != "file" or os.geteuid() != 0:
        return None
    folder = Path(unquote(parts.path))
    return folder.stat().st_uid or None if folder.is_dir() else None


def _line(key: ApiKey) -> str:
    ends = "never" if key.expires_at is None else key.expires_at.isoformat()
    state = "expired" if key.expired else "valid"
    limit = f", at most {key.max_jobs} jobs" if key.max_jobs else ""
    return f"{key.id}  {key.scope:5}  {state}, ends {ends}{limit}  {key.name}"


def _unknown(id: str) -> int:
    print(f"There is no key {id}. `python -m service.cli.keys list` shows them", file=sys.stderr)
    return 1


if __name__ == "__main__":
    leave(main())
