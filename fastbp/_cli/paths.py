"""Where a command is to write: looked at before its work, which would be lost else."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence


def check(writes: Mapping[str, str | None], reads: Sequence[str | None]) -> None:
    """Raise ValueError where a file can't be written, or would take the place of another.

    Parameters
    ----------
    writes : mapping of str to str or None
        The options and what they were given; None for those that were not.
    reads : sequence of str or None
        The files that are read.
    """
    known = [(path, "which is read") for path in reads if path is not None]
    for option, path in writes.items():
        if path is None:
            continue
        if path == "-":
            raise ValueError(f"{option} '-' is no file; the name of a file is expected")
        folder = os.path.dirname(path) or "."
        if not os.path.isdir(folder):
            raise ValueError(f"there is no folder {folder!r} for {path!r}")
        if os.path.exists(path) and not os.path.isfile(path):
            raise ValueError(f"{option} {path!r} is no file; the name of a file is expected")
        if not os.access(os.path.dirname(os.path.realpath(path)), os.W_OK):
            raise ValueError(f"{option} {path!r}: nothing can be written to the folder {folder!r}")
        for other, what in known:
            if _same(path, other):
                raise ValueError(f"{option} {path!r} would overwrite {other!r}, {what}")
        known.append((path, f"of {option}"))


def check_ending(option: str, path: str | None, expected: Collection[str]) -> None:
    """Raise ValueError for a name that ends like a file of another format, as ``.csv`` does.

    No ending is any format, and so is one that is no word, as of ``model-0.01``.
    """
    ending = os.path.splitext(path or "")[1][1:].lower()
    if ending.isalpha() and ending not in expected:
        endings = " or ".join(f".{end}" for end in sorted(expected))
        raise ValueError(f"{option} {path!r} ends in .{ending}; {endings} is expected")


def _same(path: str, other: str) -> bool:
    if os.path.exists(path) and os.path.exists(other):
        return os.path.samefile(path, other)
    return os.path.normcase(os.path.realpath(path)) == os.path.normcase(os.path.realpath(other))
