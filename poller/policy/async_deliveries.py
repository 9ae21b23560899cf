"""What becomes of a record that its destination did not take: it is sent again, or it is lost (B.3, B.4). Pure.

| What the destination said | What follows |
|---|---|
| no answer, throttled, a fault of its own, a login that it does not take | sent again, without end |
| there is no such place, or it is closed to this sender | sent again, then lost: `REFUSALS` in a row are for good |
| this record is not for it: too large, malformed | lost at once: it would hold up those behind it for ever |

Pauses between two sends grow; they are the sender's (`destinations.worker`).
"""

from __future__ import annotations

from poller.errors import DestinationError, DestinationRefused

REFUSALS = 4
"""Failed sends in a row after which a destination that is missing or closed counts as refusing for good."""


def is_lost(error: DestinationError, failures: int) -> bool:
    """Whether the record is given up.

    Args:
        error: why the last send failed.
        failures: of the destination, in a row, whatever they were of; this one included.
    """
    if not isinstance(error, DestinationRefused):
        return False
    return error.kind == "Record" or failures >= REFUSALS
