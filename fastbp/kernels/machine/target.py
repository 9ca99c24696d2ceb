"""What machine code is made for: the processor, the options, and the sources it comes from.

Nothing here imports Numba: its options are read where it reads them, in the environment.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from functools import cache
from importlib.machinery import BYTECODE_SUFFIXES
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numpy as np

from ..._lock import FOUND, IMPORTED
from .processors import WITH_256_BITS

try:  # what `hashlib` has of it: that loads OpenSSL besides, 3 ms and 3 MiB of a start
    from _blake2 import blake2b
except ImportError:  # a Python that is built otherwise
    from hashlib import blake2b

# On these Numba leaves AVX off (`numba.core.config.ENABLE_AVX`).
_WITHOUT_AVX = ("corei7-avx", "core-avx-i", "sandybridge", "ivybridge", "nocona")

_ALWAYS_THERE = ("-64bit", "-sse", "-sse2")

# What Numba's environment may say without another code coming of it. Any other variable is part
# of the key: at worst a unit is compiled once more.
_HARMLESS = {
    "NUMBA_CACHE_DIR",
    "NUMBA_CACHE_LOCATOR_CLASSES",
    "NUMBA_CPU_FEATURES",  # part of the target
    "NUMBA_CPU_NAME",
    "NUMBA_DISABLE_ERROR_MESSAGE_HIGHLIGHTING",
    "NUMBA_DISABLE_JIT",
    "NUMBA_NUM_THREADS",
    "NUMBA_SHOW_HELP",
    "NUMBA_THREADING_LAYER",
    "NUMBA_THREADING_LAYER_PRIORITY",
    "NUMBA_WARNINGS",
}
_CONFIG_FILE = ".numba_config.yaml"  # in the working folder, over the environment


def new_hash(content: bytes = b"") -> Any:
    """Hash of 32 bytes, as those of `hashlib`."""
    return blake2b(content, digest_size=32)


@cache
def is_x86() -> bool:
    """Whether the processor is an x86-64."""
    return platform.machine().lower() in ("x86_64", "amd64")


@cache
def cpu() -> tuple[str, str]:
    """LLVM's name of the processor, and its features: as Numba takes them in this process."""
    name = os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()
    features = os.environ.get("NUMBA_CPU_FEATURES")
    if features is not None:
        _check(features)
    if features is None and name.lower() == "generic" and "NUMBA_CPU_NAME" in os.environ:
        features = ""
    if features is None:
        host = llvm.get_host_cpu_features()
        try:
            without = not int(os.environ["NUMBA_ENABLE_AVX"])
        except (KeyError, ValueError):  # Numba warns of what is no number, and does without
            without = name in _WITHOUT_AVX
        if without:
            for feature in host:
                if feature.startswith("avx"):
                    host[feature] = False
        features = host.flatten()
    return name, features


def _check(features: str) -> None:
    """Refuse what LLVM ends the process over; it warns of a word that it does not know."""
    for word in filter(None, features.split(",")):
        if word[0] not in "+-":
            raise ValueError(
                "NUMBA_CPU_FEATURES is a list of words that begin with + or -, joined by commas; "
                f"got {word!r} among them"
            )
        if is_x86() and word in _ALWAYS_THERE:
            raise ValueError(f"NUMBA_CPU_FEATURES says {word!r}, but no x86-64 is without it")


@cache
def target() -> str:
    """What an object is made for: triple, processor and features."""
    return " ".join((llvm.get_process_triple(), *cpu()))


@cache
def register_bytes() -> int:
    """Bytes of the widest vector register that the code is to use."""
    if not is_x86():
        return 16
    name, features = cpu()
    enabled = set(features.split(","))
    # NUMBA_CPU_NAME may be set without NUMBA_CPU_FEATURES: Numba then still passes the host's
    # features, and the widest registers must be those of the processor named.
    if "+avx512f" in enabled and name not in WITH_256_BITS:
        return 64
    return 32 if "+avx2" in enabled else 16


def lanes(dtype: np.dtype) -> int:
    """Numbers in a vector register."""
    return register_bytes() // dtype.itemsize


def options() -> str:
    """What this process has set of Numba's options, but for those that change no code."""
    given = sorted(
        (name, value)
        for name, value in os.environ.items()
        if name.startswith("NUMBA_") and name not in _HARMLESS
    )
    try:
        file = Path(_CONFIG_FILE).read_bytes()
    except OSError:
        file = b""
    return repr((given, file))


def sources_digest() -> bytes:
    """Hash of all sources of the package, or of its bytecode where it comes without sources."""
    digest = new_hash()
    package = Path(__file__).parents[2]
    found = False
    for name, content in _in_folder(package) if package.is_dir() else _in_archive():
        found = True
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    if not found:  # frozen, perhaps: nothing that is stored may outlive this process
        digest.update(os.urandom(32))
    return digest.digest()


def _is_code(name: str) -> bool:
    return name.endswith((".py", *BYTECODE_SUFFIXES))


def _files(package: Path) -> Iterator[str]:
    for folder, below, names in os.walk(package):
        below[:] = sorted(name for name in below if name != "__pycache__")
        for name in sorted(filter(_is_code, names)):
            yield os.path.join(folder, name)


def _in_folder(package: Path) -> Iterator[tuple[str, bytes]]:
    root = len(str(package)) + 1
    for path in _files(package):
        with open(path, "rb", buffering=0) as stream:  # half the time of a buffer's
            yield path[root:], stream.read()


def _in_archive() -> Iterator[tuple[str, bytes]]:
    from importlib.resources import files

    def walk(folder: Any, path: str) -> Iterator[tuple[str, bytes]]:
        for item in sorted(folder.iterdir(), key=lambda item: item.name):
            if item.is_dir():
                yield from walk(item, f"{path}{item.name}/")
            elif _is_code(item.name):
                yield path + item.name, item.read_bytes()

    return walk(files(__name__.partition(".")[0]), "")


def _numba_version() -> bytes:
    """What Numba's version is, without importing it: the file that says it, or the package's."""
    spec = find_spec("numba")
    if spec is None or spec.origin is None:
        return b""
    for file in (Path(spec.origin).with_name("_version.py"), Path(spec.origin)):
        try:
            return file.read_bytes()
        except OSError:
            continue
    return b""


def _are_imported() -> bool:
    """Whether the sources are those of the package's import: other modules came before this."""
    package = Path(__file__).parents[2]
    if os.path.realpath(package) != FOUND:
        return False  # a link leads to another release
    for path in _files(package):
        about = os.stat(path)
        # An installer may set `st_mtime`; on Windows `st_ctime` is that of another event.
        if (about.st_mtime if os.name == "nt" else about.st_ctime) > IMPORTED:
            return False
    return True


@cache
def _sources_at_start() -> bytes:
    # Of a package replaced in between nothing is read, and nothing outlives this process.
    return sources_digest() if _are_imported() else os.urandom(32)


def _settings() -> tuple[str | None, ...]:
    """What Numba may read of its environment at any time, not just when it is imported."""
    return options(), os.environ.get("NUMBA_CPU_NAME"), os.environ.get("NUMBA_CPU_FEATURES")


@cache
def _settings_at_start() -> tuple[str | None, ...]:
    return _settings()


@cache
def build_key() -> str:
    """Hash of all that machine code depends on beside a unit's own key."""
    versions = (sys.version, llvmlite.__version__, llvm.llvm_version_info, np.__version__)
    given = _settings_at_start()[0]
    digest = new_hash(repr((versions, target(), given)).encode())
    digest.update(_numba_version())
    digest.update(_sources_at_start())
    return digest.hexdigest()


def is_current() -> bool:
    """Whether sources and settings are those that this process began with.

    What is compiled of others, imported since, must not be stored under the first one's key.
    """
    try:
        return _settings() == _settings_at_start() and sources_digest() == _sources_at_start()
    except OSError:  # being replaced, or gone
        return False


build_key()  # when this module is imported: sources that are changed later are other ones
