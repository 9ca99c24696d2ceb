"""From LLVM's IR to one relocatable object that exports one name and imports only what is allowed.

The names in Numba's IR depend on a counter of the process and on the order of sets, so all but the
exported one are made internal and numbered anew: the object is the same, byte by byte, whichever
process makes it.
"""

from __future__ import annotations

import re
from typing import Any

import llvmlite.binding as llvm

from .target import cpu

_UNARY = (
    "acos acosh asin asinh atan atanh cbrt ceil cos cosh erf erfc exp exp2 expm1 fabs floor lgamma "
    "log log10 log1p log2 nearbyint rint round sin sincos sinh sqrt tan tanh tgamma trunc"
).split()
_BINARY = "atan2 copysign fmax fmin fmod hypot ldexp nextafter pow remainder".split()
_C = {"malloc", "free", "memcpy", "memset", "memmove"}
# Of Python, for its entries; objects (None, exceptions) come by address (`linker.context`).
PYTHON = {
    "PyErr_NoMemory",
    "PyErr_Occurred",
    "PyErr_SetNone",
    "PyEval_RestoreThread",
    "PyEval_SaveThread",
    "PyFloat_AsDouble",
    "PyFloat_FromDouble",
    "PyLong_AsLongLong",
    "PyTuple_Pack",
    "Py_DecRef",
    "Py_IncRef",
}
# All that an object may refer to outside itself.
ALLOWED = _C | PYTHON | {name + kind for name in _UNARY + _BINARY for kind in ("", "f")}

# Numba's names of what the C library has.
_ALIASES = {
    **{f"numba_{name}{kind}": name + kind for name in ("erf", "erfc") for kind in ("", "f")},
    **{f"numba_{name}{kind}": f"{own}{kind}" for name, own in (("gamma", "tgamma"),
       ("lgamma", "lgamma"), ("ldexp", "ldexp")) for kind in ("", "f")},
}  # fmt: skip


class Unlinkable(Exception):
    """The code refers to what is no part of it; the message names it."""


def host_machine() -> Any:
    """Target machine as Numba's engine has it."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    triple = llvm.get_process_triple()
    name, features = cpu()
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu=name,
        features=features,
        opt=3,
        reloc="static" if triple.startswith(("x86", "i686")) else "default",
        codemodel="jitdefault",
        jit=True,
    )


def _run(module: Any, machine: Any, speed: int) -> None:
    """Optimise a module; at speed 0 only what must be inlined is, and what is unused goes."""
    builder = llvm.create_pass_builder(
        machine, llvm.create_pipeline_tuning_options(speed_level=speed)
    )
    if speed:
        builder.getModulePassManager().run(module, builder)
        return
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, builder)


def object_of(text: str, symbol: str, *, speed: int) -> bytes:
    """Compile LLVM IR to an object that exports `symbol`, which is defined there.

    `speed` is 0 for a module that is optimised already. `Unlinkable` is raised where the code needs
    something that is not on the list.
    """
    for name, own in _ALIASES.items():
        text = re.sub(rf"@{name}\b", f"@{own}", text)
    module = llvm.parse_assembly(text)
    for item in (*module.functions, *module.global_variables):
        if not item.is_declaration and item.name != symbol:
            item.linkage = llvm.Linkage.internal
            item.name = "local"  # LLVM numbers them
    machine = host_machine()
    _run(module, machine, speed)
    foreign = {
        item.name
        for item in (*module.functions, *module.global_variables)
        if item.is_declaration and not item.name.startswith("llvm.")
    }
    if not foreign <= ALLOWED:
        raise Unlinkable(", ".join(sorted(foreign - ALLOWED)))
    return machine.emit_object(module)
