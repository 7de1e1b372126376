"""Token support, if an issuer is set. The token library is imported only in that case."""

from typing import TYPE_CHECKING

from service.core.settings import Settings

if TYPE_CHECKING:
    from .tokens import Tokens


class LibraryMissing(Exception):
    """An issuer is set, but the extra is not installed; the message states what to do."""


def tokens_of(settings: Settings) -> "Tokens | None":
    """The token checker; None if no issuer is set.

    Raises
    ------
    LibraryMissing
    """
    if settings.oidc_issuer is None:
        return None
    try:
        import cryptography  # noqa: F401  The token library loads without it, but then supports none of our algorithms.

        from .tokens import Tokens
    except ImportError as error:
        if error.name not in ("jwt", "cryptography"):
            raise
        raise LibraryMissing(
            "PRECEPTOR_OIDC_ISSUER is set, but the token library is not installed: pip install "
            "'preceptor-server[oidc]', or unset it"
        ) from error
    return Tokens(settings)


def looks_like_token(text: str) -> bool:
    """Whether a bearer credential is a JSON Web Token: API keys have one dot, signed tokens two, encrypted four."""
    return text.count(".") >= 2
