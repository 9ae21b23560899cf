"""Deployment packages in the state folder: unpacked once for each content, with the zip itself for who wants it back.

`code/<SHA-256>` is the folder that handlers run in, `code/<SHA-256>.zip` what was sent. A package is unpacked beside
its place and renamed, so what has its name is whole. Zips come from anybody who may call: nothing in one leaves its
folder, and it is unpacked only as far as the limits of A.2 go, whatever it says of its sizes.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import stat
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO

from poller.account.folders import MAXIMUM_UNZIPPED, Folders, Package, too_large
from poller.api_errors import ApiError, invalid_parameter
from poller.async_invoke.folder import unusable
from poller.runtime.layers import BROKEN_ZIP, copy_over

FOLDER = "code"

CODE_PATH = "/_code"
"""Where the zip of a package can be had: this, the SHA-256, and `.zip`."""

MAXIMUM_ZIPPED = 50 * 1024 * 1024
"""Bytes of a zip that comes over the API (A.2, recorded)."""
MAXIMUM_ENTRIES = 100_000
"""Files and folders of a package; ours: each costs an inode, however small it is."""

BROKEN = "Could not unzip uploaded file. Please check your file, then try to upload again."
KEPT = "code/ of the state folder: the package is not kept, and so refused"

MAXIMUM_LINK = 4096
"""Bytes of what a symbolic link says."""

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE}
"""What is wrong with the disk, not with the package."""
_FEW = 100
"""Files that are flushed one by one; for more it is quicker to flush all there is."""
_ENTRY = b"PK\1\2"
"""What an entry of a zip's directory begins with."""
_PIECE = 1024 * 1024
_NEW = ".new-"


class Packages:
    """Those of one state folder. Any thread; blocks for the disk."""

    def __init__(self, state_folder: Path) -> None:
        self._folder = state_folder / FOLDER
        self.folders = Folders()
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        """Packages that a call is just making something of."""

    def add_zip(self, content: bytes) -> Package:
        """Unpack a zip, unless that is done already. It is held until `let_go`.

        Raises:
            ApiError: it is too large, broken, or wants to be somewhere else.
            StateError: the disk does not take it.
        """
        if len(content) > MAXIMUM_ZIPPED:
            text = f"Zipped size must be smaller than {MAXIMUM_ZIPPED} bytes"
            raise ApiError(413, "RequestEntityTooLargeException", text)
        digest = hashlib.sha256(content).hexdigest()

        def fill(folder: Path) -> None:
            _unpack(content, folder)
            file = self._folder / f"{digest}.zip"
            partly = folder.with_suffix(".zip")
            partly.write_bytes(content)
            partly.chmod(0o600)
            _sync(partly)
            partly.rename(file)

        return Package(self._made(digest, fill), digest, len(content))

    def add_folder(self, source: Path) -> Package:
        """Copy a local folder as it is now. It is held until `let_go`.

        Raises:
            ApiError: it is too large, or cannot be read.
            StateError: the disk does not take it.
        """
        found = self.folders.measured(source)

        def fill(folder: Path) -> None:
            try:
                shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            except (OSError, shutil.Error) as error:
                raise invalid_parameter(f"The folder {source} cannot be copied: {error}") from None

        return found._replace(folder=self._made(found.sha256, fill))

    def add_merged(self, packages: Sequence[Package]) -> Package:
        """Bring the files of several packages together, as layers are: the later one wins. It is held until `let_go`.

        Raises:
            StateError: the disk does not take it.
        """
        digest = hashlib.sha256(" ".join(package.sha256 for package in packages).encode()).hexdigest()

        def fill(folder: Path) -> None:
            for package in packages:
                copy_over(package.folder, folder)

        return Package(self._made(digest, fill), digest, sum(package.size for package in packages))

    def zip_of(self, sha256: str) -> Path:
        """The zip of a package that came as one."""
        return self._folder / f"{sha256}.zip"

    def location(self, package: Package) -> str:
        """Where a package can be had: a path of this service, or a `file:` URL of a folder."""
        is_zip = self.zip_of(package.sha256).exists()
        return f"{CODE_PATH}/{package.sha256}.zip" if is_zip else package.folder.as_uri()

    def let_go(self, package: Package) -> None:
        """It is in use by now, or is not wanted any more."""
        with self._lock:
            self._held[package.sha256] -= 1

    def collect(self, used: Collection[str]) -> None:
        """Remove packages that nothing runs on, and what a start that was killed has left behind.

        Args:
            used: folders, as text.
        """
        with self._lock:
            try:
                names = [path.name for path in self._folder.iterdir()]
            except FileNotFoundError:
                return
            keep = {Path(folder).name for folder in used if Path(folder).parent == self._folder}
            keep |= {digest for digest, count in self._held.items() if count > 0}
            for name in names:
                if name.removesuffix(".zip") not in keep and not name.startswith(_NEW):
                    _remove(self._folder / name)

    def clean(self) -> None:
        """At the start: remove what was being unpacked when the last one was killed."""
        for path in self._folder.glob(f"{_NEW}*"):
            _remove(path)

    def _made(self, digest: str, fill: Callable[[Path], None]) -> Path:
        place = self._folder / digest
        with self._lock:
            self._held[digest] += 1
            if place.is_dir():
                return place
        partly = self._folder / f"{_NEW}{digest}-{threading.get_ident()}"
        try:
            for folder in (self._folder.parent, self._folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            partly.mkdir(mode=0o700)
            fill(partly)
            _flush(partly)
            with self._lock:
                if not place.is_dir():  # somebody else may have been as far at the same time
                    partly.rename(place)
            _sync(self._folder)
        except OSError as error:
            self._give_up(digest, partly)
            raise unusable(self._folder, error.strerror or str(error), KEPT) from None
        except BaseException:
            self._give_up(digest, partly)
            raise
        if partly.exists():
            _remove(partly)
        return place

    def _give_up(self, digest: str, partly: Path) -> None:
        with self._lock:
            self._held[digest] -= 1
        _remove(partly)
        _remove(partly.with_suffix(".zip"))


def _unpack(content: bytes, folder: Path) -> None:
    if content.count(_ENTRY) > MAXIMUM_ENTRIES:  # before the library makes an object of each
        raise invalid_parameter(f"The package has more than {MAXIMUM_ENTRIES} files.")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _unpack_all(archive, folder)
    except OSError as error:
        if error.errno in _DISK:
            raise
        raise invalid_parameter(BROKEN, error.strerror or "") from None  # such as names longer than they can be
    # The library says of what is wrong with a zip whatever it comes upon.
    except BROKEN_ZIP as error:
        raise invalid_parameter(BROKEN, str(error)) from None


def _unpack_all(archive: zipfile.ZipFile, folder: Path) -> None:
    links, left = [], MAXIMUM_UNZIPPED
    for entry in archive.infolist():
        path = folder / _inside(entry.filename)
        if stat.S_ISLNK(entry.external_attr >> 16):
            links.append((entry, path))
        elif entry.is_dir():
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
        else:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with archive.open(entry) as source:
                left = _copy(source, path, left)
            path.chmod(0o755 if entry.external_attr >> 16 & 0o111 else 0o644)
    for entry, path in links:  # when all files are there, so that none is written through one of them
        with archive.open(entry) as source:
            _link(os.fsdecode(source.read(MAXIMUM_LINK)), path, folder)


def _inside(name: str) -> PurePosixPath:
    """The name of an entry, which stays below the package's folder.

    Raises:
        ApiError: it does not.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise invalid_parameter(BROKEN, f"the entry {name[:80]!r} is not below the package's folder")
    return path


def _copy(source: IO[bytes], path: Path, left: int) -> int:
    """Write one file; returns how many bytes may still come after it. What the zip says of its size is not believed."""
    with path.open("wb") as target:
        while piece := source.read(_PIECE):
            left -= len(piece)
            if left < 0:
                raise too_large()
            target.write(piece)
    return left


def _link(target: str, path: Path, folder: Path) -> None:
    """Make a symbolic link, if it leads to something in the package: also through the links that are there already."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    there = os.path.normpath(path.parent / target)
    inside = folder.resolve()
    if Path(target).is_absolute() or not Path(there).is_relative_to(folder) or not _leads_to(path, target, inside):
        raise invalid_parameter(BROKEN, f"the link {path.name[:80]!r} leads out of the package's folder")
    path.symlink_to(target)
    if not path.resolve().is_relative_to(inside):
        raise invalid_parameter(BROKEN, f"the link {path.name[:80]!r} leads out of the package's folder")


def _leads_to(path: Path, target: str, inside: Path) -> bool:
    return path.parent.resolve().is_relative_to(inside) and (path.parent / target).resolve().is_relative_to(inside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(FileNotFoundError, NotADirectoryError):  # what should be its folder may be a file
        path.unlink()


def _flush(folder: Path) -> None:
    """All of a package is on the disk before anything names it."""
    paths = [path for path in (folder, *folder.rglob("*")) if not path.is_symlink()]
    if len(paths) > _FEW:
        os.sync()
        return
    for path in paths:
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
