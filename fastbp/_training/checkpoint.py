"""Checkpoints of a fit: one .npz without pickle, written whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _boundary as boundary
from .._files import write_atomically
from ..network import describe
from ..optimizers import rates_of

_SECONDS = 5.0  # between two writes
_SAMPLED = 1000  # steps of a schedule
_HASHED = 1 << 15  # rows at a time
_VERSION = 1
# Which steps an optimizer takes with the same arguments, where that is no longer as in 0.1.0: a fit
# that went on with other steps would end as none that was never stopped.
_REVISIONS = {"LevenbergMarquardt": 2}


@dataclass(frozen=True)
class Arguments:
    """All arguments that decide what a fit computes, before it begins, but its epochs."""

    problem: Any
    held_out: Any
    optimizer: Any
    early: Any
    others: tuple[Any, ...]  # the seed first

    def fingerprint(self, epochs: int) -> str:
        """Return their hash, that of a fit of so many epochs."""
        digest = hashlib.sha256()
        problem, held_out = self.problem, self.held_out
        net = describe(problem.net)
        each = (*net.activations, *boundary.sigmas(problem.net), problem.loss)
        functions = [getattr(f, "digest", f.name) for f in each]
        seed, *rest = self.others
        if isinstance(seed, np.random.Generator):
            seed = repr(seed.bit_generator.state)
        plain = (
            net.n_inputs,
            net.dtype,
            functions,
            _described(self.optimizer, epochs * problem.batches),
            repr(self.early),
            epochs,
            seed,
            rest,
            "each" if isinstance(problem.l2, np.ndarray) else problem.l2,
        )
        digest.update(repr(plain).encode())
        given = _given(problem.far) or (problem.X, problem.t, problem.c)
        arrays = [problem.w, *given, problem.free]
        if isinstance(problem.l2, np.ndarray):
            arrays.append(problem.l2)
        arrays += problem.bounds or ()
        if held_out is not None:
            far = getattr(held_out, "far", None)
            arrays += _given(far) or [held_out.X, held_out.t, held_out.sample_weight]
        for array in arrays:
            if array is not None:
                digest.update(repr((array.shape, array.dtype.str)).encode())
                for first in range(0, len(array), _HASHED):
                    digest.update(np.ascontiguousarray(array[first : first + _HASHED]).tobytes())
        return digest.hexdigest()

    def depend_on_epochs(self, few: int, many: int) -> bool:
        """Whether the first of many epochs have other rates than the only few have."""
        batches = self.problem.batches
        totals = (few * batches, many * batches)
        steps = _sampled(totals[0])
        return any(
            rate(step, max(totals[0], 1)) != rate(step, max(totals[1], 1))
            for rate in _schedules(self.optimizer)
            for step in steps
        )


def _given(far: Any) -> tuple[Any, ...] | None:
    """Return the arrays that are read some rows at a time, and which rows."""
    return getattr(far, "given", None)


def _described(optimizer: Any, total: int) -> tuple:
    """Tell optimizers apart: of a schedule, by the rates that it gives."""
    name = type(optimizer).__name__
    values: list[Any] = [name, *filter(None, [_REVISIONS.get(name)])]
    for entry in (each for each in dataclasses.fields(optimizer) if each.init):
        value = getattr(optimizer, entry.name)
        if callable(value):
            value = rates_of(value, _sampled(total), max(total, 1)).tolist()
        values.append((entry.name, repr(value)))
    return tuple(values)


def _sampled(total: int) -> list[int]:
    return np.unique(np.linspace(0, max(total - 1, 0), _SAMPLED).astype(np.int64)).tolist()


def _schedules(optimizer: Any) -> list[Any]:
    values = (getattr(optimizer, each.name) for each in dataclasses.fields(optimizer) if each.init)
    return [value for value in values if callable(value)]


class Checkpoint:
    """The file of one fit.

    Parameters
    ----------
    path : Path
        The file.
    arguments : Arguments
        Those of the fit: a file with others is refused.
    epochs : int
        Of the fit. A file of fewer goes on, where its steps are the first of this fit's.

    Attributes
    ----------
    of_fewer : bool
        Whether what was loaded is from a fit of fewer epochs.
    """

    def __init__(self, path: Path, arguments: Arguments, epochs: int) -> None:
        folder, what = path.resolve().parent, ""  # that of what a link leads to
        if path.is_dir():
            what = "is a folder"
        elif not folder.is_dir():
            what = f"can't be written: there is no {folder}"
        elif not os.access(folder, os.W_OK):
            what = f"can't be written: nothing may be written to {folder}"
        if what:  # before the work, not after it
            raise ValueError(f"the checkpoint {path} {what}")
        self._path = path
        self._arguments = arguments
        self._epochs = epochs
        self.of_fewer = False
        self._mark = arguments.fingerprint(epochs)
        self._kept: dict[str, NDArray] | None = None
        self._written = time.monotonic()

    def load(self) -> dict[str, NDArray] | None:
        """Return the arrays of the file, or None where there is no file."""
        try:
            with self._path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                arrays = dict(file)
            header = json.loads(arrays.pop("header").item())
            names = header.get("arrays", [*arrays])  # not in files of older releases
            if names != [*arrays]:
                raise ValueError(f"it holds {', '.join(arrays)}; expected {', '.join(names)}")
            version, mark = header["version"], header.get("mark", "")
            epochs = int(header.get("epochs", self._epochs))  # not in files of 0.1.0
        except FileNotFoundError:
            return None
        except Exception as error:  # zipfile alone raises five kinds for damaged files
            raise ValueError(f"{self._path} is not a checkpoint of fastbp.fit: {error}") from error
        self.of_fewer = epochs < self._epochs
        expected = self._arguments.fingerprint(epochs) if self.of_fewer else self._mark
        if version != _VERSION or mark != expected:
            raise ValueError(
                f"{self._path} belongs to a fit with other arguments or data, or of a release "
                "whose optimizer took other steps; give another path, or delete it"
            )
        if self.of_fewer and self._arguments.depend_on_epochs(epochs, self._epochs):
            raise ValueError(
                f"{self._path} belongs to a fit of {epochs} epochs, whose learning rates depend on "
                f"that number, so that {self._epochs} can't go on from it; give another path"
            )
        return arrays

    def keep(self, arrays: dict[str, NDArray]) -> None:
        """Take over a consistent state, and write it if the last write is some time ago."""
        header = {
            "version": _VERSION, "mark": self._mark, "epochs": self._epochs, "arrays": [*arrays],
        }  # fmt: skip
        self._kept = {"header": np.array(json.dumps(header)), **arrays}
        if time.monotonic() - self._written > _SECONDS:
            self.write()

    def write(self) -> None:
        """Write the last state taken over."""
        if self._kept is None:
            return
        content = io.BytesIO()
        try:
            np.savez(content, **self._kept)  # type: ignore[arg-type]
        except ValueError as error:  # zipfile's, of what Ctrl-C has left open
            raise error.__context__ or error from None
        write_atomically(self._path, content.getvalue())
        self._written = time.monotonic()
