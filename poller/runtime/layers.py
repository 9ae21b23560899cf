"""A function's layers as one folder, which stands for `/opt` (E.2): the later layer wins where two have the same file.

Also its code as a folder, where that is an archive.

A single folder is taken as it is, so that changes in it are seen; what calls publish comes as one (`packages.py`).
Several, and archives, are brought together in a temporary folder, once per process of ours and again when a folder of
them was changed; it goes with that process.
"""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import struct
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from poller.runtime.runtimes import understood
from poller.runtime.temporary_folders import make_temporary_folder

BROKEN_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
"""What `zipfile` raises of an archive that is none, is damaged or encrypted, or is packed in a way it does not know."""

_copying = threading.Lock()
_merged: dict[tuple[Path, ...], list[Path]] = {}
"""Folders in which layers were brought together: that of now, and before it the last one. With the lock."""
_changed: set[tuple[Path, ...]] = set()
"""Those that have to be brought together again. With the lock."""


def opt(layers: tuple[Path, ...]) -> Path | None:
    """The folder of these layers, in their order; None when there are none. Any thread; blocks for copying.

    Raises:
        OSError: one of them is gone, or is no archive any more.
    """
    if not layers:
        return None
    if len(layers) == 1 and layers[0].is_dir():
        return layers[0]
    with _copying:
        if layers not in _merged or layers in _changed:
            folders = [*_merged.get(layers, []), _brought_together(layers)]
            _merged[layers] = folders[-2:]  # what is in work may still look into the last one
            _changed.discard(layers)
            for folder in folders[:-2]:
                shutil.rmtree(folder, ignore_errors=True)
        return _merged[layers][-1]


def unpacked(archive: Path) -> Path:
    """The folder with what is in a zip archive, such as a function's code. Any thread; blocks for unpacking.

    Raises:
        OSError: it is gone, or is no archive.
    """
    folder = opt((archive,))
    assert folder is not None
    return folder


def changed(layer: Path) -> None:
    """Files of a layer were saved: environments that start from now on find them. Waits for copying at most.

    Args:
        layer: absolute, without links.
    """
    with _copying:
        _changed.update(layers for layers in _merged if layer in {Path(os.path.realpath(one)) for one in layers})


def _brought_together(layers: tuple[Path, ...]) -> Path:
    named = layers[0].name[:100]  # it is in texts of problems
    folder = make_temporary_folder(f"poller-opt-{named}")
    try:
        for layer in layers:
            if layer.is_dir():
                copy_over(layer, folder)
            else:
                with tempfile.TemporaryDirectory(dir=folder.parent) as unpacked:
                    _unpack(layer, Path(unpacked))
                    copy_over(Path(unpacked), folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def copy_over(layer: Path, folder: Path) -> None:
    """Bring a layer's files into a folder, where what has the same name gives way. No link there is followed.

    Raises:
        OSError: it cannot be copied.
    """

    def fail(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(layer, onerror=fail):
        there = folder / Path(parent).relative_to(layer)
        for name in (*folders, *files):
            source, target = Path(parent, name), there / name
            is_folder = source.is_dir() and not source.is_symlink()
            if target.is_symlink() or target.is_file():
                target.unlink()
            elif target.is_dir() and not is_folder:
                shutil.rmtree(target)
            if is_folder:
                target.mkdir(exist_ok=True)
            else:
                shutil.copy2(source, target, follow_symlinks=False)


def _unpack(archive: Path, folder: Path) -> None:
    """Into an empty folder. `zipfile` forgets who may execute a file and which is a link, but no name leads outside."""
    links: dict[Path, None] = {}  # each once, though an archive may name one twice
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                written = Path(opened.extract(member, folder))
                mode = member.external_attr >> 16
                if stat.S_ISLNK(mode):
                    links[written] = None
                elif stat.S_IMODE(mode) and not member.is_dir():
                    written.chmod(stat.S_IMODE(mode) | stat.S_IRUSR)
        for link in links:  # when all files are there, so that none is written through one of them
            target = os.fsdecode(link.read_bytes())
            link.unlink()
            link.symlink_to(target)
    except BROKEN_ZIP as error:
        raise OSError(f"{archive} is no archive that can be read: {error}") from None


def with_layers(variables: Mapping[str, str], runtime: str, folder: Path | None) -> dict[str, str]:
    """Variables in which programs, libraries and modules of the layers are found.

    What the person set comes first, so that it wins over a layer, and a layer wins over the machine.
    """
    extended = dict(variables)
    if folder is None:
        return extended
    language, version = understood(runtime)
    _extend(extended, "PATH", [folder / "bin"], first=True)
    _extend(extended, "LD_LIBRARY_PATH", [folder / "lib"], first=True)
    if language == "python":
        site_packages = folder / "python" / "lib" / f"python{version}" / "site-packages"
        _extend(extended, "PYTHONPATH", [site_packages, folder / "python"])
    elif language == "nodejs":
        modules = [folder / "nodejs" / f"node{version}" / "node_modules", folder / "nodejs" / "node_modules"]
        _extend(extended, "NODE_PATH", modules)
    return extended


def _extend(variables: dict[str, str], name: str, folders: list[Path], *, first: bool = False) -> None:
    added = [str(folder) for folder in folders]
    known = [variables[name]] if variables.get(name) else []
    variables[name] = os.pathsep.join([*added, *known] if first else [*known, *added])
