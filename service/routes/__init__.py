"""One module per REST resource. A route parses, authorises, calls one function and answers.

Every module here that has a `router` is served: a new resource is a new file.
"""

import importlib
import pkgutil
from types import ModuleType
from typing import Final

_FIRST: Final = ("recommendations", "jobs", "distillations", "label_sets", "teachers", "probes", "students")
"""Routes are tried one after the other: what is asked for most comes first."""


def modules() -> list[ModuleType]:
    """The modules whose `router` the application serves, in the order in which they are tried."""
    names = [found.name for found in pkgutil.iter_modules(__path__)]
    names.sort(key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    return [importlib.import_module(f"{__name__}.{name}") for name in names]
