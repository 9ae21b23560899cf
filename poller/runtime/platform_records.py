"""The records of Lambda's platform events (E.5): the same in a log in JSON and for subscribers to telemetry. Pure.

`failure` is None, `timeout`, or the type of an error; times are in seconds, memory in MB; `phase` is `init` or
`invoke` (E.3).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from poller.model import FunctionConfiguration

Record = dict[str, Any]

_CRASHES = frozenset({"Runtime.ExitError", "Runtime.OutOfMemory"})
"""Failures that are no answer of the handler's: `error`, where those are `failure`."""


class Report(NamedTuple):
    """One invocation, as its end tells of it."""

    request_id: str
    duration: float
    memory_size: int
    memory: int
    init: float | None
    """Seconds of the cold start, if there was one before it."""
    failure: str | None


def runtime_version_arn(region: str, version: str) -> str:
    """Stands for AWS's ARN of a runtime version: the same for the same version."""
    return f"arn:aws:lambda:{region}::runtime:{hashlib.sha256(version.encode()).hexdigest()}"


def init_started(configuration: FunctionConfiguration, version: str, phase: str) -> Record:
    """Of platform.initStart; `version` as of the runtime."""
    return {
        "initializationType": configuration.initialization_type,
        "phase": phase,
        "runtimeVersion": version,
        "runtimeVersionArn": runtime_version_arn(configuration.region, version),
        "functionName": configuration.function_name,
        "functionVersion": configuration.version,
    }


def init_done(configuration: FunctionConfiguration, phase: str, failure: str | None) -> Record:
    """Of platform.initRuntimeDone."""
    outcome = _outcome(failure, of_init=True)
    return {"initializationType": configuration.initialization_type, "phase": phase, **outcome}


def init_reported(done: Record, duration: float) -> Record:
    """Of platform.initReport, from the record of platform.initRuntimeDone."""
    return {**done, "metrics": {"durationMs": _milliseconds(duration)}}


def begun(request_id: str, version: str) -> Record:
    """Of platform.start."""
    return {"requestId": request_id, "version": version}


def done(report: Report, metrics: Mapping[str, Any] | None = None) -> Record:
    """Of platform.runtimeDone, with `metrics` beside the duration."""
    duration = {"durationMs": _milliseconds(report.duration)}
    return {"requestId": report.request_id, **_outcome(report.failure), "metrics": {**duration, **(metrics or {})}}


def reported(report: Report) -> Record:
    """Of platform.report."""
    metrics: Record = {
        "durationMs": _milliseconds(report.duration),
        "billedDurationMs": math.ceil(report.duration * 1000),
        "memorySizeMB": report.memory_size,
        "maxMemoryUsedMB": report.memory,
    }
    if report.init is not None:
        metrics["initDurationMs"] = _milliseconds(report.init)
    return {"requestId": report.request_id, "metrics": metrics, **_outcome(report.failure)}


def _outcome(failure: str | None, *, of_init: bool = False) -> dict[str, str]:
    if failure is None or failure == "timeout":
        return {"status": failure or "success"}
    return {"status": "error" if of_init or failure in _CRASHES else "failure", "errorType": failure}


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
