"""What each worker of a service runs of a template: what its resources say of numbers, divided by `policy.workers`."""

from __future__ import annotations

from poller.policy.workers import FunctionLimit, MappingDemand, PollerBounds, Share, shares
from poller.resources import EventSourceMapping
from poller.template import Template


def shares_of(template: Template, workers: int) -> list[Share]:
    """What each of so many workers runs of a template."""
    own = template.settings.Functions
    limits = [
        FunctionLimit(
            item.FunctionName,
            item.ReservedConcurrentExecutions,
            own[item.FunctionName].ProvisionedConcurrency if item.FunctionName in own else 0,
        )
        for item in template.functions
    ]
    demands = [_demand(mapping) for mapping in template.mappings]
    return shares(limits, demands, workers, template.settings.AccountConcurrency)


def pollers_of(mapping: EventSourceMapping) -> int:
    """Pollers that a service of one process starts a mapping with while it is enabled (C.8)."""
    return _wanted(mapping) or 1


def bounds_of(mapping: EventSourceMapping) -> PollerBounds | None:
    """How few and how many pollers a service of one process may have of a mapping; None where nothing scales it."""
    return PollerBounds(pollers_of(mapping), _maximum(mapping)) if _scales(mapping) else None


def _wanted(mapping: EventSourceMapping) -> int | None:
    if mapping.kind == "MQ":
        return mapping.extensions.Concurrency  # C.8: one environment for each mapping, unless more are asked for
    provisioned = mapping.ProvisionedPollerConfig
    return provisioned.MinimumPollers if provisioned else None


def _maximum(mapping: EventSourceMapping) -> int | None:
    return mapping.ProvisionedPollerConfig.MaximumPollers if mapping.ProvisionedPollerConfig else None


def _scales(mapping: EventSourceMapping) -> bool:
    return mapping.kind != "MQ"


def _demand(mapping: EventSourceMapping) -> MappingDemand:
    # C.2: what is made with Enabled=false is Disabled at once, and nothing is read.
    wanted = _wanted(mapping) if mapping.Enabled else 0
    return MappingDemand(mapping.name, mapping.FunctionName, wanted, maximum=_maximum(mapping), scales=_scales(mapping))
