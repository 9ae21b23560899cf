"""Which unit tests `make unit` leaves to `make test`."""

from __future__ import annotations

from pathlib import Path

import pytest
from handlers.extension_rig import extended_configuration, extended_function  # noqa: F401 - fixtures

SLOW = {
    "test_async_invoke",
    "test_async_qualifiers",
    "test_async_store",
    "test_async_template",
    "test_aws_destination",
    "test_behaviour_table",
    "test_bootstrap",
    "test_both_clients",
    "test_check_idempotency",
    "test_cli",
    "test_code_archives",
    "test_configs_of_created_functions",
    "test_debugging",
    "test_direct_invoke",
    "test_docs",
    "test_driving",
    "test_environment",
    "test_environment_kills",
    "test_error_table",
    "test_extensions",
    "test_extensions_leaving",
    "test_faults_on_purpose",
    "test_file_descriptors",
    "test_freezing",
    "test_fronts_over_http",
    "test_function_calls",
    "test_function_logs",
    "test_go",
    "test_http_service",
    "test_http_template",
    "test_idle_deaths",
    "test_invoke_command",
    "test_invoke_statements",
    "test_invoker",
    "test_kafka_logins",
    "test_kafka_oauth",
    "test_layer_calls",
    "test_layers",
    "test_laying_ahead",
    "test_log_files",
    "test_mapping_life",
    "test_memory",
    "test_node",
    "test_orphans",
    "test_payments_sample",
    "test_pool",
    "test_prewarming",
    "test_process",
    "test_provided",
    "test_provisioned_concurrency",
    "test_reloading",
    "test_running_function",
    "test_runtime_support",
    "test_secrets_manager",
    "test_streaming",
    "test_supervisor",
    "test_telemetry_events",
    "test_template",
    "test_trigger_template",
    "test_waiting_events",
    "test_worker_process",
}
"""Modules that start processes, make keys, wait for time to pass, or read all of the documentation."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What `-m "not slow"` and `-m slow` leave out is not even imported: that takes as long as many of the others run."""
    if collection_path.suffix != ".py" or collection_path.name == "conftest.py":
        return None
    slow = collection_path.stem in SLOW
    return {"not slow": slow, "slow": not slow}.get(config.option.markexpr) or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.stem in SLOW:
            item.add_marker("slow")
