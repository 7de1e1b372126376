"""How far an upload may expand: what a few kilobytes turn into gigabytes is no sample of anything."""

from typing import Final

MAX_RATIO: Final = 200
"""Texts reach 10, pictures 1; deflate cannot pass 1032, and a table may name one value as often as it likes."""
_FREE_BYTES: Final = 2**26


def expands_too_far(uploaded: int, expanded: int) -> bool:
    """Whether no honest upload of so many bytes turns into so many."""
    return expanded > _FREE_BYTES and expanded > MAX_RATIO * uploaded
