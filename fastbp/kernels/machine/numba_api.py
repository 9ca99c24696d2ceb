"""What is used of Numba that its documentation does not promise, each with its reason.

`tests/test_private_api.py` names what a release of Numba has taken away.
"""

from __future__ import annotations

import importlib.util
from typing import Any

# First, and whole: where another thread is importing Numba, its parts can't be imported beside it
# (each would wait for the other, until Python gives both a module half made).
import numba  # noqa: F401

# Makes IR without making machine code of it: `Dispatcher.compile` would add every unit to an
# engine that never gives memory back.
from numba.core import cgutils, compiler

# Reads the environment when it is executed: so a second copy says what it holds (`as_started`).
from numba.core import config as _config

# What `Pipeline` is made of.
from numba.core import typed_passes as typed
from numba.core import untyped_passes as untyped
from numba.core.codegen import JITCodeLibrary

# Held by all that compiles.
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import PassManager, register_pass

# FastMathOptions and Flags are what `njit(fastmath=…)` fills in.
from numba.core.cpu_options import FastMathOptions
from numba.core.errors import NumbaError, TypingError

# Says what a constant of a type of ours is: refused.
from numba.core.imputils import lower_constant
from numba.core.registry import cpu_target

# An array over memory that it does not own: `numba.carray` needs Numba's runtime.
from numba.np.arrayobj import make_array, populate_array

from .target import register_bytes

__all__ = [
    "FastMathOptions", "NumbaError", "Pipeline", "TypingError", "as_started", "cgutils",
    "compile_ir", "jit_enabled", "lower_constant", "make_array", "populate_array",
    "refused_constant",
]  # fmt: skip

# What changes no code of a unit.
_IRRELEVANT = ("CACHE", "DISABLE_JIT", "DUMP", "NUM", "THREADING", "WARN", "DISABLE_ERROR")


def as_started() -> bool:
    """Whether Numba's options are those that the environment gave it when it was imported."""
    spec = importlib.util.spec_from_file_location("numba.core._fastbp_config", _config.__file__)
    if spec is None or spec.loader is None:
        return False
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    return all(
        repr(getattr(_config, name, None)) == repr(value)
        for name, value in vars(fresh).items()
        if name.isupper() and not name.startswith(_IRRELEVANT)
    )


class jit_enabled:
    """Context in which ``njit`` compiles, also where NUMBA_DISABLE_JIT asks it not to."""

    def __enter__(self) -> None:
        self._disabled = _config.DISABLE_JIT
        _config.DISABLE_JIT = 0

    def __exit__(self, *_: Any) -> None:
        _config.DISABLE_JIT = self._disabled


def refused_constant() -> TypingError:
    """What is said of a network that compiled code was not given as an argument."""
    return TypingError(
        "a fastbp.Network can't be a global or closure variable of a compiled function, where "
        "Numba would freeze it; pass it as an argument"
    )


# A function that has this is vectorised for registers of 512 bits where LLVM's taste is for 256.
_WIDE = '"prefer-vector-width"="512"'


class _Library(JITCodeLibrary):
    """Code to be linked into other code and optimised there; no engine runs it."""

    def add_ir_module(self, ir_module: Any) -> None:
        """Add a module; its loops are to be as wide as the products, whose registers are in use.

        (Of Intel's processors LLVM takes half of AVX-512: value of 4096 x 8 x 32 in float64 took
        163 us, and takes 132; llvmlite's sets know no attribute of this form.)
        """
        if register_bytes() == 64:
            for function in ir_module.functions:
                if not function.is_declaration:
                    set.add(function.attributes, _WIDE)
        super().add_ir_module(ir_module)

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(typed.NativeLowering):
    """Lowering without machine code: callers know a helper by a function that does nothing."""

    def run_pass(self, state: Any) -> bool:
        """Lower, and make a helper known."""
        is_helper = not state.flags.no_compile
        state.flags.no_compile = True
        super().run_pass(state)
        if is_helper:
            key = {}.clear  # each one equal to itself alone
            state.cr = state.cr._replace(cfunc=key)
            state.targetctx.insert_user_function(key, state.cr.fndesc, [state.library])
        return True


class Pipeline(compiler.CompilerBase):
    """From a kernel or a helper of kernels to IR: what neither uses of `njit` is left out.

    That is closures, `with`, literals and array expressions, and to optimise and emit each helper
    by itself before what calls it: all at a quarter of the time of a first gradient.
    """

    def define_pipelines(self) -> list[PassManager]:
        """Return the one way there is."""
        self.state.library = _Library(self.state.targetctx.codegen(), "fastbp")
        manager = PassManager("fastbp")
        for each in (
            untyped.TranslateByteCode,
            untyped.FixupArgs,
            untyped.IRProcessing,
            untyped.RewriteSemanticConstants,
            untyped.DeadBranchPrune,
            untyped.GenericRewrites,
            untyped.ReconstructSSA,
            typed.NopythonTypeInference,
            typed.PreLowerStripPhis,
            typed.IRLegalization,
            typed.AnnotateTypes,
            _Lowering,
            typed.NoPythonBackend,
        ):
            manager.add_pass(each, each.__name__)
        manager.finalize()
        return [manager]


def compile_ir(function: Any, signature: Any, fastmath: set[str]) -> tuple[str, str]:
    """Compile a function for one signature: the optimised IR, and the function's name in it."""
    flags = compiler.Flags()
    flags.nrt = False
    flags.release_gil = True
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.no_compile = True
    flags.error_model = "numpy"
    flags.fastmath = FastMathOptions(fastmath)
    result = compiler.compile_extra(
        cpu_target.typing_context,
        cpu_target.target_context,
        function,
        signature.args,
        signature.return_type,
        flags,
        {},
        pipeline_class=Pipeline,
    )
    library = result.library
    with global_compiler_lock:
        library.finalize()
        JITCodeLibrary._optimize_final_module(library)
    return library.get_llvm_str(), result.fndesc.mangled_name
