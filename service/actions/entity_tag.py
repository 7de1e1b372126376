"""Strong entity tags."""

import hashlib


def entity_tag(body: bytes) -> str:
    """The entity tag of a document with this body, quoted as HTTP wants it."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'
