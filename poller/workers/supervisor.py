"""The process that stands before several workers: it starts them, answers for all of them, and ends them together.

| Thread | Owns | May not |
|---|---|---|
| main | signals, start and stop | touch a worker's process |
| `worker-<n>` | that worker's process: its start, its log, its reports, its restarts | decide what it runs |
| `api` | HTTP connections; waits for reports on threads of its own | block |
| `log` | nothing; writes log lines that were said together | |

It reads no broker and runs no handler, so a worker that dies takes nothing else with it. When it dies itself, by
whatever signal, the kernel ends the workers, and their handlers with them.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from prometheus_client import CollectorRegistry

from poller import log
from poller.api import event_source_mappings, function_configs, function_urls, functions, layers
from poller.api.endpoint import Endpoint, door
from poller.api.health import application
from poller.api.server import HttpServer, bind
from poller.assembly import labels_of
from poller.function_pools import control_groups, log_files_wanted
from poller.mapping_runner import status_of
from poller.metrics import Metrics, StateCollector
from poller.policy.retrying import BackOff
from poller.policy.workers import Share
from poller.runtime_support import warn_of_substitutions
from poller.shares import shares_of
from poller.stop_signals import StopSignals
from poller.template import Template
from poller.workers.child import Orders
from poller.workers.keeper import Keeper
from poller.workers.report import Reports, State, TotalsCollector, merged_state

ANSWER_WITHIN = 1.0
"""Seconds that an HTTP answer waits for the workers' reports; of one that is late, the report before is shown."""

STOP_MARGIN = 9.0
"""Seconds beyond ShutdownGrace that a worker may take to end: dead letters and environments end after it."""

BACK_OFF = BackOff(first=0.5, cap=30.0)
"""Pauses before a worker is started again."""

NO_CALLS = "Functions and mappings cannot be changed while the service runs with several Workers."
"""A change would have to be divided anew among workers that run already; none of them is asked that."""

NO_FUNCTIONS = "Functions cannot be looked at or changed while the service runs with several Workers."
"""What calls made needs the one process that answers them."""

NO_LAYERS = "There are no layers of calls while the service runs with several Workers."

NO_URLS = "There are no function URLs while the service runs with several Workers."

NO_INVOCATIONS = "Functions cannot be invoked while the service runs with several Workers."
"""The environments are the workers', and none of them is asked to invoke one."""

_log = logging.getLogger(__name__)


def supervise(template: Template) -> int:
    """Serve with several workers until a signal; returns the exit status. On the main thread.

    Raises:
        PortInUse: before anything else was started.
    """
    settings = template.settings
    listener = bind(settings.Bind, settings.Port)
    control_groups(settings)  # workers start in the group that it moves us to, and find the others by that
    workers = Workers(template, shares_of(template, settings.Workers))
    registry = CollectorRegistry()
    registry.register(TotalsCollector(workers.reports))
    registry.register(StateCollector(workers.reports.mappings, workers.reports.functions))
    app = application(
        registry,
        workers.mapping_states,
        workers.alive,
        refresh=workers.refresh,
        workers=workers.worker_states,
        calls=[
            *event_source_mappings.refusing_routes(NO_CALLS),
            *functions.refusing_routes(NO_FUNCTIONS),
            *layers.refusing_routes(NO_LAYERS),
            *function_urls.refusing_routes(NO_URLS),
            *function_configs.refusing_routes(NO_CALLS),
        ],
    )
    server = HttpServer(Endpoint(app, NO_INVOCATIONS, door(settings)), listener)
    stopping = StopSignals()
    workers.start()
    server.start()
    _log.info(
        "serving %d functions and %d mappings with %d workers; http://%s/metrics, /healthz, /readyz",
        len(template.functions),
        len(template.mappings),
        len(workers.keepers),
        server.address,
    )
    warn_of_substitutions((function.FunctionName, function.Runtime) for function in template.functions)
    stopping.wait()
    _log.info("stopping: what is in work may take up to %.0f s", settings.ShutdownGrace)
    ended_well = workers.stop(settings.ShutdownGrace + STOP_MARGIN)
    server.stop()
    _log.info("stopped")
    return 0 if ended_well else 1


class Workers:
    """All workers of a service. `start` and `stop` on the main thread, the rest from any."""

    def __init__(self, template: Template, shares: Sequence[Share]) -> None:
        # A worker does not see where the log goes.
        files = "true" if log_files_wanted(template.settings) else "false"
        settings = template.settings.model_copy(update={"LogFiles": files})
        template = replace(template, settings=settings)
        self._template = template
        own = Metrics()
        for mapping in template.mappings:
            if mapping.Enabled:
                own.of_mapping(labels_of(mapping))
        self.reports = Reports(own)
        log_format = log.chosen(template.settings.LogFormat)
        needed = [share for share in shares if any(share.pollers.values())] or shares[:1]
        path = os.environ.get("PYTHONPATH")
        self.keepers = [Keeper(Orders(template, share, log_format, path), self.reports, BACK_OFF) for share in needed]
        if len(needed) < len(shares):
            _log.warning(
                "only %d of %d workers are started: there is no poller for the others (a queue has one, a provisioned "
                "mapping as many as it names, and a function runs on no more workers than it has concurrency)",
                len(needed),
                len(shares),
            )

    def start(self) -> None:
        """Start all; returns at once."""
        for keeper in self.keepers:
            keeper.start()

    def stop(self, grace: float) -> bool:
        """Let all end what is in work, side by side, kill what is left after so many seconds; whether all was well."""
        for keeper in self.keepers:
            keeper.stop()
        deadline = time.monotonic() + grace
        for keeper in self.keepers:
            keeper.join(max(0.0, deadline - time.monotonic()))
            if keeper.is_alive():
                _log.error("it does not end and is killed", extra={"worker": keeper.share.worker})
                keeper.kill()
                keeper.join()
        return all(keeper.ended_well for keeper in self.keepers)

    def refresh(self) -> None:
        """Get a new report of every worker; blocks for at most a second."""
        deadline = time.monotonic() + ANSWER_WITHIN
        for keeper in self.keepers:
            keeper.ask()
        for keeper in self.keepers:
            keeper.wait_for_report(deadline)

    def alive(self) -> bool:
        """Whether a worker runs, and no thread is missing in those that do."""
        reports = self.reports.last().values()
        return any(keeper.state()["pid"] for keeper in self.keepers) and all(report.alive for report in reports)

    def worker_states(self) -> list[Mapping[str, object]]:
        """Every worker as `/healthz` shows it."""
        return [keeper.state() for keeper in self.keepers]

    def mapping_states(self) -> list[State]:
        """Every mapping as `/readyz` shows it: ready when it is on every worker that has pollers of it."""
        reported = {
            (worker, state["Mapping"]): state
            for worker, report in self.reports.last().items()
            for state in report.states
        }
        states = []
        for mapping in self._template.mappings:
            unknown = status_of(mapping, "Creating" if mapping.Enabled else "Disabled")
            of_workers = [
                _with_trouble(reported.get((keeper.share.worker, mapping.name)), unknown, keeper.trouble())
                for keeper in self.keepers
                if keeper.share.pollers[mapping.name]
            ]
            states.append(merged_state(of_workers or [unknown]))
        return states


def _with_trouble(reported: State | None, unknown: State, trouble: str) -> State:
    """A mapping's state on one worker, whatever is known of that."""
    if trouble:
        return {**(reported or unknown), "Problem": trouble}
    return reported or {**unknown, "State": "Creating"}
