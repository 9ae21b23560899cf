"""Reloads functions whose code is saved: watches their folders, and has their pools begin anew (developer loop).

What is watched follows the functions: the folders of those that calls make or change come with their pools, and go when
nothing runs on them any more. A folder is the function's code, or a local folder of one of its layers.

The system watches a folder, not its name. A folder that is replaced, by a version control system, a build, or a link
that leads elsewhere now, is found by looking at what has its name, once a second.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import stat
import threading
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from time import time

from poller.model import FunctionConfiguration
from poller.runtime import layers
from poller.runtime.pool import FunctionPool

DEBOUNCE = 300
"""Milliseconds in which changes of files are taken together: an editor writes a file in several steps, and a version
control system many files."""

STEP = 100
"""Milliseconds between two looks whether there are changes, and whether there were any more since the last look."""

LOOK = 1000
"""Milliseconds after which the system's watches are certainly there: they say nothing of it themselves."""

SLACK = 0.02
"""Seconds that a file's time may be behind the clock: the kernel takes it from its last tick, 100 of them a second."""

_TOOLS = frozenset(
    {".git", ".hg", ".svn", ".idea", ".vscode", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
    | {".hypothesis", ".aws-sam"}
)
_LIBRARIES = frozenset({".venv", "venv", "node_modules", "site-packages"})
"""What lies in these is no code that somebody edits; of a layer it is all there is."""

_FILES = re.compile(
    r".*\.py[cod]"  # compiled
    r"|.*~|#.*#|\.#.*"  # Emacs, and copies of others
    r"|\..*\.sw[a-z]|4913|\.swp"  # vim
    r"|.*___jb_(tmp|old)___|\.goutputstream-.*|.*\.tmp|\.DS_Store"  # JetBrains, GNOME, macOS
)

_log = logging.getLogger(__name__)


def is_code(path: Path, folder: Path, passed_over: Path, *, layer: bool = False) -> bool:
    """Whether a change of this file is a change of the code in that folder. Pure.

    Args:
        path: the file.
        folder: the function's code, or a layer.
        passed_over: a folder whose files change by themselves, such as the state folder.
        layer: whether it is a layer, whose libraries are its code.
    """
    if not path.is_relative_to(folder) or path.is_relative_to(passed_over):
        return False
    parts = path.relative_to(folder).parts
    return bool(parts) and not _passed_over(layer=layer).intersection(parts) and _FILES.fullmatch(parts[-1]) is None


Changes = Callable[[list[Path], threading.Event], Iterable[Iterable[Path]]]
"""Gives sets of changed files below folders until the event is set, the first one, maybe empty, when it sees them."""


class CodeWatch:
    """The thread `reload`. `start` and `stop` from one thread, `made` and `ended` from any.

    Args:
        passed_over: see `is_code`.
        changes: watchfiles' by default.
    """

    def __init__(self, passed_over: Path, changes: Changes | None = None) -> None:
        self._pools: Callable[[], Iterable[FunctionPool]] = tuple
        self._passed_over = Path(os.path.realpath(passed_over))
        self._changes = changes or _watched
        self._lock = threading.Lock()
        self._watched: frozenset[Path] = frozenset()
        self._unseen_since = time()
        """When somebody may have saved a file that nothing watched. With the lock."""
        self._again = threading.Event()
        """There is something else to watch, or nothing any more: ends what watches now."""
        self._places: dict[Path, _Identity | None] = {}
        """Which folder has each name that functions were given; None where there is none. On the thread only."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="reload", daemon=True)

    def start(self, pools: Callable[[], Iterable[FunctionPool]]) -> None:
        """Watch from now on.

        Args:
            pools: those that run when it is called, on this thread.
        """
        self._pools = pools
        self._thread.start()

    def stop(self) -> None:
        """Watch no more. Blocks for a moment; safe before `start`."""
        self._stopping = True
        self._again.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def made(self, configuration: FunctionConfiguration) -> None:
        """A pool of this function is being made. Does not block, and asks for no pools: their lock may be held."""
        with self._lock:
            if not self._watched.issuperset(self._folders([configuration])):
                self._look_again()

    def ended(self) -> None:
        """A pool has ended. Does not block."""
        with self._lock:
            self._look_again()

    def _look_again(self) -> None:
        """With the lock held."""
        if not self._again.is_set():
            self._unseen_since = time()
        self._again.set()

    def _folders(self, configurations: Iterable[FunctionConfiguration]) -> dict[Path, bool]:
        """What to watch for functions, as absolute folders without links, and which of it is a layer."""
        found: dict[Path, bool] = {}
        for item in configurations:
            if item.debug_port is None:  # who is in the middle of its code does not want another
                found.setdefault(Path(os.path.realpath(item.code)), False)
                found |= {Path(os.path.realpath(layer)): True for layer in item.layers}
        return {folder: layer for folder, layer in found.items() if not folder.is_relative_to(self._passed_over)}

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._watch()
            except FileNotFoundError:  # a folder went while the watches were set up
                self._again.wait(LOOK / 1000)
            except (OSError, RuntimeError) as error:  # no watches left: a limit of the system
                _log.warning("code is not watched any more, and changes need a restart: %s", error)
                return

    def _watch(self) -> None:
        """Until there is something else to watch."""
        with self._lock:
            self._watched = frozenset()  # who is made from here on may not be among those that are asked for
            self._again.clear()
            since = self._unseen_since - SLACK
        if self._stopping:
            return
        pools = list(self._pools())
        self._run_replaced(pools)
        wanted = self._folders(pool.configuration for pool in pools)
        folders = {folder: layer for folder, layer in wanted.items() if folder.is_dir()}
        with self._lock:
            self._watched = frozenset(wanted)
        if not folders:
            self._again.wait(LOOK / 1000 if wanted else None)
            return
        changes = iter(self._changes(sorted(folders), self._again))
        first = [*next(changes, ()), *_saved_since(folders, since)]
        for changed in itertools.chain([first], map(list, changes)):
            self._reload(changed)
            if self._is_replaced(folders.keys() & set(changed)):
                return

    def _is_replaced(self, gone: AbstractSet[Path]) -> bool:
        """Whether a name has another folder now, which nothing watches; these were told to be gone."""
        for name in self._places if gone else ():
            if Path(os.path.realpath(name)) in gone:
                self._places[name] = None  # the next folder may get the number of this one
        if all(identity == _identity(name) for name, identity in self._places.items()):
            return False
        with self._lock:
            self._look_again()
        return True

    def _run_replaced(self, pools: Iterable[FunctionPool]) -> None:
        """Have functions run what is in folders that were replaced."""
        before, places = self._places, dict[Path, _Identity | None]()
        for pool in pools:
            replaced = []
            for name in () if pool.configuration.debug_port else (pool.configuration.code, *pool.configuration.layers):
                now = places.setdefault(name, _identity(name))
                if now is not None and before.get(name, now) != now:
                    replaced.append(name)
                    if name != pool.configuration.code:
                        layers.changed(Path(os.path.realpath(name)))
            if replaced:
                pool.reload()
                extra = {"function": pool.configuration.function_name}
                _log.info("replaced: %s; the next invocation runs it", replaced[0], extra=extra)
        self._places = places

    def _reload(self, changed: Iterable[Path]) -> None:
        paths = sorted(set(changed))
        for pool in self._pools() if paths else ():
            code: list[str] = []
            for folder, layer in self._folders([pool.configuration]).items():
                saved = [path for path in paths if is_code(path, folder, self._passed_over, layer=layer)]
                code += [str(path.relative_to(folder)) for path in saved]
                if saved and layer:
                    layers.changed(folder)
            if code:
                pool.reload()
                shown = code[0] + (f" and {len(code) - 1} more" if len(code) > 1 else "")
                name = pool.configuration.function_name
                _log.info("saved: %s; the next invocation runs it", shown, extra={"function": name})


_Identity = tuple[int, int]
"""Device and inode."""


def _identity(folder: Path) -> _Identity | None:
    try:
        found = os.stat(folder)  # noqa: PTH116 - of each folder once a second
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None  # a layer may be an archive


def _saved_since(folders: Mapping[Path, bool], since: float) -> list[Path]:
    """Files that were written, renamed or given other rights since that time, which nobody can turn back."""
    found = []
    for root, layer in folders.items():
        for place, below, files in os.walk(root):
            below[:] = [name for name in below if name not in _passed_over(layer=layer)]
            for path in (Path(place, name) for name in files):
                with suppress(OSError):  # it is gone
                    if path.lstat().st_ctime >= since:
                        found.append(path)
    return found


def _passed_over(*, layer: bool) -> frozenset[str]:
    return _TOOLS if layer else _TOOLS | _LIBRARIES


def _watched(folders: list[Path], ending: threading.Event) -> Iterable[Iterable[Path]]:
    import watchfiles  # noqa: PLC0415 - of an extra

    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it counts changes; which ones is what we tell
    changes = watchfiles.watch(
        *folders,
        watch_filter=None,
        debounce=DEBOUNCE,
        step=STEP,
        stop_event=ending,
        raise_interrupt=False,
        rust_timeout=LOOK,
        yield_on_timeout=True,
    )
    for changed in changes:
        yield [Path(path) for _, path in changed]
