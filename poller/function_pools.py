"""A pool with all that the settings say about functions: where its log goes, and when its code is run anew."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from poller.debugging import debug_port
from poller.faults.chance import InvocationFaults
from poller.log import FunctionLog
from poller.logs.writer import LogFiles
from poller.model import FunctionConfiguration
from poller.reloading import CodeWatch
from poller.runtime.handler_log import LogSink
from poller.runtime.pool import FunctionPool
from poller.settings import Settings, reloads

IDLE_TIMEOUT = 300.0
"""Seconds after which an environment without work is stopped."""

_log = logging.getLogger(__name__)

MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FunctionPools:
    """Makes pools; starts nothing."""

    settings: Settings
    state_folder: Path
    log_files: LogFiles | None

    def make(self, configuration: FunctionConfiguration, account_concurrency: int) -> FunctionPool:
        """The pool of one function, which has this share of the account's concurrency."""
        port = debug_port(self.settings, configuration)
        if port is not None:
            reserved = configuration.reserved_concurrent_executions
            most = None if reserved is None else min(reserved, 1)
            configuration = replace(configuration, debug_port=port, reserved_concurrent_executions=most)
            account_concurrency = 1
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
            faults=self._faults(configuration.function_name),
            account_concurrency=account_concurrency,
            idle_timeout=IDLE_TIMEOUT if port is None else threading.TIMEOUT_MAX,
        )

    def _faults(self, function_name: str) -> InvocationFaults | None:
        faults = self.settings.Faults.Functions.get(function_name)
        return None if faults is None else InvocationFaults(faults, self.settings.Faults.Seed, function_name)

    def code_watch(self, pools: Iterable[FunctionPool]) -> CodeWatch | None:
        """What reloads these functions, not yet started; None where the settings want none."""
        if not reloads(self.settings.Reload):
            return None
        by_folder: dict[Path, list[FunctionPool]] = {}
        for pool in pools:
            if pool.configuration.debug_port is not None:
                continue  # who is in the middle of its code does not want another
            by_folder.setdefault(pool.configuration.code, []).append(pool)
        return CodeWatch(by_folder, self.state_folder)

    def flush(self) -> None:
        """Write what functions said last. Blocks for the disk."""
        if self.log_files is not None:
            self.log_files.flush()


def log_files_wanted(settings: Settings) -> bool:
    """What `auto` means here: files where the log goes to a terminal."""
    return sys.stderr.isatty() if settings.LogFiles == "auto" else settings.LogFiles == "true"


def function_pools(settings: Settings, state_folder: Path) -> FunctionPools:
    """What these settings make of functions."""
    if faults := settings.Faults.shown():
        _log.warning("faults are made on purpose: %s", ", ".join(faults))
    most = settings.LogFilesSize * MEGABYTE
    files = LogFiles(state_folder, most) if log_files_wanted(settings) else None
    return FunctionPools(settings, state_folder, files)
