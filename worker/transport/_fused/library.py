"""Finds the compiled library and says which instruction set it uses.

The library is plain C behind ctypes, so building it needs a C compiler and nothing else, and a call leaves the
interpreter lock. Where it was not built, ``available()`` is False and the engine runs on torch and numpy alone.
"""

import ctypes
import functools
import importlib.machinery
import os
from pathlib import Path

_LIBRARY = "loops"


@functools.cache
def library() -> ctypes.CDLL | None:
    """The loaded library, or None."""
    if os.environ.get("PRECEPTOR_FUSED", "1") == "0":
        return None
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(_LIBRARY + suffix)
        if path.exists():
            try:
                return ctypes.CDLL(str(path))
            except OSError:
                # Built for another machine: the torch path serves.
                return None
    return None


@functools.cache
def level() -> int:
    """Instruction set in use: 0 plain, 1 AVX2, 2 AVX-512, -1 without the library.

    The environment variable ``PRECEPTOR_FUSED_LEVEL`` lowers it, for tests.
    """
    loops = library()
    if loops is None:
        return -1
    best = int(loops.preceptor_level())
    return min(best, int(os.environ.get("PRECEPTOR_FUSED_LEVEL", best)))


def available() -> bool:
    """Whether the compiled loops were built and may be used (``PRECEPTOR_FUSED=0`` turns them off)."""
    return library() is not None


def structure(name: str, pointers: str, counts: str, integers: str, numbers: str = "") -> type[ctypes.Structure]:
    """An argument block of fused.c: pointers, then int64, int32 and double fields, in this order."""
    fields = [(field, ctypes.c_void_p) for field in pointers.split()]
    fields += [(field, ctypes.c_int64) for field in counts.split()]
    fields += [(field, ctypes.c_int32) for field in integers.split()]
    fields += [(field, ctypes.c_double) for field in numbers.split()]
    return type(name, (ctypes.Structure,), {"_fields_": fields})
