"""Objects of the store that cannot be read: a host that lost power may leave empty or truncated files.

A damaged object must not hide the others: it is skipped, and the log names it.
"""

from typing import TypeVar

import structlog
from pydantic import BaseModel, ValidationError

ModelT = TypeVar("ModelT", bound=BaseModel)
log = structlog.stdlib.get_logger(__name__)


def readable(model: type[ModelT], key: str, text: bytes | None) -> ModelT | None:
    """A stored document; None if it does not exist or cannot be read.

    Parameters
    ----------
    key
        Key of the object, for the log.
    """
    if text is None:
        return None
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        log.error(
            "an object of the store cannot be read and is skipped; restore it from a backup",
            key=key, size=len(text), errors=error.error_count(),
        )  # fmt: skip
        return None
