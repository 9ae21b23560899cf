"""Which messages of a channel are not settled, and the acknowledgements that settle some of them. Pure."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from itertools import islice

from poller.model import Record

_log = logging.getLogger(__name__)


def acknowledgements(unsettled: Collection[int], finished: Collection[int]) -> list[tuple[int, bool]]:
    """The `basic.ack`s, as delivery tag and `multiple`, that settle `finished` and nothing else.

    `multiple` settles everything older on the channel too, so one such ack covers only the run from the oldest
    unsettled message on; what follows the first gap is acknowledged one by one.

    Args:
        unsettled: in the order of delivery, none twice.
        finished: some of them, none twice.
    """
    tags = sorted(finished)
    if tags and list(islice(unsettled, len(tags))) == tags:  # as a rule
        return [(tags[-1], len(tags) > 1)]
    run: list[int] = []
    for tag in unsettled:
        if tag not in finished:
            break
        run.append(tag)
    first = [(run[-1], len(run) > 1)] if run else []
    return first + [(tag, False) for tag in tags[len(run) :]]


class Unsettled:
    """Delivery tags of the present channel, which mean nothing on another. Owned by the poller's thread."""

    def __init__(self) -> None:
        self.generation = 0
        """Number of the channel."""
        self._tags: dict[int, None] = {}
        """In the order of delivery."""

    def begin(self) -> None:
        """There is another channel: the broker delivers anew what was not settled on the last one."""
        self.generation += 1
        self._tags.clear()

    def __len__(self) -> int:
        return len(self._tags)

    def add(self, tags: Iterable[int]) -> None:
        """These were delivered, in this order."""
        self._tags.update(dict.fromkeys(tags))

    def of(self, records: Collection[Record]) -> dict[int, Record]:
        """The records that are still unsettled on this channel, by delivery tag."""
        generation, tags = self.generation, self._tags
        current = {}
        for record in records:
            at, tag = record.raw
            if at == generation and tag in tags:
                current[tag] = record
        if len(current) < len(records):
            _log.debug("%d messages are settled already or belong to a lost channel", len(records) - len(current))
        return current

    def acknowledgements(self, finished: Collection[int]) -> list[tuple[int, bool]]:
        """As the function of this name, of what is unsettled."""
        return acknowledgements(self._tags, finished)

    def settle(self, tags: Iterable[int]) -> None:
        """These are settled."""
        for tag in tags:
            del self._tags[tag]
