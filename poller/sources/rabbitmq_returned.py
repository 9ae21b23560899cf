"""How often messages of a classic queue came back, as the broker keeps no count of them (F.3). No I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from hashlib import blake2b

from poller.model import Record


class ReturnedMessages:
    """How often messages of a classic queue were handed back, as the broker itself keeps no count of them (F.3).

    A message is known again by its messageId, else by a digest of its properties and body, so that identical messages
    without an id share one count. It remembers the last `capacity` messages; one that was forgotten, or came back from
    another consumer, counts as delivered once before.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._counts: OrderedDict[str | bytes, int] = OrderedDict()

    def count(self, record: Record) -> int:
        """Deliveries before this one of a message whose redelivered flag is set."""
        return self._counts.get(self._identity(record), 1)

    def add(self, record: Record) -> None:
        """Note that a message is handed back."""
        identity = self._identity(record)
        self._counts[identity] = record.deliveries + 1
        self._counts.move_to_end(identity)
        while len(self._counts) > self._capacity:
            self._counts.popitem(last=False)

    def forget(self, records: Iterable[Record]) -> None:
        """Note that messages are settled."""
        if self._counts:
            for record in records:
                self._counts.pop(self._identity(record), None)

    @staticmethod
    def _identity(record: Record) -> str | bytes:
        if record.message_id is not None:
            return record.message_id
        before, _, after = record.encoded.rpartition(b'"redelivered":')
        return blake2b(before + after.partition(b",")[2], digest_size=16).digest()
