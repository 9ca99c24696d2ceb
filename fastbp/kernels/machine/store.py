"""Machine code on disk: a folder for each build, a file for each unit, which says what it is.

A stored file: MAGIC, the hash (BLAKE2b) of all that follows, the length of the header, the header,
the object. The header names the unit, its whole key, the build and the target, and is compared as
a whole. What can't be read, or is not what is asked for, is None: compiled in the process, and
written anew.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from .target import build_key, is_current, new_hash, target

MAGIC = b"fastbp\x00\x01"
_FORMAT = 2
_HASH = slice(len(MAGIC), len(MAGIC) + 32)
_LENGTH = slice(_HASH.stop, _HASH.stop + 4)

_OURS = (".bin", ".tmp")
_MOST_BUILDS = 5
_MOST_DAYS = 30.0
_DAY = 86400.0
_HALF_WRITTEN = 3600.0  # seconds after which nobody is writing it any more


class Description(NamedTuple):
    """What a stored object is: the unit's name, and its whole key."""

    name: str
    key: str

    @property
    def digest(self) -> str:
        """Hash of the key and of the build."""
        return new_hash(f"{build_key()}\0{self.name}\0{self.key}".encode()).hexdigest()[:32]

    @property
    def file_name(self) -> str:
        """Name of the file."""
        return f"{self.name}-{self.digest}.bin"

    def _header(self) -> bytes:
        said = {
            "format": _FORMAT,
            "unit": self.name,
            "key": self.key,
            "build": build_key(),
            "target": target(),
        }
        return repr(said).encode()  # not json, whose import takes 2 ms

    def pack(self, image: bytes) -> bytes:
        """Content of the file that holds an object."""
        header = self._header()
        rest = len(header).to_bytes(4, "little") + header + image
        return MAGIC + new_hash(rest).digest() + rest

    def unpack(self, content: bytes) -> bytes | None:
        """Return the object that is in a file; None where the file is not this one's."""
        rest = content[_HASH.stop :]
        if content[: len(MAGIC)] != MAGIC or new_hash(rest).digest() != content[_HASH]:
            return None
        start = _LENGTH.stop
        end = start + int.from_bytes(content[_LENGTH], "little")
        return content[end:] if content[start:end] == self._header() else None


def folders() -> list[Path]:
    """Folders that may hold those of the builds, in the order in which they are tried.

    ``NUMBA_CACHE_DIR`` where it is set, the package's own, the user's cache folder.
    """
    found = []
    if named := os.environ.get("NUMBA_CACHE_DIR"):
        found.append(Path(named).absolute())
    found.append(Path(__file__).parents[2] / "__pycache__")
    with suppress(RuntimeError):  # nobody's home
        if os.name == "nt":
            found.append(Path(os.environ.get("LOCALAPPDATA") or Path.home()))
        elif cache_home := os.environ.get("XDG_CACHE_HOME"):
            found.append(Path(cache_home))
        else:
            caches = "Library/Caches" if sys.platform == "darwin" else ".cache"
            found.append(Path.home() / caches)
    return found


@cache
def build_folders() -> tuple[Path, ...]:
    """Folders of this build, existing or not: those that are only read, and one to write to."""
    found = []
    for folder in folders():
        found.append(folder / f"fastbp-{build_key()[:16]}")
        if _may_be_written(found[-1]):
            break
    return tuple(found)


def _may_be_written(folder: Path) -> bool:
    """Whether files can be made there, and the folder itself where it is not there yet."""
    for there in (folder, *folder.parents):
        try:
            there.lstat()
        except FileNotFoundError:
            continue
        except OSError:  # within a folder of somebody else's, or a name too long
            return False
        return os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)
    return False


def read(described: Description) -> bytes | None:
    """Return the object of a unit from the first folder that has it; None where none has."""
    for folder in build_folders():
        try:
            content = (folder / described.file_name).read_bytes()
        except OSError:
            continue
        image = described.unpack(content)
        if image is not None:
            _note_use(folder)
            return image
    return None


def write(described: Description, image: bytes) -> None:
    """Store an object in the first folder that takes it: all of it, or nothing.

    A reader, in this process or another, sees the whole file or none.
    """
    if not is_current():
        return
    content = described.pack(image)
    for folder in build_folders():
        if _written(folder, described.file_name, content):
            _clear_old(folder)
            return


def _written(folder: Path, name: str, content: bytes) -> bool:
    temporary = folder / f"{name[:-4]}-{os.getpid()}-{os.urandom(4).hex()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Not `tempfile`, which makes files for one user: these follow the umask.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
    except OSError:
        return False
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.replace(temporary, folder / name)
    except OSError:  # full, perhaps: the next process compiles, no more
        with suppress(OSError):
            temporary.unlink()
        return False
    return True


_BINARY = getattr(os, "O_BINARY", 0)  # Windows


@cache
def _note_use(folder: Path) -> None:
    """Let the folder's time say that it is used, to a day."""
    with suppress(OSError):
        if time.time() - folder.stat().st_mtime > _DAY:
            os.utime(folder)


@cache
def _clear_old(current: Path) -> None:
    """Remove what was left half written, and builds that are old or beyond the newest few."""
    now = time.time()
    with suppress(OSError):
        for file in current.glob("*.tmp"):
            if now - file.stat().st_mtime > _HALF_WRITTEN:
                file.unlink()
    others = []
    for folder in _builds(current.parent):
        with suppress(OSError):
            if folder != current:
                others.append((folder.stat().st_mtime, folder))
    others.sort(reverse=True)
    for place, (when, folder) in enumerate(others, start=2):
        if place > _MOST_BUILDS or now - when > _MOST_DAYS * _DAY:
            clear(folder)


def _builds(folder: Path) -> list[Path]:
    try:
        there = [item for item in folder.iterdir() if item.is_dir()]
    except OSError:
        return []
    # The pattern is compiled here, where a start does not wait for it.
    return [item for item in there if re.fullmatch(r"fastbp-[0-9a-f]{16}", item.name)]


def builds() -> Iterator[Path]:
    """Folders of all builds that are there."""
    for folder in dict.fromkeys(folders()):
        yield from sorted(_builds(folder))


def files(build: Path) -> list[Path]:
    """Files of ours in a build's folder."""
    try:
        return sorted(file for file in build.iterdir() if file.suffix in _OURS and file.is_file())
    except OSError:
        return []


def clear(build: Path) -> int:
    """Remove a build's files, and its folder if nothing else is in it; returns how many."""
    removed = 0
    for file in files(build):
        with suppress(OSError):
            file.unlink()
            removed += 1
    with suppress(OSError):
        build.rmdir()
    return removed
