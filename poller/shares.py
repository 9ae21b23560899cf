"""What each worker of a service runs of a template: what its resources say of numbers, divided by `policy.workers`."""

from __future__ import annotations

from poller.policy.workers import FunctionLimit, MappingDemand, Share, shares
from poller.resources import EventSourceMapping
from poller.template import Template


def shares_of(template: Template, workers: int) -> list[Share]:
    """What each of so many workers runs of a template."""
    limits = [FunctionLimit(item.FunctionName, item.ReservedConcurrentExecutions) for item in template.functions]
    return shares(limits, [_demand(mapping) for mapping in template.mappings], workers)


def _demand(mapping: EventSourceMapping) -> MappingDemand:
    provisioned = mapping.ProvisionedPollerConfig
    if not mapping.Enabled:  # C.2: Disabled at once, and nothing is read
        pollers: int | None = 0
    elif mapping.kind == "MQ":
        pollers = 1  # C.8: one environment for each mapping, however many workers there are
    else:
        pollers = provisioned.MinimumPollers if provisioned else None
    return MappingDemand(mapping.name, mapping.FunctionName, pollers)
