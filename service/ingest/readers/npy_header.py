"""The header of a `.npy`: read and judged before a byte of the array, so that no claim is believed."""

from dataclasses import dataclass
from math import prod
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from service.core.errors import InvalidProbe, UnsupportedType


@dataclass(frozen=True)
class Header:
    """What an array's header says.

    Attributes
    ----------
    offset
        Where the data begin.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one item."""
        return self.dtype.itemsize * prod(self.shape[1:])

    @property
    def data_bytes(self) -> int:
        """Bytes of all items."""
        return self.dtype.itemsize * prod(self.shape)


def read_header(file: IO[bytes], name: str, size: int) -> Header:
    """The header of a numpy array in a stream, which then stands at its data.

    Parameters
    ----------
    size
        Bytes of the whole stream; the array must fill it.

    Raises
    ------
    InvalidProbe
        It is none, cut off, or in Fortran order.
    UnsupportedType
        It holds pickled objects.
    """
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except Exception as error:  # numpy evaluates a literal here, and that fails in many ways
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        if " object at 0x" in reason:  # of Python's parser, which means an expression where a value should be
            reason = "its header is not a plain description of a type and a shape"
        raise InvalidProbe(f"{name!r} is not a readable numpy array: {reason}") from error
    if dtype.hasobject:
        raise UnsupportedType(
            f"{name!r} holds Python objects, which would have to be unpickled, and no pickle is ever loaded. Save "
            "plain numbers or strings, as in numpy.asarray(texts, dtype=str)"
        )
    if any(side < 0 for side in shape):
        raise InvalidProbe(f"{name!r} is not a readable numpy array: its shape is {shape}")
    if fortran and len(shape) > 1:
        raise InvalidProbe(f"{name!r} is in Fortran order; save numpy.ascontiguousarray({name})")
    header = Header(name, tuple(int(side) for side in shape), dtype, file.tell())
    if header.data_bytes != size - header.offset:
        raise InvalidProbe(
            f"{name!r} should have {header.data_bytes:,} bytes of data ({dtype} {shape}) and has "
            f"{size - header.offset:,}: the file is cut off or damaged. Save it again"
        )
    return header
