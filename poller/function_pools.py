"""A pool with all that the settings say about functions: where its log goes, and when its code is run anew."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from poller.debugging import debug_port
from poller.faults.chance import InvocationFaults
from poller.function_settings import FunctionSettings
from poller.invocation_request import LATEST
from poller.log import FunctionLog
from poller.logs.writer import LogFiles
from poller.model import FunctionConfiguration
from poller.reloading import CodeWatch
from poller.runtime.cgroup_place import NoControlGroups
from poller.runtime.control_groups import ControlGroups, find_control_groups
from poller.runtime.exit_watch import CAN_WATCH, ExitWatch
from poller.runtime.handler_log import LogSink
from poller.runtime.memory import MemoryWatch, Watched
from poller.runtime.pool import FunctionPool
from poller.setting_values import reloads
from poller.settings import Settings

_log = logging.getLogger(__name__)

MEGABYTE = 1024 * 1024


class FunctionPools:
    """Makes pools, and runs what watches over them.

    Args:
        settings: what they say about functions.
        state_folder: absolute.
        log_files: takes functions' logs, if they go to files.
        provisioned: environments that are kept initialised here, by function; of its `$LATEST`.
        control_groups: what limits their processes, or why nothing of the kernel's does.
    """

    def __init__(
        self,
        settings: Settings,
        state_folder: Path,
        log_files: LogFiles | None,
        provisioned: Mapping[str, int] | None = None,
        control_groups: ControlGroups | NoControlGroups | None = None,
    ) -> None:
        self.settings = settings
        self.state_folder = state_folder
        self.log_files = log_files
        self._provisioned = provisioned or {}
        self._groups = control_groups if isinstance(control_groups, ControlGroups) else None
        self._no_groups = str(control_groups or "") if self._groups is None else ""
        self._code = CodeWatch(state_folder) if reloads(settings.Reload) else None
        self._memory: MemoryWatch | None = None
        self._exits = ExitWatch() if CAN_WATCH else None

    def make(self, configuration: FunctionConfiguration, account_concurrency: int) -> FunctionPool:
        """The pool of one function, which has this share of the account's concurrency."""
        port = debug_port(self.settings, configuration)
        if port is not None:
            reserved = configuration.reserved_concurrent_executions
            most = None if reserved is None else min(reserved, 1)
            configuration = replace(configuration, debug_port=port, reserved_concurrent_executions=most)
            account_concurrency = 1
        if self._code is not None:
            self._code.made(configuration)
        log = FunctionLog(configuration.function_name)
        files = self.log_files

        def both(log_stream: str) -> LogSink:
            assert files is not None
            to_file = files.stream(configuration.log_group, log_stream)

            def say(event: str, request_id: str) -> None:
                log(event, request_id)
                to_file(event, request_id)

            return say

        return FunctionPool(
            configuration,
            log=log,
            log_streams=both if files is not None else None,
            faults=self._faults(configuration.function_name) if port is None else None,
            account_concurrency=account_concurrency,
            idle_timeout=self.settings.IdleTimeout if port is None else threading.TIMEOUT_MAX,
            provisioned=0 if port is not None else self._kept(configuration),
            freeze=port is None and self.settings.Functions.get(configuration.function_name, FunctionSettings()).Freeze,
            control_groups=self._groups if port is None else None,
            exits=self._exits,
        )

    def _kept(self, configuration: FunctionConfiguration) -> int:
        return self._provisioned.get(configuration.function_name, 0) if configuration.version == LATEST else 0

    def _faults(self, function_name: str) -> InvocationFaults | None:
        faults = self.settings.Faults.Functions.get(function_name)
        return None if faults is None else InvocationFaults(faults, self.settings.Faults.Seed, function_name)

    def start(self, pools: Callable[[], Iterable[FunctionPool]]) -> None:
        """Watch over pools that run: their code and their memory, as the settings want it. Once."""
        if self._code is not None:
            self._code.start(pools)
        if self.settings.EnforceMemory == "true":
            self._memory = MemoryWatch(
                lambda: [pool for pool in pools() if pool.configuration.debug_port is None],
                by_kernel=None if self._groups is None else self._groups.parent,
                reason=self._no_groups,
            )
            self._memory.start()

    def ended(self) -> None:
        """A pool has ended: its code may be nobody's any more. Any thread."""
        if self._code is not None:
            self._code.ended()

    def stop(self) -> None:
        """Watch no more, and write what functions said last. Blocks for the disk."""
        if self._code is not None:
            self._code.stop()
        if self._memory is not None:
            self._memory.stop()
        if self._exits is not None:
            self._exits.stop()
        if self.log_files is not None:
            self.log_files.flush()


def log_files_wanted(settings: Settings) -> bool:
    """What `auto` means here: files where the log goes to a terminal."""
    return sys.stderr.isatty() if settings.LogFiles == "auto" else settings.LogFiles == "true"


def function_pools(
    settings: Settings, state_folder: Path, provisioned: Mapping[str, int] | None = None
) -> FunctionPools:
    """What these settings make of functions, of which so many environments are kept initialised here."""
    if faults := settings.Faults.shown():
        _log.warning("faults are made on purpose: %s", ", ".join(faults))
    most = settings.LogFilesSize * MEGABYTE
    files = LogFiles(state_folder, most) if log_files_wanted(settings) else None
    return FunctionPools(settings, state_folder, files, provisioned, control_groups(settings))


@contextmanager
def memory_watched(settings: Settings, watched: Iterable[Watched]) -> Iterator[None]:
    """Watch over the memory of what a single command runs, as the settings want it.

    Without control groups: a command has none of its own, as a service may have.
    """
    if settings.EnforceMemory != "true":
        yield
        return
    watch = MemoryWatch(lambda: watched)
    watch.start()
    try:
        yield
    finally:
        watch.stop()


def control_groups(settings: Settings) -> ControlGroups | NoControlGroups | None:
    """What limits functions' processes, or why nothing of the kernel's does; None where nothing shall.

    May move this process into a control group below its own, so it comes before any other is started.
    """
    if settings.EnforceMemory != "true":
        return None
    try:
        return find_control_groups()
    except NoControlGroups as reason:
        return reason
