"""`POST /_events/s3`: where an S3 server sends its notifications. The path is ours; AWS has none of the kind."""

from __future__ import annotations

import json
import logging

from starlette.concurrency import run_in_threadpool

from poller.api.call import JSON, Call
from poller.api_errors import ApiError
from poller.errors import PollerError
from poller.triggers.s3_intake import S3Intake
from poller.triggers.s3_notifications import LARGEST_BODY, NoNotification

PATH = "/_events/s3"

_log = logging.getLogger(__name__)


class S3Webhook:
    """Answers requests to PATH, on the loop's thread; the disk is waited for on others."""

    def __init__(self, intake: S3Intake) -> None:
        self._intake = intake

    async def answer(self, call: Call) -> None:
        """Answer 200 once every event that the notification starts is on the disk.

        Raises:
            ApiError: 405; 400, it is no notification; 413; 503, the disk does not work: the server sends it again.
        """
        if call.scope["method"] != "POST":
            raise ApiError(405, "MethodNotAllowedException", f"{PATH} takes notifications of S3 by POST.")
        body = await call.body(LARGEST_BODY, _too_large)
        try:
            taken = await run_in_threadpool(self._intake.take, body)
        except NoNotification as error:
            raise ApiError(400, "InvalidRequestContentException", f"No notification of S3: {error}") from None
        except PollerError as error:
            _log.error("a notification of S3 is not taken: %s", error)
            text = "This service cannot keep events now, and its log says why: send the notification again later."
            raise ApiError(503, "ServiceUnavailableException", text) from None
        await call.answer(200, [JSON], json.dumps({"Events": taken}, separators=(",", ":")).encode())


def _too_large(_: int | None) -> ApiError:
    return ApiError(413, "RequestEntityTooLargeException", f"A notification has {LARGEST_BODY} bytes at most.")
