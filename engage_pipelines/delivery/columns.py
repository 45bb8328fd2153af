"""Arrow columns from Python values and numpy arrays, and back, over their buffers alone.

Arrow's own conversions do the same, but ask pandas whether it knows the values: that import takes longer than sending ten thousand records.
"""

# pyarrow has no types of its own
# pyright: reportUnknownParameterType=false, reportUnknownMemberType=false
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

Numbers = np.ndarray[Any, np.dtype[np.int64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

_INTEGERS = {np.dtype(np.int32): pa.int32(), np.dtype(np.int64): pa.int64()}


def texts(values: Sequence[str | None]) -> Any:
    """A column of text."""
    return blobs([None if value is None else value.encode() for value in values], pa.string())


def blobs(values: Sequence[bytes | None], kind: Any = None) -> Any:
    """A column of bytes, or of another type that is stored as such."""
    ends = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value or b"") for value in values], out=ends[1:])
    missing = [value is None for value in values]
    valid = _bits(~np.array(missing, np.bool_)) if any(missing) else None
    buffers = [valid, pa.py_buffer(ends), pa.py_buffer(b"".join(value or b"" for value in values))]
    return pa.Array.from_buffers(kind or pa.binary(), len(values), buffers)


def numbers(values: Any) -> Any:
    """A column of whole numbers that shares the array's memory."""
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(_INTEGERS[values.dtype], len(values), [None, pa.py_buffer(values)])


def flags(values: Any) -> Any:
    """A column of true and false."""
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, _bits(np.asarray(values, np.bool_))])


def encoded(codes: Any, values: Sequence[str]) -> Any:
    """A column of few values: for each row the place of its value in the list."""
    return pa.DictionaryArray.from_arrays(numbers(np.asarray(codes, np.int32)), texts(values))


def numbers_of(column: Any) -> Any:
    """The whole numbers of a column; those that are null are anything."""
    kind = np.dtype(str(column.type))
    return np.frombuffer(column.buffers()[1], kind, len(column), column.offset * kind.itemsize) if len(column) else np.zeros(0, kind)


def distinct(values: Numbers) -> list[int]:
    """The different values, in order; most columns that this is asked of hold one alone."""
    if len(values) and (values == values[0]).all():
        return [int(values[0])]
    return np.unique(values).tolist()


def flags_of(column: Any) -> Flags:
    """What is true in a column of true and false."""
    return _from_bits(column.buffers()[1], column)


def present(column: Any) -> Flags:
    """Where a column has a value."""
    if not column.null_count:
        return np.ones(len(column), np.bool_)
    return _from_bits(column.buffers()[0], column)


def lengths_of(column: Any) -> Numbers:
    """Bytes of each value of a column of text or bytes; 0 for null."""
    if not len(column):
        return np.zeros(0, np.int64)
    ends = np.frombuffer(column.buffers()[1], np.int32, len(column) + 1, column.offset * 4)
    lengths = np.diff(ends).astype(np.int64)
    return lengths * present(column) if column.null_count else lengths


def _bits(values: Flags) -> Any:
    return pa.py_buffer(np.packbits(values, bitorder="little"))


def _from_bits(buffer: Any, column: Any) -> Flags:
    if not len(column):
        return np.zeros(0, np.bool_)
    bits = np.unpackbits(np.frombuffer(buffer, np.uint8), count=column.offset + len(column), bitorder="little")
    return bits[column.offset :].astype(np.bool_)
