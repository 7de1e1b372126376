"""Objects of the store that cannot be read: a host that lost power leaves files that are empty or cut short.

One of them must not keep the others from being found: it is passed over, and the log names it.
"""

from typing import TypeVar

import structlog
from pydantic import BaseModel, ValidationError

ModelT = TypeVar("ModelT", bound=BaseModel)
log = structlog.stdlib.get_logger(__name__)


def readable(model: type[ModelT], key: str, text: bytes | None) -> ModelT | None:
    """A stored document; None where there is none, or none that can be read.

    Parameters
    ----------
    key
        Of the object, for the log.
    """
    if text is None:
        return None
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        log.error(
            "an object of the store cannot be read and is passed over; restore it from a backup",
            key=key, size=len(text), errors=error.error_count(),
        )  # fmt: skip
        return None
