"""Documents of an index, read in portions: a label set may have megabytes, and a page has up to 200 documents."""

from typing import Any, Final, cast

from redis.commands.core import AsyncScript

from service.core.redis.client import RedisClient, translated

BYTES: Final = 4 * 2**20
"""Of the documents on one page, and of those that are read at once. One document is always read, whatever its size."""

# KEYS: hash of documents. ARGV: bytes, id, ...
_PORTION: Final = """
local found, size = {}, 0
for place = 2, #ARGV do
  local text = redis.call('HGET', KEYS[1], ARGV[place])
  if text then
    size = size + #text
    if place > 2 and size > tonumber(ARGV[1]) then break end
  end
  found[place - 1] = text
end
return found
"""


class Portions:
    """Reads the first documents of a list of ids, as many as fit.

    Parameters
    ----------
    key
        The hash that holds the documents.
    """

    def __init__(self, client: RedisClient, key: str) -> None:
        self._key = key
        self._script: AsyncScript = client.register_script(_PORTION)

    async def first(self, ids: list[str]) -> list[str | None]:
        """The texts of the first of these ids, at least one; None for a document that is not there."""
        if not ids:
            return []
        with translated():
            return cast("list[str | None]", await cast(Any, self._script)(keys=[self._key], args=[BYTES, *ids]))
