"""How every kernel is compiled, and where its machine code is kept.

A *unit* is one native function with a fixed signature. Units take addresses and call each other
through addresses (see ``_plan``), so that each is compiled, stored and loaded by itself: a new
activation function costs one small unit, and no stored code holds a copy of another unit's.

Numba's own disk cache is not used: it stamps only the file of the function itself (Numba issue
1833), never hits for functions made of closures (6264), shares one index between processes that
may overwrite each other's data, and fails on a truncated file (10434). Here the name of a stored
file is a hash of *everything* its content depends on, its content begins with its own hash, and
what cannot be read, written or verified is simply compiled.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import platform
import sys
import tempfile
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba import njit
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.typing.templates import Signature

# Options stand here and nowhere else: a helper compiled without them would inherit those of
# whichever caller compiles it first.
_STRICT: dict[str, Any] = {
    "fastmath": False,
    "error_model": "numpy",
    "nogil": True,
    # Kernels own no arrays: without reference counts they compile faster, and machine code
    # loads without Numba's runtime, whose start takes 0.2 s.
    "_nrt": False,
}
_LOOP = {**_STRICT, "fastmath": {"reassoc", "contract", "nsz"}}
# Helpers are never called from Python: without wrappers they compile in half the time.
_BARE = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def scalar(function: Callable) -> Any:
    """Jit a scalar helper with strict floating-point semantics (no reassociation).

    Always inlined: a loop over a function that LLVM finds too large does not vectorise (gelu
    with its derivative took 23 ns a number instead of 3).
    """
    return njit(**_STRICT, **_BARE, forceinline=True)(function)


def loop(function: Callable) -> Any:
    """Jit a helper made of loops whose sums may be reordered to vectorise."""
    return njit(**_LOOP, **_BARE)(function)


@cache
def build_digest() -> str:
    """Hash of all that the machine code depends on beside a unit's own key."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    codegen = cpu_target.target_context.codegen()
    versions = (sys.version, numba.__version__, llvmlite.__version__, np.__version__)
    digest.update(repr((versions, platform.machine(), codegen.magic_tuple())).encode())
    return digest.hexdigest()


@cache
def cache_folder() -> Path | None:
    """First writable folder for machine code; None where there is none.

    ``NUMBA_CACHE_DIR`` where it is set, else beside the package, else the user's cache folder.
    """
    home = Path.home() if _has_home() else None
    candidates: list[Path] = []
    if numba.config.CACHE_DIR:
        candidates.append(Path(numba.config.CACHE_DIR))
    else:
        candidates.append(Path(__file__).parent / "__pycache__")
        if os.name == "nt":
            local = os.environ.get("LOCALAPPDATA")
            candidates += [Path(local)] if local else []
        elif "XDG_CACHE_HOME" in os.environ:
            candidates.append(Path(os.environ["XDG_CACHE_HOME"]))
        elif home is not None:
            caches = "Library/Caches" if sys.platform == "darwin" else ".cache"
            candidates.append(home / caches)
    for candidate in candidates:
        folder = candidate / f"fastbp-{build_digest()[:16]}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        return folder
    return None


def _has_home() -> bool:
    try:
        Path.home()
    except RuntimeError:
        return False
    return True


def _stored(file: Path | None) -> tuple | None:
    """Content of a cache file; None where it can't be read or is not what was written."""
    if file is None:
        return None
    try:
        content = file.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        return None  # truncated or altered: compile again, and write it anew
    return pickle.loads(content[32:])


def _store(file: Path | None, payload: tuple) -> None:
    """Write a cache file so that a reader, in this process or another, sees all of it or none."""
    if file is None:
        return
    content = pickle.dumps(payload, protocol=pickle.HIGHEST_PROTOCOL)
    try:
        handle, temporary = tempfile.mkstemp(dir=file.parent)
        with os.fdopen(handle, "wb") as stream:
            stream.write(hashlib.sha256(content).digest() + content)
        os.replace(temporary, file)
    except OSError:
        return  # a full or vanished disk costs the next process a compilation, no more


class Unit:
    """One native function: compiled, or loaded, when it is first asked for.

    Parameters
    ----------
    function : callable
        The Python function to compile.
    signature : numba signature
        Its only signature.
    key : str
        What the function depends on beside fastbp's own sources: the text of an activation.
    python : bool
        Whether it is to be called from Python too (`entry`), not only by address (`address`).
    """

    def __init__(
        self, function: Callable, signature: Signature, *, key: str = "", python: bool = False
    ) -> None:
        self._function = function
        self._signature = signature
        self._key = key
        self._python = python
        self._compiled: CompileResult | None = None

    def _file(self) -> Path | None:
        folder = cache_folder()
        if folder is None:
            return None
        name = self._function.__name__
        depends_on = (build_digest(), name, self._key, str(self._signature))
        digest = hashlib.sha256(repr(depends_on).encode()).hexdigest()
        return folder / f"{name}-{digest[:32]}.bin"

    def _result(self) -> CompileResult:
        if self._compiled is None:
            with global_compiler_lock:
                if self._compiled is None:
                    self._compiled = self._load() or self._compile()
        return self._compiled

    def _load(self) -> CompileResult | None:
        payload = _stored(self._file())
        if payload is None:
            return None
        return CompileResult._rebuild(cpu_target.target_context, *payload)

    def _compile(self) -> CompileResult:
        dispatcher = njit(**_LOOP, no_cpython_wrapper=not self._python)(self._function)
        dispatcher.compile(self._signature)
        result = dispatcher.overloads[self._signature.args]
        _store(self._file(), result._reduce())
        return result

    @cached_property
    def address(self) -> int:
        """Address of the C function."""
        result = self._result()
        return result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)

    @cached_property
    def entry(self) -> Callable:
        """The function callable from Python, past Numba's dispatcher (0.1 to 0.3 µs a call)."""
        return self._result().entry_point
