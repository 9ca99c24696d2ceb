"""What is used of others that they do not promise: each test names what a release changed.

`fastbp/kernels/machine/numba_api.py` and `numpy_layout.py` say why it is used.
"""

import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from numba import types
from support import fresh_process

import fastbp
from fastbp.kernels.machine import numba_api, numpy_layout
from fastbp.kernels.machine.address import POINTER
from fastbp.kernels.machine.target import lanes

USED = [
    ("llvmlite.binding.ffi", "lib"),
    ("numba.core.codegen", "JITCodeLibrary"),
    ("numba.core.compiler", "compile_extra"),
    ("numba.core.compiler", "CompilerBase"),
    ("numba.core.compiler", "Flags"),
    ("numba.core.config", "DISABLE_JIT"),
    ("numba.core.cgutils", "alloca_once"),
    ("numba.core.cgutils", "create_struct_proxy"),
    ("numba.core.cgutils", "get_or_insert_function"),
    ("numba.core.cgutils", "pack_array"),
    ("numba.core.cgutils", "unpack_tuple"),
    ("numba.core.cgutils", "voidptr_t"),
    ("numba.core.compiler_lock", "global_compiler_lock"),
    ("numba.core.compiler_machinery", "PassManager"),
    ("numba.core.compiler_machinery", "register_pass"),
    ("numba.core.cpu_options", "FastMathOptions"),
    ("numba.core.errors", "NumbaError"),
    ("numba.core.errors", "TypingError"),
    ("numba.core.imputils", "lower_constant"),
    ("numba.core.registry", "cpu_target"),
    *(
        ("numba.core.untyped_passes", name)
        for name in (
            "DeadBranchPrune FixupArgs GenericRewrites IRProcessing ReconstructSSA "
            "RewriteSemanticConstants TranslateByteCode"
        ).split()
    ),
    *(
        ("numba.core.typed_passes", name)
        for name in (
            "AnnotateTypes IRLegalization NativeLowering NoPythonBackend NopythonTypeInference "
            "PreLowerStripPhis"
        ).split()
    ),
    ("numba.np.arrayobj", "make_array"),
    ("numba.np.arrayobj", "populate_array"),
    ("numpy._core._multiarray_umath", "_ARRAY_API"),
    ("_blake2", "blake2b"),
    ("sklearn.utils", "_safe_indexing"),
    ("sklearn.utils.validation", "_check_monotonic_cst"),
    ("sklearn.utils.validation", "_check_sample_weight"),
]


@pytest.mark.parametrize(("module", "name"), USED, ids=lambda part: part)
def test_a_private_name_is_there(module, name):
    assert hasattr(importlib.import_module(module), name)


def test_the_lock_of_llvmlite_is_the_one_that_a_fork_takes():
    from llvmlite.binding import ffi

    from fastbp._lock import _llvm_lock

    lock = _llvm_lock()
    assert lock is not None
    assert not lock._is_owned()
    with ffi.lib._lock:
        assert lock._is_owned()


def test_all_that_is_private_stands_in_its_one_file():
    private = re.compile(r"^\s*(?:from|import) (numba\.(?!extending|experimental)\S+|numpy\._\S+)")
    homes = {"numba": "numba_api.py", "numpy": "numpy_layout.py"}
    for file in Path(fastbp.__file__).parent.rglob("*.py"):
        for line in file.read_text("utf-8").splitlines():
            found = private.match(line)
            if found:
                home = homes[found[1].partition(".")[0]]
                assert file.name == home, f"{file.name}: {line.strip()} belongs into {home}"


@pytest.mark.parametrize(
    "flag", "nrt release_gil no_cpython_wrapper no_cfunc_wrapper no_compile error_model".split()
)
def test_a_flag_of_the_compiler_is_there(flag):
    from numba.core.compiler import Flags

    assert flag in Flags.options


def test_the_library_of_a_compilation_gives_linked_ir_and_the_name_of_its_function():
    from fastbp.kernels.machine.build import loop

    @loop
    def helper(x):
        return x + 1.0

    def function(x):
        return helper(x)

    text, native = numba_api.compile_ir(function, types.float64(types.float64), set())
    (head,) = (line for line in text.splitlines() if line.startswith("define") and native in line)
    assert re.search(r"i32 @.*\(ptr.*%retptr, ptr.*%excinfo, double %", head)
    assert not re.search(r"^declare .*helper", text, re.M)


def test_loops_are_as_wide_as_the_registers_that_products_use():
    pointer = POINTER[np.dtype(np.float64)]

    def double(address, n):
        numbers = pointer(address)
        for k in range(n):
            numbers[k] *= 2.0

    text, _ = numba_api.compile_ir(double, types.void(types.int64, types.int64), set())
    assert f"<{lanes(np.dtype(np.float64))} x double>" in text


def test_the_options_of_a_process_are_told_from_those_it_began_with():
    from numba.core import config

    assert numba_api.as_started()
    kept = config.OPT
    config.OPT = 0
    try:
        assert not numba_api.as_started()
    finally:
        config.OPT = kept
    assert numba_api.as_started()


def test_the_compiler_works_where_the_environment_disables_it():
    from numba.core import config

    kept = config.DISABLE_JIT
    config.DISABLE_JIT = 1
    try:
        with numba_api.jit_enabled():
            assert not config.DISABLE_JIT
        assert config.DISABLE_JIT == 1
    finally:
        config.DISABLE_JIT = kept


def test_arrays_are_laid_out_as_compiled_code_reads_them():
    numpy_layout.check()
    for array in (np.zeros((3, 2)), np.arange(5, dtype=np.int64), np.zeros((2, 3, 4), np.float32)):
        from ctypes import c_int32, c_int64

        address = id(array)
        assert c_int64.from_address(address + numpy_layout.DATA).value == array.ctypes.data
        assert c_int32.from_address(address + numpy_layout.N_DIMENSIONS).value == array.ndim
        assert c_int64.from_address(address + numpy_layout.DTYPE).value == id(array.dtype)


@pytest.mark.parametrize("name", ["DATA", "N_DIMENSIONS", "SHAPE", "DTYPE", "FLAGS", "CLASS"])
def test_a_numpy_that_keeps_its_fields_elsewhere_is_refused(name):
    """One field is looked for where another one is: the library does not start."""
    source = inspect.getsource(numpy_layout)
    program = (
        "import sys\n"
        f"source = {source!r}\n"
        "start, _, _ = source.rpartition('check()')\n"
        "scope = {'__name__': 'layout'}\n"
        "exec(start, scope)\n"
        f"scope[{name!r}] = scope['HEAD'] + (24 if {name!r} != 'FLAGS' else 52)\n"
        "try:\n"
        "    scope['check']()\n"
        "except ImportError as error:\n"
        '    assert "can\'t read the arrays of NumPy" in str(error), error\n'
        "    print('refused')\n"
    )
    assert fresh_process("-c", program) == "refused\n"
