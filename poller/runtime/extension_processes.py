"""The programs of external extensions: those in `extensions/` of a function's layers, started with its environment."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic

from poller.runtime.file_descriptors import limit_file_descriptors
from poller.runtime.layers import opt
from poller.runtime.output import Output
from poller.runtime.process_group import NOT_EXECUTABLE, ExtensionNotStarted, ProcessGroup, exit_reason

_LOOK = 0.05
"""Seconds between looks whether a program lives."""


def programs(layers: tuple[Path, ...]) -> list[Path]:
    """The external extensions of a function, by name; as on Lambda also what nobody may execute."""
    folder = opt(layers)
    found = sorted((folder / "extensions").iterdir()) if folder and (folder / "extensions").is_dir() else []
    return [path for path in found if not path.is_dir()]


class ExtensionProcesses:
    """The processes of one environment's extensions. Used on its thread; `kill` is for any.

    Args:
        paths: the programs.
        folder: working folder.
        variables: their environment.
        output: takes what they write, in chunks.
        poll: that of the environment's thread.

    Raises:
        ExtensionNotStarted: one is no program for this machine.
        OSError: no processes or descriptors left. Whatever is raised, none of them is left then.
    """

    def __init__(
        self,
        paths: list[Path],
        *,
        folder: Path,
        variables: Mapping[str, str],
        output: Callable[[bytes], None],
        poll: select.poll,
    ) -> None:
        self._poll = poll
        self._groups: dict[int, tuple[str, ProcessGroup]] = {}
        """By the descriptor of their output."""
        self._watched: set[int] = set()
        try:
            for path in paths:
                self._start(path, folder, variables, output)
        except BaseException:
            self.end()
            raise

    def _start(self, path: Path, folder: Path, variables: Mapping[str, str], output: Callable[[bytes], None]) -> None:
        output_fd, output_end = os.pipe()
        try:
            os.set_blocking(output_fd, False)
            reading = Output(output_fd, output)
            group = ProcessGroup([str(path)], folder=folder, variables=variables, output=reading, output_end=output_end)
        except BaseException as error:
            os.close(output_fd)
            if isinstance(error, OSError) and error.filename == str(path) and error.errno in NOT_EXECUTABLE:
                text = f"fork/exec /opt/extensions/{path.name}: {os.strerror(error.errno).lower()}"
                raise ExtensionNotStarted(text) from None
            raise
        finally:
            os.close(output_end)
        limit_file_descriptors(group.pid)
        self._groups[output_fd] = (path.name, group)
        self._watch(output_fd)

    @property
    def pids(self) -> tuple[int, ...]:
        """The numbers of the processes. Any thread."""
        return tuple(group.pid for _, group in list(self._groups.values()))

    def owns(self, fd: int) -> bool:
        """Whether a ready descriptor is for `serve`."""
        return fd in self._groups

    def serve(self, fd: int) -> None:
        """Take what an extension wrote."""
        output = self._groups[fd][1].output
        output.read()
        if not output.wanted:  # its end: else a poll would spin on it
            self._unwatch(fd)

    def crashed(self) -> str | None:
        """How one of them ended, in A.4's words; None while all live."""
        for _, group in self._groups.values():
            status = group.status()
            if status is not None:
                return exit_reason(status).removeprefix("Runtime exited with error: ") if status else "exit status 0"
        return None

    def wait(self, deadline: float, serve: Callable[[float], None]) -> None:
        """Wait for all to end, until this monotonic time, `serve`ing meanwhile."""
        while (left := deadline - monotonic()) > 0 and not all(g.exited() for _, g in self._groups.values()):
            serve(min(left, _LOOK))

    def kill(self, but: Callable[[str], bool] = lambda _: False) -> None:
        """SIGKILL to all but those whose names are to stay. Does not wait."""
        for name, group in list(self._groups.values()):
            if not but(name):
                group.kill()

    def end(self) -> None:
        """Kill and reap all, and let their descriptors go. Idempotent."""
        for fd, (_, group) in list(self._groups.items()):
            self._unwatch(fd)
            group.end()
        self._groups = {}

    def _watch(self, fd: int) -> None:
        self._poll.register(fd, select.POLLIN)
        self._watched.add(fd)

    def _unwatch(self, fd: int) -> None:
        if fd in self._watched:
            self._watched.remove(fd)
            self._poll.unregister(fd)
