"""Finds the compiled library and the instruction set that it uses.

The library is plain C called through ctypes: building it needs only a C compiler, and a call releases the interpreter
lock. If it was not built, ``available()`` is False and the engine uses torch and numpy.
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
                # Built for another machine: the torch path is used.
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
    """Whether the compiled loops were built and are enabled (``PRECEPTOR_FUSED=0`` disables them)."""
    return library() is not None


def structure(name: str, pointers: str, counts: str, integers: str, numbers: str = "") -> type[ctypes.Structure]:
    """An argument block of fused.c: pointers, then int64, int32 and double fields, in this order."""
    fields = [(field, ctypes.c_void_p) for field in pointers.split()]
    fields += [(field, ctypes.c_int64) for field in counts.split()]
    fields += [(field, ctypes.c_int32) for field in integers.split()]
    fields += [(field, ctypes.c_double) for field in numbers.split()]
    return type(name, (ctypes.Structure,), {"_fields_": fields})
