"""The head of a streamed response of `vnd.awslambda.http-integration-response`: JSON, 8 NUL bytes, body. Pure."""

from __future__ import annotations

import json

from poller.fronts.replies import NoResponse, Reply, stated_head

CONTENT_TYPE = "application/vnd.awslambda.http-integration-response"
DELIMITER = bytes(8)
LONGEST_HEAD = 1024 * 1024
"""Bytes; the headers of one request have as many (A.2)."""


class Prelude:
    """Reads a stream up to where its body begins.

    `feed` takes pieces as they come and is asked no more once it has given the head.
    """

    def __init__(self) -> None:
        self._held = b""

    def feed(self, piece: bytes) -> Reply | None:
        """The head, with what came of the body; None while its end has not come.

        Raises:
            NoResponse: it is none.
        """
        self._held += piece
        head, found, body = self._held.partition(DELIMITER)
        if not found:
            if len(self._held) > LONGEST_HEAD:
                raise NoResponse(f"its head is longer than {LONGEST_HEAD} bytes")
            return None
        try:
            stated = json.loads(head)
        except (ValueError, RecursionError):
            raise NoResponse("what stands before its 8 NUL bytes is not JSON") from None
        if not isinstance(stated, dict):
            raise NoResponse("what stands before its 8 NUL bytes is no object")
        reply = stated_head(stated)
        return Reply(reply.status, reply.headers, body)

    def end(self) -> Reply:
        """What there is when the stream has ended before its body began: a head alone is one without a body.

        Raises:
            NoResponse: it is no head.
        """
        ended = self.feed(DELIMITER)
        assert ended is not None
        return ended


def names_prelude(content_type: str) -> bool:
    """Whether a stream of this type begins with such a head."""
    return content_type.partition(";")[0].strip().lower() == CONTENT_TYPE


def has_prelude(payload: bytes) -> bool:
    """Whether a whole result begins with such a head. JSON holds no NUL byte, so nothing else looks like it."""
    return payload.lstrip()[:1] == b"{" and DELIMITER in payload
