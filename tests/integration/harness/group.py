"""A Kafka consumer group as the broker sees it: who is in it, and who of them is dead."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from brokers import KafkaBroker
from kafka.admin import MemberToRemove
from waiting import eventually


def describe(broker: KafkaBroker, group: str) -> Mapping[str, Any]:
    with broker.admin() as admin:
        found: Mapping[str, Any] = admin.describe_groups([group])[group]
        return found


def members(broker: KafkaBroker, group: str) -> dict[str, int]:
    """Number of partitions of each member, by its client id and member id."""
    found = {}
    for member in describe(broker, group)["members"]:
        # While the group rebalances an assignment is empty, and then of no structure.
        assignment = member["member_assignment"]
        parts = assignment["assigned_partitions"] if assignment else []
        found[member["member_id"]] = sum(len(part["partitions"]) for part in parts)
    return found


def remove_members(broker: KafkaBroker, group: str, among: Collection[str] | None = None) -> None:
    """Do at once what the broker does when the session of killed members times out: of all members, or of these."""
    present = members(broker, group)
    dead = [MemberToRemove(member_id=member) for member in present if among is None or member in among]
    if dead:
        with broker.admin() as admin:
            admin.remove_group_members(group, dead)


def wait_for_members(broker: KafkaBroker, group: str, count: int, *, timeout: float = 30.0) -> None:
    """Until that many members have partitions and none has none."""

    def all_have_some() -> bool:
        found = members(broker, group)
        return len(found) == count and all(found.values())

    eventually(all_have_some, timeout=timeout, what=f"{count} members of {group} with partitions")
