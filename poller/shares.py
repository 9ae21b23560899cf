"""What each worker of a service runs of a template: what its resources say of numbers, divided by `policy.workers`."""

from __future__ import annotations

from poller.policy.workers import FunctionLimit, MappingDemand, Share, shares
from poller.resources import EventSourceMapping
from poller.template import Template


def shares_of(template: Template, workers: int) -> list[Share]:
    """What each of so many workers runs of a template."""
    limits = [FunctionLimit(item.FunctionName, item.ReservedConcurrentExecutions) for item in template.functions]
    return shares(limits, [_demand(mapping) for mapping in template.mappings], workers)


def pollers_of(mapping: EventSourceMapping) -> int:
    """Pollers that a service of one process starts a mapping with while it is enabled (C.8)."""
    return _wanted(mapping) or 1


def _wanted(mapping: EventSourceMapping) -> int | None:
    if mapping.kind == "MQ":
        return 1  # C.8: one environment for each mapping, however many workers there are
    provisioned = mapping.ProvisionedPollerConfig
    return provisioned.MinimumPollers if provisioned else None


def _demand(mapping: EventSourceMapping) -> MappingDemand:
    # C.2: what is made with Enabled=false is Disabled at once, and nothing is read.
    return MappingDemand(mapping.name, mapping.FunctionName, _wanted(mapping) if mapping.Enabled else 0)
