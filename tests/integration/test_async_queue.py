"""Asynchronous invocation with the setting AsyncQueue: events wait on a RabbitMQ broker (B.1).

The tests that are imported are those of the file in the state folder: the same holds on a broker.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from async_rig import Rig
from brokers import RabbitMQBroker
from unit.test_async_invoke import (  # noqa: F401 - collected here, with the fixture below
    test_a_dead_letter_queue_gets_the_event_beside_on_failure_s_record,
    test_a_function_that_is_stuck_holds_up_no_other,
    test_a_record_stays_in_the_store_until_its_destination_has_it,
    test_a_throttled_event_waits_and_uses_up_no_attempt,
    test_an_event_whose_function_always_fails_is_tried_three_times_under_one_request_id,
    test_an_event_whose_retry_would_come_too_late_is_given_up_after_its_first_attempt,
    test_attempts_made_before_a_restart_still_count,
    test_events_of_a_function_that_is_gone_wait_for_it,
    test_on_success_gets_the_result_of_the_function,
    test_the_configuration_is_the_one_at_the_time_of_the_attempt,
    test_the_next_function_gets_the_record_as_its_event,
    test_what_has_not_ended_comes_again_after_a_restart_with_its_request_id,
    test_with_a_reserved_concurrency_of_0_events_go_to_on_failure_untried,
    test_without_retries_a_failing_function_s_event_goes_to_on_failure_after_one_attempt,
)

from poller.async_invoke.configuration import AsyncConfiguration

pytestmark = pytest.mark.broker


@pytest.fixture
def rig(tmp_path: Path, rabbitmq: RabbitMQBroker) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []
    logging.getLogger("pika").setLevel(
        logging.CRITICAL
    )  # as the program does; it tells of every queue that is not there

    def make(configuration: AsyncConfiguration | None = None, *, scale: float = 600.0, **changes: object) -> Rig:
        one = Rig(tmp_path, scale, queue=rabbitmq.url)
        one.add("fn", configuration, **changes)
        made.append(one)
        one.start()
        return one

    yield make
    for one in made:
        one.stop()
