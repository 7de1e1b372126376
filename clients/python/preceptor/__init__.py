"""Python SDK of Preceptor: rank a zoo of pre-trained classifiers for a new task, and distil the best of them.

Names are loaded when they are first used: the service and the worker import `preceptor.contract` and must not
pay for an HTTP client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .client import AsyncClient as AsyncClient, Client as Client
    from .core.files.class_names import LabelFile as LabelFile
    from .core.files.teacher_folder import TeacherFolder as TeacherFolder
    from .core.files.transfer import Transfer as Transfer
    from .errors import (
        AuthenticationError as AuthenticationError,
        ConflictError as ConflictError,
        DigestMismatchError as DigestMismatchError,
        IdempotencyMismatchError as IdempotencyMismatchError,
        InvalidRequestError as InvalidRequestError,
        JobCanceledError as JobCanceledError,
        JobFailedError as JobFailedError,
        LabelFileError as LabelFileError,
        LocalFileError as LocalFileError,
        MalformedRequestError as MalformedRequestError,
        NotFoundError as NotFoundError,
        PermissionDeniedError as PermissionDeniedError,
        PreceptorError as PreceptorError,
        PreconditionFailedError as PreconditionFailedError,
        QueueFullError as QueueFullError,
        RangeNotSatisfiableError as RangeNotSatisfiableError,
        ServerError as ServerError,
        ServiceUnreachableError as ServiceUnreachableError,
        StatusError as StatusError,
        StoreFullError as StoreFullError,
        TeacherFolderError as TeacherFolderError,
        TeacherRejectedError as TeacherRejectedError,
        TextFileError as TextFileError,
        TooLargeError as TooLargeError,
        UnavailableError as UnavailableError,
        UnexpectedAnswerError as UnexpectedAnswerError,
        UnsupportedTypeError as UnsupportedTypeError,
        WaitTimeoutError as WaitTimeoutError,
    )
    from .resources.jobs import (
        AsyncDistillationJob as AsyncDistillationJob,
        AsyncRecommendationJob as AsyncRecommendationJob,
        AsyncValidationJob as AsyncValidationJob,
        DistillationJob as DistillationJob,
        RecommendationJob as RecommendationJob,
        ValidationJob as ValidationJob,
    )

_HOMES: Final = {
    "AsyncClient": "client",
    "AsyncDistillationJob": "resources.jobs",
    "AsyncRecommendationJob": "resources.jobs",
    "AsyncValidationJob": "resources.jobs",
    "Client": "client",
    "DistillationJob": "resources.jobs",
    "LabelFile": "core.files.class_names",
    "RecommendationJob": "resources.jobs",
    "TeacherFolder": "core.files.teacher_folder",
    "Transfer": "core.files.transfer",
    "ValidationJob": "resources.jobs",
    **dict.fromkeys(
        (
            "AuthenticationError",
            "ConflictError",
            "DigestMismatchError",
            "IdempotencyMismatchError",
            "InvalidRequestError",
            "JobCanceledError",
            "JobFailedError",
            "LabelFileError",
            "LocalFileError",
            "MalformedRequestError",
            "NotFoundError",
            "PermissionDeniedError",
            "PreceptorError",
            "PreconditionFailedError",
            "QueueFullError",
            "RangeNotSatisfiableError",
            "ServerError",
            "ServiceUnreachableError",
            "StatusError",
            "StoreFullError",
            "TeacherFolderError",
            "TeacherRejectedError",
            "TextFileError",
            "TooLargeError",
            "UnavailableError",
            "UnexpectedAnswerError",
            "UnsupportedTypeError",
            "WaitTimeoutError",
        ),
        "errors",
    ),
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("preceptor")
    if (home := _HOMES.get(name)) is None:
        raise AttributeError(f"module 'preceptor' has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_HOMES, "__version__"]
