"""What a subscriber is told of an environment's life, by the Telemetry API and the Logs API (E.1, E.3)."""

import pytest
from handlers.extension_rig import told

PLATFORM = [
    "platform.initStart",
    "platform.telemetrySubscription",
    "platform.extension",
    "platform.initRuntimeDone",
    "platform.initReport",
]
EVENT = ["platform.start", "platform.runtimeDone", "platform.report"]


def of(tmp_path, kind="platform"):
    events = [event for _, event in told(tmp_path, "telemetry")]
    return [event for event in events if event["type"].startswith(kind)]


def test_a_subscriber_is_told_of_init_and_of_each_event(extended_function, tmp_path):
    fn = extended_function("telemetry")
    fn.invoke(["echo", "text"], request_id="id-1")
    fn.invoke(["print", "printed"], request_id="id-2")
    fn.invoke(["raise", "oh"], request_id="id-3")
    fn.environment.stop()
    assert told(tmp_path, "subscribed") == [["OK"]]
    assert {path for path, _ in told(tmp_path, "telemetry")} == {"/here"}
    platform = of(tmp_path)
    assert [event["type"] for event in platform] == PLATFORM + EVENT * 3
    records = [event["record"] for event in platform]
    start, subscribed, extension, init, init_report = records[:5]
    assert (start["initializationType"], start["phase"], start["functionName"]) == ("on-demand", "init", "fn")
    assert subscribed == {"name": "watcher", "state": "Subscribed", "types": ["extension", "function", "platform"]}
    assert extension == {"name": "watcher", "state": "Ready", "events": ["INVOKE", "SHUTDOWN"]}
    assert init == {"initializationType": "on-demand", "phase": "init", "status": "success"}
    assert init_report["metrics"]["durationMs"] > 0
    begun, done, report = records[5:8]
    assert begun == {"requestId": "id-1", "version": "$LATEST"}
    assert (done["requestId"], done["status"], done["metrics"]["producedBytes"]) == ("id-1", "success", 6)
    assert set(report["metrics"]) == {
        "durationMs",
        "billedDurationMs",
        "memorySizeMB",
        "maxMemoryUsedMB",
        "initDurationMs",
    }
    failed = [record["status"] for record in records if record.get("requestId") == "id-3" and "status" in record]
    assert failed == ["failure", "failure"]
    assert "printed" in [event["record"] for event in of(tmp_path, "function")]
    assert any("ValueError: oh" in event["record"] for event in of(tmp_path, "function"))
    assert [event["record"] for event in of(tmp_path, "extension")] == ["extension speaks"]


@pytest.mark.parametrize(("event", "status"), [(["child"], "timeout"), (["exit", 3], "error")])
def test_a_subscriber_is_told_of_a_timeout_and_a_crash(extended_function, tmp_path, event, status):
    fn = extended_function("telemetry", timeout=1.0)
    fn.invoke(event)
    fn.environment.settle()
    done, report = of(tmp_path)[-2:]
    assert [done["type"], report["type"]] == ["platform.runtimeDone", "platform.report"]
    assert done["record"]["status"] == report["record"]["status"] == status


def test_the_logs_api_tells_in_its_own_words(extended_function, tmp_path):
    fn = extended_function("logs")
    fn.invoke(["echo", 1])
    fn.invoke(["exit", 3])
    fn.environment.settle()
    platform = of(tmp_path)
    assert [event["type"] for event in platform] == [
        "platform.logsSubscription",
        "platform.extension",
        *["platform.start", "platform.runtimeDone", "platform.end", "platform.report"],
        *["platform.start", "platform.fault", "platform.runtimeDone", "platform.end", "platform.report"],
    ]
    fault = next(event["record"] for event in platform if event["type"] == "platform.fault")
    assert fault == "RequestId: id-1 Error: Runtime exited with error: exit status 3\nRuntime.ExitError"
