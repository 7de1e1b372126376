"""The command line `preceptor`: one module a command group, each a thin skin over the SDK."""

from .root import app

__all__ = ["app"]
