"""Tokens where an issuer is set, and nothing where none is: the library is imported only in the first case."""

from typing import TYPE_CHECKING

from service.core.settings import Settings

if TYPE_CHECKING:
    from .tokens import Tokens


class LibraryMissing(Exception):
    """An issuer is set, but the extra is not installed; the message says what to do."""


def tokens_of(settings: Settings) -> "Tokens | None":
    """What checks tokens; None where no issuer is set.

    Raises
    ------
    LibraryMissing
    """
    if settings.oidc_issuer is None:
        return None
    try:
        import cryptography  # noqa: F401  The library loads without it, and then knows no algorithm that we take.

        from .tokens import Tokens
    except ImportError as error:
        if error.name not in ("jwt", "cryptography"):
            raise
        raise LibraryMissing(
            "PRECEPTOR_OIDC_ISSUER is set, but what checks tokens is not installed: pip install "
            "'preceptor-server[oidc]', or unset it"
        ) from error
    return Tokens(settings)


def looks_like_token(text: str) -> bool:
    """Whether a bearer is meant to be a JSON Web Token: API keys have one dot, signed tokens two, encrypted four."""
    return text.count(".") >= 2
