"""Objects into this process: linked by LLVM, each by itself, and called from Python.

Every object is linked into a library of its own (a JITDylib), so that no name in it can meet one
of another object; what it exports is named by its unit's digest besides.
"""

from __future__ import annotations

import ctypes
import itertools
from functools import cache
from typing import Any

import llvmlite.binding as llvm

from ..._described import Refused
from . import numpy_layout as layout
from .places import KEPT
from .target import is_x86

# Addresses that every record hands to the code of entries: places in the table of `context`.
NDARRAY, NONE, REFUSED, EMPTY, FLOAT64, FLOAT32, INT64, INT32 = range(KEPT)

_MOST_KEPT = 2 << 20  # bytes of memory that may stay from one call to the next

_serial = itertools.count()


@cache
def context() -> Any:
    """Table of the addresses of Python's and NumPy's objects that entries compare and call.

    And of the one block of memory that calls hand on (`workspace`).
    """
    import numpy as np

    known = (np.ndarray, None, Refused)
    dtypes = (np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.int64), np.dtype(np.int32))
    addresses = [*map(id, known), layout.empty_address(), *map(id, dtypes)]
    return np.array([*addresses, 0, _MOST_KEPT], np.int64)


@cache
def _linker() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()  # asked for although nothing is generated
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        jit=True, codemodel="jitdefault"
    )
    # LLVM's older linker overflows short jumps on other processors and on Windows.
    windows = llvm.get_process_triple().endswith("windows-msvc")
    return llvm.create_lljit_compiler(machine, use_jit_link=not is_x86() or windows)


def link(image: bytes, symbol: str) -> Any:
    """Link an object; ``[symbol]`` of what is returned is the address, valid while it is held."""
    builder = llvm.JITLibraryBuilder().add_object_img(image).add_current_process()
    return builder.export_symbol(symbol).link(_linker(), f"{symbol}.{next(_serial)}")


class _MethodDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_FASTCALL = 0x0080  # METH_FASTCALL: (self, arguments, how many)
_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)(
    ("PyCFunction_NewEx", ctypes.pythonapi)
)


def definition(name: str, address: int) -> _MethodDef:
    """Definition of a builtin function, never freed: the function reads it until its own end.

    (At the interpreter's exit too, where modules go first.)
    """
    defined = _MethodDef(name.encode(), address, _FASTCALL, None)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(defined))
    return defined


def builtin(defined: _MethodDef, owner: object) -> Any:
    """Builtin function of a definition; `owner` is its self, which it keeps alive."""
    return _new(ctypes.addressof(defined), owner, None)
