"""A local folder as the code of a function: what it is known by, and its size. Read again only when it has changed."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from poller.api_errors import ApiError, invalid_parameter

MAXIMUM_UNZIPPED = 250 * 1024 * 1024
"""Bytes of all files of a package (recorded)."""

_PIECE = 1024 * 1024


class Package(NamedTuple):
    """What a function's code is."""

    folder: Path
    """Absolute; what handlers run in."""
    sha256: str
    """In hexadecimal digits: of the zip, or of what is in a folder."""
    size: int
    """Bytes: of the zip, or of the folder's files."""


class Folders:
    """Any thread; blocks for the disk."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[str, Package]] = {}
        """With what the files looked like when they were read."""

    def measured(self, folder: Path) -> Package:
        """The SHA-256 of its files' names and contents, and their size.

        Raises:
            ApiError: there is no such folder, it cannot be read, or it is too large.
        """
        try:
            if not folder.is_dir():
                raise invalid_parameter(f"There is no folder {folder}.")
            looks, size = _looks(folder)
            with self._lock:
                known = self._known.get(folder)
            if known is not None and known[0] == looks:
                return known[1]
            package = Package(folder, _hashed(folder), size)
        except (OSError, ValueError) as error:
            raise invalid_parameter(f"The folder {folder} cannot be read: {error}") from None
        with self._lock:
            self._known[folder] = looks, package
        return package


def too_large() -> ApiError:
    """400: more than a package may have, unpacked."""
    return invalid_parameter(f"Unzipped size must be smaller than {MAXIMUM_UNZIPPED} bytes")


def _looks(folder: Path) -> tuple[str, int]:
    """What tells that a file has changed, and the size of all of them."""
    digest, size = hashlib.sha256(), 0
    for path in _files(folder):
        status = path.stat()
        size += status.st_size
        if size > MAXIMUM_UNZIPPED:
            raise too_large()
        digest.update(
            f"{path}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}\0".encode(errors="surrogateescape")
        )
    return digest.hexdigest(), size


def _hashed(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in _files(folder):
        content = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                content.update(piece)
        name = os.fsencode(path.relative_to(folder).as_posix())
        digest.update(b"%d:%s%s" % (len(name), name, content.digest()))
    return digest.hexdigest()


def _files(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Files below a folder, in the order of their names, without what Python writes beside them; links are followed."""
    above = (*above, folder.resolve())
    for path in sorted(folder.iterdir()):
        if path.name == "__pycache__" or path.resolve() in above:
            continue
        if path.is_dir():
            yield from _files(path, above)
        elif path.is_file():
            yield path
