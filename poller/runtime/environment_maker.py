"""Makes the execution environments of one pool: what they have in common, whatever the function's configuration is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from poller.faults.chance import InvocationFaults
from poller.model import FunctionConfiguration
from poller.runtime.control_groups import ControlGroups
from poller.runtime.environment import ExecutionEnvironment
from poller.runtime.handler_log import LogSink


@dataclass(frozen=True, slots=True)
class EnvironmentMaker:
    """See `FunctionPool` for what these are."""

    log: LogSink
    log_streams: Callable[[str], LogSink] | None
    faults: InvocationFaults | None
    init_timeout: float
    control_groups: ControlGroups | None

    def make(self, configuration: FunctionConfiguration, *, provisioned: bool) -> ExecutionEnvironment:
        """A new one, which starts nothing yet; whether it is kept initialised is told to its handler (E.2)."""
        if provisioned:
            configuration = replace(configuration, initialization_type="provisioned-concurrency")
        return ExecutionEnvironment(
            configuration,
            self.log,
            log_streams=self.log_streams,
            faults=self.faults,
            init_timeout=self.init_timeout,
            control_groups=self.control_groups,
        )
