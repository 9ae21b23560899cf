"""Reloads functions whose code is saved: watches their folders, and has their pools begin anew (developer loop)."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from poller.runtime.pool import FunctionPool

DEBOUNCE = 300
"""Milliseconds in which changes of files are taken together: an editor writes a file in several steps, and a version
control system many files."""

_FOLDERS = frozenset(
    {".git", ".hg", ".svn", ".idea", ".vscode", ".venv", "venv", "node_modules", "__pycache__", ".mypy_cache"}
    | {".pytest_cache", ".ruff_cache", ".hypothesis", ".aws-sam", "site-packages"}
)
"""What lies in these is no code that somebody edits."""

_FILES = re.compile(
    r".*\.py[cod]"  # compiled
    r"|.*~|#.*#|\.#.*"  # Emacs, and copies of others
    r"|\..*\.sw[a-z]|4913|\.swp"  # vim
    r"|.*___jb_(tmp|old)___|\.goutputstream-.*|.*\.tmp|\.DS_Store"  # JetBrains, GNOME, macOS
)

_log = logging.getLogger(__name__)


def is_code(path: Path, folder: Path, passed_over: Path) -> bool:
    """Whether a change of this file is a change of the code in that folder. Pure.

    Args:
        path: the file.
        folder: the function's code.
        passed_over: a folder whose files change by themselves, such as the state folder.
    """
    if not path.is_relative_to(folder) or path.is_relative_to(passed_over):
        return False
    parts = path.relative_to(folder).parts
    return bool(parts) and not _FOLDERS.intersection(parts) and _FILES.fullmatch(parts[-1]) is None


class CodeWatch:
    """The thread `reload`. `start` and `stop` from one thread.

    Args:
        pools: by the folder with their code.
        passed_over: see `is_code`.
        changes: what gives sets of changed files until the event is set; watchfiles' `watch` by default.
    """

    def __init__(
        self,
        pools: Mapping[Path, Iterable[FunctionPool]],
        passed_over: Path,
        changes: Callable[[list[Path], threading.Event], Iterable[Iterable[Path]]] | None = None,
    ) -> None:
        self._pools = {Path(os.path.realpath(folder)): list(of_it) for folder, of_it in pools.items()}
        self._passed_over = Path(os.path.realpath(passed_over))
        self._changes = changes or _watched
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reload", daemon=True)

    def start(self) -> None:
        """Watch from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more. Blocks for a moment; safe before `start`."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def _run(self) -> None:
        folders = [folder for folder in self._pools if folder.is_dir()]
        try:
            for changed in self._changes(folders, self._stopping):
                self._reload(changed)
        except (OSError, RuntimeError) as error:  # no watches left: a limit of the system
            _log.warning("code is not watched any more, and changes need a restart: %s", error)

    def _reload(self, changed: Iterable[Path]) -> None:
        paths = sorted(set(changed))
        for folder, pools in self._pools.items():
            code = [path for path in paths if is_code(path, folder, self._passed_over)]
            if code:
                shown = str(code[0].relative_to(folder)) + (f" and {len(code) - 1} more" if len(code) > 1 else "")
                for pool in pools:
                    pool.reload()
                    name = pool.configuration.function_name
                    _log.info("saved: %s; the next invocation runs it", shown, extra={"function": name})


def _watched(folders: list[Path], stopping: threading.Event) -> Iterable[Iterable[Path]]:
    import watchfiles  # noqa: PLC0415 - of an extra

    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it counts changes; which ones is what we tell
    if not folders:
        return
    changes = watchfiles.watch(
        *folders, watch_filter=None, debounce=DEBOUNCE, stop_event=stopping, raise_interrupt=False
    )
    for changed in changes:
        yield [Path(path) for _, path in changed]
