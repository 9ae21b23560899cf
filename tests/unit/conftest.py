"""Which unit tests `make unit` leaves to `make test`."""

from __future__ import annotations

import pytest

SLOW = {
    "test_async_invoke",
    "test_async_store",
    "test_aws_destination",
    "test_bootstrap",
    "test_cli",
    "test_environment",
    "test_http_service",
    "test_invoke_statements",
    "test_invoker",
    "test_kafka_logins",
    "test_kafka_oauth",
    "test_laying_ahead",
    "test_orphans",
    "test_payments_sample",
    "test_pool",
    "test_process",
    "test_secrets_manager",
    "test_supervisor",
    "test_waiting_events",
    "test_worker_process",
}
"""Modules that start processes, make keys, or wait for time to pass."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.stem in SLOW:
            item.add_marker("slow")
