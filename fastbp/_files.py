"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import Any


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Put `data` in place of the file at `path`: a reader sees the old file or the new, whole.

    The bytes go to a new file in the same folder, reach the disk, and then take the name. Where
    that fails nothing is left behind, and an older file stays as it was. A symbolic link is
    followed.
    """
    target = os.path.realpath(os.fspath(path))
    folder, name = os.path.split(target)
    if os.path.isdir(target):
        raise IsADirectoryError(f"{os.fspath(path)!r} is a folder; the name of a file is expected")
    # tempfile would give the file to its owner alone; "x" gives what the umask says, as open does.
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(8)}.part")
    try:
        with _naming(path, open, temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _naming(path, os.replace, temporary, target)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def _naming(path: str | os.PathLike[str], call: Callable, *arguments: Any) -> Any:
    """Call; an error names the path that the user gave, not that of the temporary file."""
    try:
        return call(*arguments)
    except OSError as error:
        if error.filename is None:
            raise
        raise type(error)(error.errno, error.strerror, os.fspath(path)) from None
