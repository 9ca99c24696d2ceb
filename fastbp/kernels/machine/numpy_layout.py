"""NumPy's and Python's layouts that compiled code reads: all of it, with the check that it holds.

The header of an array (``PyArrayObject_fields``) and the places in NumPy's table of C functions
(``PyArray_API``) are those that C extensions are compiled against, so they stay within a major
version of NumPy; Python's object header is that of builds with the GIL. `check` compares them with
one known array before anything is read.
"""

from __future__ import annotations

import ctypes
import sys

import numpy as np

# The capsule that C extensions import.
from numpy._core._multiarray_umath import _ARRAY_API  # type: ignore[import-not-found]

HEAD = object.__basicsize__
# Offsets in an array object, in bytes.
CLASS, DATA, N_DIMENSIONS, SHAPE, DTYPE, FLAGS = (HEAD + k for k in (-8, 0, 8, 16, 40, 48))
READABLE = 0x1 | 0x100  # C order, aligned
WRITABLE = READABLE | 0x400

_EMPTY = 184  # PyArray_Empty(n_dimensions, shape, dtype (taken over), fortran order)


def _functions() -> ctypes.Array:
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    return (ctypes.c_void_p * (_EMPTY + 1)).from_address(pointer(_ARRAY_API, None))


def empty_address() -> int:
    """Address of NumPy's C function that makes an array."""
    return _functions()[_EMPTY] or 0


def check() -> None:
    """Refuse a Python or a NumPy whose arrays lie otherwise in memory than compiled code reads.

    Raises
    ------
    ImportError
        In one sentence.
    """
    if "free-threading" in sys.version:
        raise ImportError("fastbp needs a Python with the GIL; this one is free-threaded")
    if sys.maxsize < 2**32:
        raise ImportError("fastbp needs a 64-bit Python; this one has 32 bits")
    known = np.zeros((2, 3))
    address = id(known)

    def read(kind: type[ctypes._SimpleCData], offset: int) -> int:
        return kind.from_address(address + offset).value

    shape = read(ctypes.c_int64, SHAPE)
    read_flags = read(ctypes.c_int32, FLAGS)
    right = (
        read(ctypes.c_int64, CLASS) == id(np.ndarray)
        and read(ctypes.c_int64, DATA) == known.ctypes.data
        and read(ctypes.c_int32, N_DIMENSIONS) == 2
        and tuple((ctypes.c_int64 * 2).from_address(shape)) == (2, 3)
        and read(ctypes.c_int64, DTYPE) == id(known.dtype)
        and read_flags & WRITABLE == WRITABLE
    )
    if right:
        make = ctypes.PYFUNCTYPE(
            ctypes.py_object, ctypes.c_int, ctypes.c_void_p, ctypes.py_object, ctypes.c_int
        )(empty_address())
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(known.dtype))  # which the function takes over
        made = make(2, shape, known.dtype, 0)
        right = type(made) is np.ndarray and made.shape == (2, 3) and made.dtype is known.dtype
    if not right:
        raise ImportError(
            f"fastbp can't read the arrays of NumPy {np.__version__}, whose memory is laid out "
            "otherwise than that of NumPy 2; a newer fastbp may"
        )


check()
