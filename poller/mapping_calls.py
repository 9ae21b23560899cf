"""What the API's calls on event source mappings take and answer (C.1, C.3). Pure: values from values.

`merged` makes of a mapping and an update the values of the new one; `configuration` is the object that every call
answers with; `page` is one page of a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from poller.api_errors import at_least, at_most, invalid_parameter, violation
from poller.resources import EventSourceMapping

IMMUTABLE = (
    "EventSourceArn",
    "SelfManagedEventSource",
    "Topics",
    "Queues",
    "StartingPosition",
    "StartingPositionTimestamp",
)
"""Fixed when the mapping is made (C.1)."""

GROUPS = ("SelfManagedKafkaEventSourceConfig", "AmazonManagedKafkaEventSourceConfig")

LONGEST_PAGE = 100
"""Mappings of one page, whatever MaxItems says (C.1)."""

HIGHEST_MAX_ITEMS = 10_000


def values_of(mapping: EventSourceMapping) -> dict[str, Any]:
    """AWS's properties of a mapping as they were given, for `poller.resources.event_source_mapping`."""
    dumped = mapping.model_dump(mode="json", exclude_unset=True)
    values = {name: value for name, value in dumped.items() if name[0].isupper() and value is not None}
    return {**values, "FunctionName": mapping.called_function}


def merged(mapping: EventSourceMapping, update: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a mapping after an update: what it leaves out stays, and an empty object takes away.

    Raises:
        ApiError: something is given that cannot be changed.
    """
    values = values_of(mapping)
    fixed = [name for name in IMMUTABLE if name in update and not _same(update[name], values.get(name))]
    for name in GROUPS:
        group = update[name].get("ConsumerGroupId") if isinstance(update.get(name), Mapping) else None
        if group not in {None, mapping.consumer_group_id}:
            fixed.append(f"{name}.ConsumerGroupId")
    if "SourceAccessConfigurations" in update and virtual_host(update) not in {None, mapping.virtual_host}:
        fixed.append("SourceAccessConfigurations: VIRTUAL_HOST")
    if fixed:
        explanation = "it is fixed when the mapping is made; delete the mapping and create it anew"
        raise invalid_parameter(f"{', '.join(fixed)} cannot be updated.", explanation)
    for name, value in update.items():
        if name in IMMUTABLE or name in GROUPS or name == "UUID":
            continue
        if value is None or value == {}:
            values.pop(name, None)
        else:
            values[name] = value
    if "SourceAccessConfigurations" in update and mapping.kind == "MQ" and virtual_host(update) is None:
        kept = [item for item in values_of(mapping).get("SourceAccessConfigurations", []) if _is_host(item)]
        values["SourceAccessConfigurations"] = [*values.get("SourceAccessConfigurations", []), *kept]
    return values


def virtual_host(values: Mapping[str, Any]) -> str | None:
    """The VIRTUAL_HOST among the SourceAccessConfigurations, if there is one."""
    items = values.get("SourceAccessConfigurations")
    if not isinstance(items, list | tuple):
        return None
    return next((item.get("URI") for item in items if _is_host(item)), None)


def _is_host(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get("Type") == "VIRTUAL_HOST"


def _same(given: Any, present: Any) -> bool:
    return bool(_plain(given) == _plain(present))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def configuration(
    mapping: EventSourceMapping,
    *,
    account_id: str,
    region: str,
    state: str,
    reason: str,
    result: str,
    last_modified: float,
) -> dict[str, Any]:
    """The configuration object (C.1), as a new mapping of this source shows it, and what else was given.

    Args:
        mapping: what it describes.
        account_id: of the ARNs.
        region: of the ARNs.
        state: State.
        reason: StateTransitionReason.
        result: LastProcessingResult.
        last_modified: seconds since the epoch.
    """
    arn = f"arn:aws:lambda:{region}:{account_id}"
    answer: dict[str, Any] = {
        "UUID": mapping.UUID,
        "EventSourceMappingArn": f"{arn}:event-source-mapping:{mapping.UUID}",
        "FunctionArn": f"{arn}:function:{mapping.called_function}",
        "State": state,
        "StateTransitionReason": reason,
        "LastProcessingResult": result,
        "LastModified": last_modified,
        "BatchSize": mapping.BatchSize,
    }
    shown = mapping.model_dump(mode="json", exclude_unset=True)
    for name in _always_shown(mapping):
        shown.setdefault(name, mapping.model_dump(mode="json", include={name})[name])
    hidden = {"UUID", "FunctionName", "Enabled", "BatchSize"}
    answer |= {
        name: value
        for name, value in shown.items()
        if name[0].isupper() and name not in hidden and value is not None and not _is_empty(name, value)
    }
    if mapping.kind != "MQ":
        name = GROUPS[0] if mapping.kind == "SelfManagedKafka" else GROUPS[1]
        answer[name] = {**answer.get(name, {}), "ConsumerGroupId": mapping.consumer_group_id}
    return answer


def _always_shown(mapping: EventSourceMapping) -> Sequence[str]:
    """Properties that show their default. Those of provisioned mode by analogy with streams (unverified)."""
    if mapping.kind == "MQ":
        return ()
    if mapping.ProvisionedPollerConfig is None:
        return ("StartingPosition",)
    return (
        "StartingPosition",
        "MaximumRetryAttempts",
        "MaximumRecordAgeInSeconds",
        "BisectBatchOnFunctionError",
        "FunctionResponseTypes",
    )


def _is_empty(name: str, value: Any) -> bool:
    """An empty criteria object is dropped from what is stored (C.5), and so are the like of it."""
    if name == "FilterCriteria":
        return not value.get("Filters")
    if name == "DestinationConfig":
        return not (value.get("OnFailure") or {}).get("Destination")
    return isinstance(value, dict) and not value


def page(
    mappings: Iterable[EventSourceMapping],
    *,
    event_source_arn: str | None,
    function: tuple[str, str] | None,
    marker: str | None,
    max_items: int | None,
) -> tuple[list[EventSourceMapping], str | None]:
    """The mappings of one page, in the order of their UUIDs, and the marker of the next one if there is more.

    Args:
        mappings: all there are.
        event_source_arn: only of this source.
        function: only of this one; name and qualifier, which is empty for any.
        marker: from the page before.
        max_items: most for this page.

    Raises:
        ApiError: MaxItems out of range.
    """
    most = LONGEST_PAGE
    if max_items is not None:
        if max_items < 1:
            raise violation(max_items, "MaxItems", at_least(1))
        if max_items > HIGHEST_MAX_ITEMS:
            raise violation(max_items, "MaxItems", at_most(HIGHEST_MAX_ITEMS))
        most = min(most, max_items)
    found = sorted(
        (
            mapping
            for mapping in mappings
            if event_source_arn in {None, mapping.EventSourceArn}
            and (
                function is None or function in {(mapping.FunctionName, ""), (mapping.FunctionName, mapping.qualifier)}
            )
            and (marker is None or marker < mapping.UUID)
        ),
        key=lambda mapping: mapping.UUID,
    )
    return found[:most], found[most - 1].UUID if len(found) > most else None
