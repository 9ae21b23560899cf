"""Takes notifications of S3 in, however they come, and puts an event for each function on its asynchronous queue."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from poller.api_errors import ApiError
from poller.clock import Clock
from poller.triggers.s3_events import S3Trigger, event_of
from poller.triggers.s3_notifications import notifications

Accept = Callable[[str, str, bytes], str]
"""`AsyncInvoker.accept`: function, qualifier, event."""

SERVER_FAULT = 500
"""Statuses from here on may pass."""

_log = logging.getLogger(__name__)


class S3Intake:
    """For any thread.

    Args:
        triggers: all of the template.
        accept: returns when an event is on the disk.
        region: where a server names none.
        clock: where a server gives no time.
    """

    def __init__(self, triggers: Sequence[S3Trigger], accept: Accept, *, region: str, clock: Clock) -> None:
        self._triggers = triggers
        self._accept = accept
        self._region = region
        self._clock = clock

    def take(self, body: bytes) -> int:
        """Take a notification in for good. Blocks until all it starts is on the disk. Taken twice, it starts it twice.

        Returns:
            How many events went on queues. None for a test event, and where no function wants what happened.

        Raises:
            NoNotification: the body is none; nothing was taken.
            PollerError: the disk does not work. Part of it may have been taken: give it once more later.
        """
        taken = 0
        for notification in notifications(body):
            for trigger in self._triggers:
                if trigger.wants(notification):
                    event = event_of(notification, trigger.name, region=self._region, now=self._clock.time())
                    taken += self._put(trigger, event)
        return taken

    def _put(self, trigger: S3Trigger, event: bytes) -> int:
        try:
            self._accept(trigger.function_name, "", event)
        except ApiError as error:
            if error.status >= SERVER_FAULT:
                raise
            # The function is gone, or will not take so much: S3 gives up then, too.
            _log.error("%s: an event of S3 is given up: %s", trigger.name, error)
            return 0
        return 1
