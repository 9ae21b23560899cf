"""Which unit tests `make unit` leaves to `make test`."""

from __future__ import annotations

from pathlib import Path

import pytest
from handlers.extension_rig import extended_configuration, extended_function  # noqa: F401 - fixtures

SLOW = {
    "test_async_invoke",
    "test_async_store",
    "test_async_template",
    "test_aws_destination",
    "test_behaviour_table",
    "test_bootstrap",
    "test_both_clients",
    "test_check_idempotency",
    "test_cli",
    "test_debugging",
    "test_docs",
    "test_environment",
    "test_error_table",
    "test_extensions",
    "test_extensions_leaving",
    "test_go",
    "test_environment_kills",
    "test_faults_on_purpose",
    "test_freezing",
    "test_function_logs",
    "test_http_service",
    "test_idle_deaths",
    "test_invoke_statements",
    "test_invoker",
    "test_kafka_logins",
    "test_kafka_oauth",
    "test_laying_ahead",
    "test_mapping_life",
    "test_memory",
    "test_node",
    "test_orphans",
    "test_payments_sample",
    "test_pool",
    "test_prewarming",
    "test_process",
    "test_reloading",
    "test_provided",
    "test_secrets_manager",
    "test_supervisor",
    "test_telemetry_events",
    "test_template",
    "test_trigger_template",
    "test_waiting_events",
    "test_worker_process",
}
"""Modules that start processes, make keys, wait for time to pass, or read all of the documentation."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m "not slow"` they are not even imported: that takes as long as many of the others run."""
    return True if config.option.markexpr == "not slow" and collection_path.stem in SLOW else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.stem in SLOW:
            item.add_marker("slow")
