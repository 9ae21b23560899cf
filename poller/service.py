"""The service: what is started in which order, and stopped in which.

| Thread | Owns | May not |
|---|---|---|
| main | signals, start and stop | touch clients |
| `poller-<mapping>-<n>` | its source, its lanes, its decisions and commits | run handlers, send dead letters |
| kafka-python's own, of dead letters only | sockets, heartbeats | touch lanes |
| librdkafka's own | sockets, heartbeats, fetches | run Python |
| `invoke-<function>-<n>` | one execution environment | touch a source, save `wake` |
| `telemetry-<extension>` | one subscriber's listener | hold anybody up |
| `finish-<function>` | a pool that was given up, until it has finished | hand invocations over |
| `destination-<mapping>` | its destination's client | decide anything |
| `async` | asynchronous events in memory, reading of the store | block, save for the store's disk |
| `async-store` | the store's writing connection | decide anything |
| `schedules` | nothing; puts events of schedules on the asynchronous queue | block, save for the store's disk |
| `s3-events` | the source that notifications of S3 are read from | block, save for the store's disk |
| `async-broker` | with AsyncQueue the connection to its broker | block, decide anything |
| `destination-<function>-<kind>` | the client of an OnSuccess, OnFailure or dead-letter queue | decide anything |
| `mapping-<mapping>` | one change of a mapping's state, while it is carried out | touch clients |
| `scaling` | how many pollers each Kafka mapping has | touch clients, block |
| `log-files` | nothing; writes functions' log files | |
| `exits` | nothing; has environments go whose processes end while idle | block |
| `memory` | nothing; kills processes that are over their limits | block |
| `reload` | nothing; tells pools whose code was saved | block |
| `api` | HTTP connections | block |
| `apis` | HTTP connections to the APIs of the template | block |
| `log` | nothing; writes log lines that were said together | |

With more than one worker these are the threads of each worker's process, `api` apart: see `poller.workers.supervisor`.

Stop: SIGTERM or SIGINT → schedules run no more, the queue of S3's notifications is left → pollers take nothing more but
keep their connections alive → what is in work ends, up to ShutdownGrace → it is acknowledged, groups are left → dead
letters and environments end → HTTP ends → asynchronous events are accepted no more, records that are under way are
sent → exit 0. A second signal ends the process at once; nothing is lost by that, as what was not acknowledged comes
again, and accepted events are on the disk.
"""

from __future__ import annotations

import gc
import logging
import resource
import sys
import time
from contextlib import suppress

from poller.account.store import AccountFile
from poller.api import event_source_mappings, function_configs, function_urls, functions, layers
from poller.api.endpoint import Endpoint, door
from poller.api.health import application
from poller.api.invocations import Invocations
from poller.api.s3_webhook import S3Webhook
from poller.api.server import HttpServer, bind
from poller.assembly import faulty_destinations
from poller.async_invoke.broker import broker_store
from poller.async_invoke.invoker import AsyncInvoker
from poller.async_metrics import AsyncMetrics
from poller.clock import SystemClock
from poller.control_plane import ControlPlane
from poller.fronts.serving import Fronts
from poller.metrics import Metrics, StateCollector
from poller.running_service import identity_of
from poller.runtime_support import warn_of_substitutions
from poller.stop_signals import StopSignals
from poller.template import Template
from poller.triggers.running import RunningTriggers

SWITCH_INTERVAL = 0.0005
"""Seconds that a thread which computes keeps the interpreter's lock. Python's 5 ms are as long as decoding a whole
poll, and so long a handler's answer would wait."""

GARBAGE_THRESHOLD = 10_000
"""New objects between two searches for cycles. Records make none and are freed by their counts; Python's 700 would walk
over every one of them, which costs 1.6 µs a record, a tenth of all there is to do. With many more the memory at the
peak grows."""

LAST_RECORDS = 2.0
"""Seconds at the end in which records of asynchronous invocations may still reach their destinations."""

_log = logging.getLogger(__name__)


def run(template: Template) -> int:
    """Serve until a signal; returns the exit status. Called by the command line, on the main thread.

    Raises:
        PortInUse: before anything else was started.
        StateInUse: so, too.
    """
    started = time.monotonic()
    settings = template.settings
    if settings.Workers > 1:
        from poller.workers.supervisor import supervise  # noqa: PLC0415 - only where it is wanted

        return supervise(template)
    listener = bind(settings.Bind, settings.Port)
    metrics = Metrics()
    documents = AccountFile(template.state_folder)
    plane = ControlPlane(template, metrics, SystemClock(), documents=documents)
    fronts = Fronts(template, plane, documents, metrics.registry, plane.account.catalogue.changing)
    plane.on_function_deleted(fronts.urls.gone, fronts.urls.recall)
    metrics.registry.register(StateCollector(plane.mappings, plane.functions))
    asynchronous = async_invoker(template, plane, metrics)
    asynchronous.open()

    triggers = RunningTriggers(template.triggers, settings, asynchronous.accept, SystemClock())

    def alive() -> bool:
        return plane.alive() and asynchronous.alive() and triggers.alive()

    def states() -> list[dict[str, object]]:
        return [*plane.mapping_states(), *triggers.states(), *asynchronous.states()]

    entrance = door(settings)
    routes = [
        *event_source_mappings.routes(plane.sources),
        *functions.routes(plane.account, entrance.readable),
        *layers.routes(plane.account.layers, entrance.readable),
        *function_configs.routes(plane.configs),
        *function_urls.routes(fronts.urls),
    ]
    app = application(metrics.registry, states, alive, calls=routes, identity=identity_of(template.path))
    invocations = Invocations(plane, asynchronous)
    endpoint = Endpoint(app, invocations, entrance, S3Webhook(triggers.s3), fronts.url_front)
    server = HttpServer(endpoint, listener)
    stopping = StopSignals()
    tune()
    plane.start()
    asynchronous.start()
    triggers.start()
    server.start()
    if not template.path.exists():
        _log.info("there is no template: calls of the API make functions, in %s", template.state_folder)
    _log.info(
        "serving %d functions and %d mappings; http://%s/metrics, /healthz, /readyz (ready after %.2f s)",
        len(template.functions),
        len(template.mappings),
        server.address,
        time.monotonic() - started,
    )
    warn_of_substitutions(plane.account.runtimes())
    fronts.start(server.address)
    stopping.wait()
    _log.info("stopping: what is in work may take up to %.0f s", settings.ShutdownGrace)
    triggers.stop()
    asynchronous.leave()
    plane.stop(asynchronous.drain)
    server.stop()
    fronts.stop()
    asynchronous.stop(LAST_RECORDS)
    documents.close()
    _log.info("stopped")
    return 0


def async_invoker(template: Template, plane: ControlPlane, metrics: Metrics) -> AsyncInvoker:
    """What accepts and works off asynchronous events of this service, not yet opened."""
    async_metrics = AsyncMetrics(metrics.registry)
    for function in template.functions:
        async_metrics.show(function.FunctionName)
    clock = SystemClock()
    settings, folder = template.settings, template.path.resolve().parent
    return AsyncInvoker(
        template.state_folder,
        plane.async_function,
        required=bool(template.asynchronous or template.triggers),
        time_scale=settings.TimeScale,
        metrics=async_metrics,
        clock=clock,
        broker=broker_store(settings, folder, plane.function_names, plane.async_function, clock),
        faulty=faulty_destinations(settings),
    )


def tune() -> None:
    """Set the process up for polling, when all is made and nothing has started."""
    _allow_descriptors()
    gc.collect()
    gc.freeze()  # what start-up made stays, and need not be walked over again
    gc.set_threshold(GARBAGE_THRESHOLD)
    sys.setswitchinterval(SWITCH_INTERVAL)


def _allow_descriptors() -> None:
    """Each execution environment holds up to 13 descriptors, and systems allow 1,024 unless asked for more."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError):  # a system that says "unlimited" and means less
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
