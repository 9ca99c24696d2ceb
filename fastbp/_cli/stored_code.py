"""The commands about stored machine code: `precompile` and `cache`."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..activations import NAMES, get_activation, softmax, unknown
from ..kernels.machine.processors import PROCESSORS
from ..losses import NAMES as LOSSES
from ..losses import get_loss

_DTYPES = ("float64", "float32")
# The neuron that is the bias of the output, as estimators have it, and the usual outputs.
_USUAL = ("one", "identity", "logistic", "tanh", "exp", "softplus")


def _wanted(activations: Sequence[str], dtypes: Sequence[np.dtype]) -> Iterator[Any]:
    """Every unit of networks of these activations and the usual ones, and of the named losses."""
    from ..kernels.calls import entries, units  # when the environment says what they are for

    given = (*map(get_activation, (*activations, *_USUAL)), *softmax.steps)
    functions = list(dict.fromkeys(given))
    losses = {loss.key: loss for loss in map(get_loss, LOSSES)}
    for loss in list(losses.values()):
        _, paired = loss.with_output(get_activation("logistic"))
        losses[paired.key] = paired
    yield units.shuffle()
    for dtype in dtypes:
        for kernel in units.KERNELS:
            yield kernel(dtype)
        for name in entries.ENTRIES:
            yield units.entry(name, dtype)
            yield units.entry(name, dtype, several=True)
        for function in (*functions, *losses.values()):
            for order in range(3):
                yield units.block(function, order, dtype)


def precompile(
    say: Callable[[str], None],
    *,
    activations: Sequence[str] | None,
    dtypes: Sequence[str] | None,
    cpu: str | None,
    folder: str | None,
) -> None:
    """Make and store all that networks of these activations can ask for.

    Must run before anything of the kernels is imported: what they are made for is read once.
    """
    for name in activations or ():
        if name not in NAMES:
            raise ValueError(unknown("activation", name, NAMES))
    lines = {}
    if cpu is not None:
        if cpu not in PROCESSORS:
            raise ValueError(unknown("processor", cpu, tuple(PROCESSORS)))
        lines = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": PROCESSORS[cpu]}
    if folder is not None:
        lines["NUMBA_CACHE_DIR"] = os.path.abspath(folder)
    os.environ.update(lines)
    from ..kernels.machine import store

    if folder is not None and len(store.build_folders()) > 1:  # the last is what is written to
        raise ValueError(f"--to {folder!r}: nothing can be written there")
    made = total = size = 0
    for unit in _wanted(activations or NAMES, [np.dtype(name) for name in dtypes or _DTYPES]):
        total += 1
        is_new = unit.is_missing()
        made += is_new
        size += len(unit.image())
        if is_new and unit.is_missing():  # no folder that can be written, or no room in it
            raise ValueError(f"{unit.symbol} could not be stored; --to names a folder")
    stored = next(build for build in store.build_folders() if store.files(build))
    say(f"{total} units, {made} of them new, {size / 1e6:.1f} MB of code in {stored}")
    if lines:
        say("processes that are to use them need")
        for name, value in lines.items():
            say(f"export {name}={shlex.quote(value)}")


def cache(say: Callable[[str], None], *, clear: bool) -> None:
    """Say which builds have stored code where, or remove it."""
    from ..kernels.machine import store

    current = store.build_folders()
    found = list(store.builds())
    for build in found:
        files = store.files(build)
        size = sum(_size(file) for file in files)
        used = time.strftime("%Y-%m-%d", time.localtime(build.stat().st_mtime))
        mark = ", this build" if build in current else ""
        if clear:
            say(f"{build}: {store.clear(build)} files removed, {size / 1e6:.1f} MB{mark}")
        else:
            say(f"{build}: {len(files)} files, {size / 1e6:.1f} MB, used {used}{mark}")
    if not found:
        say("nothing is stored; it would go to the first of these that can be written:")
        for build in current:
            say(str(build))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # another process removed it
        return 0
