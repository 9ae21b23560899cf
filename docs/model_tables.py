"""Tables of the reference pages that come from the configuration's models and from `poller.supported`.

Ranges and defaults are the models'; what a property says is the text below its field, else a line of NOTES. Which
sources take a property is asked of the program's own rules.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from poller import access_rules, supported, supported_http
from poller.event_invoke import DeadLetterTarget, EventInvokeConfig
from poller.faults.settings import DestinationFaults, EventSourceFaults, Faults, FunctionFaults
from poller.fronts.url_config import UrlConfig
from poller.function_settings import FunctionSettings
from poller.http_resources import HttpApi, HttpApiEvent, RestApi, RestApiEvent
from poller.intrinsics import CONDITIONS, FUNCTIONS
from poller.mapping_rules import broken_rules
from poller.parameters import TYPES
from poller.resources import EventSourceMapping, Extensions, Function
from poller.settings import MAPS, Settings, option, variable
from poller.supported_http import HTTP_API, REST_API
from poller.triggers.resources import S3Event, Schedule, ScheduleV2
from poller.triggers.supported import TRIGGER_REFUSED, TRIGGER_WITHOUT_EFFECT
from poller.wiring import KAFKA_EXTENSIONS, MQ_EXTENSIONS


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


NOTES = {
    "EventSourceMapping.BatchSize": "Records of one event at most.",
    "EventSourceMapping.BisectBatchOnFunctionError": "Split a batch whose invocation failed in two halves; that uses "
    "up no attempt.",
    "EventSourceMapping.Enabled": "`false`: nothing is read.",
    "EventSourceMapping.EventSourceArn": "The cluster (MSK) or broker (MQ); its address stands in "
    "`Metadata.Poller.Endpoints`.",
    "EventSourceMapping.FunctionName": "Name or ARN, without version and alias. A SAM event has none.",
    "EventSourceMapping.FunctionResponseTypes": "Read replies for `batchItemFailures`.",
    "EventSourceMapping.MaximumBatchingWindowInSeconds": "How long a batch that is not full may wait.",
    "EventSourceMapping.MaximumRecordAgeInSeconds": "Older records are given up; -1 is no limit.",
    "EventSourceMapping.MaximumRetryAttempts": "Retries after the first attempt; -1 is no limit, with an OnFailure "
    "destination 10.",
    "EventSourceMapping.Queues": "Exactly one.",
    "EventSourceMapping.StartingPosition": "Of a consumer group without committed offsets. With `AT_TIMESTAMP`, "
    "`StartingPositionTimestamp` says when.",
    "EventSourceMapping.StartingPositionTimestamp": "Seconds since 1970, not in the future; with `AT_TIMESTAMP` and "
    "only then. Reading begins at the first record that is as late.",
    "EventSourceMapping.Topics": "Exactly one.",
    "EventMetrics.Metrics": "All are always on; AWS writes none of them unless asked. `KafkaMetrics` not for MQ.",
    "EventFilter.Pattern": "See [filters](../how-to/filter-records.md).",
    "FailureDestination.Destination": "`kafka://topic` on the cluster that is read, or an ARN of SQS, SNS or S3 with "
    "an address in `Metadata.Poller.Endpoints`.",
    "Function.Handler": "Its file has to be in the code folder; for `provided` runtimes the program `bootstrap`, and "
    "the handler means what that makes of it.",
    "Function.Layers": "References to `AWS::Serverless::LayerVersion` (`ContentUri`) or `AWS::Lambda::LayerVersion` "
    "(`Content`) of the template, each a local folder or zip archive.",
    "Function.MemorySize": "MB of all that the function's process starts; what holds more is killed. See "
    "[limits](../how-to/limit-functions.md).",
    "FunctionStorage.Size": "MB of an environment's temporary folder. See [limits](../how-to/limit-functions.md).",
    "Function.ReservedConcurrentExecutions": "Environments of this function at most, over all workers "
    "of the service; 0 throttles every invocation.",
    "Function.Runtime": "What runs the handler, from PATH; of Python the poller's own if it is of that version. Where "
    "this machine has not the version, the nearest runs it, with a warning; see `StrictRuntime`.",
    "Function.Timeout": "Seconds; at most 840 for the events of a mapping.",
    "FunctionEnvironment.Variables": "At most 4 KB as JSON. Names that belong to the platform are refused.",
    "KafkaEndpoints.KAFKA_BOOTSTRAP_SERVERS": "CloudFormation and SAM say `KafkaBootstrapServers`.",
    "KafkaEventSourceConfig.ConsumerGroupId": "Also `ConsumerGroupId` of a SAM event.",
    "ProvisionedPollers.MinimumPollers": "Members of the consumer group in this service, over all its workers.",
    "ProvisionedPollers.MaximumPollers": "At least MinimumPollers. There are never more pollers than partitions.",
    "SourceAccessConfiguration.Type": "MQ: "
    + _names(access_rules.MQ)
    + ". MSK: "
    + _names(access_rules.MSK)
    + ". Kafka: "
    + _names(access_rules.KAFKA)
    + ".",
    "SourceAccessConfiguration.URI": "A secret's ARN; of `VIRTUAL_HOST`, the network and `OAUTHBEARER_SCOPE` and the "
    "like, the value.",
}
DEFAULTS = {
    "EventSourceMapping.MaximumBatchingWindowInSeconds": "500 ms",
    "Function.FunctionName": "the logical ID",
    "KafkaEventSourceConfig.ConsumerGroupId": "the mapping's UUID, the same after a restart",
    "Settings.Region": "AWS_REGION, else us-east-1",
}
"""Where the program finds the value elsewhere than in the model."""

PROBES: Mapping[str, Any] = {
    "EventSourceMapping.MaximumRecordAgeInSeconds": 1,
    "EventSourceMapping.Topics": [""],
    "Function.FunctionName": "",
    "Function.Handler": "",
    "Function.Runtime": "",
    "KafkaEndpoints.KAFKA_BOOTSTRAP_SERVERS": [""],
    "KafkaEventSourceConfig.ConsumerGroupId": "",
    "Settings.AccountId": "",
    "Settings.Region": "",
}
"""Wrong values: the refusal says what would be right, where a validator holds the rule."""

SAMPLES: Mapping[str, Any] = {
    "BisectBatchOnFunctionError": True,
    "DestinationConfig": {"OnFailure": {"Destination": "kafka://dead"}},
    "FilterCriteria": {"Filters": []},
    "FunctionResponseTypes": ["ReportBatchItemFailures"],
    "MaximumRecordAgeInSeconds": 60,
    "MaximumRetryAttempts": 1,
    "MetricsConfig": {"Metrics": ["EventCount"]},
    "ProvisionedPollerConfig": {"MinimumPollers": 1, "MaximumPollers": 1},
    "Queues": ["q"],
    "SourceAccessConfigurations": None,
    "StartingPosition": "LATEST",
    "StartingPositionTimestamp": 1.0,
    "Topics": ["t"],
}
_NO_LOGIN = [{"Type": "VPC_SUBNET", "URI": "subnet:a"}, {"Type": "VPC_SECURITY_GROUP", "URI": "security_group:a"}]
_KAFKA = {
    "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["a:1"]}},
    "Topics": ["t"],
    "SourceAccessConfigurations": _NO_LOGIN,
}
_MSK = {"EventSourceArn": "arn:aws:kafka:us-east-1:000000000000:cluster/c/c", "Topics": ["t"]}
_MQ = {
    "EventSourceArn": "arn:aws:mq:us-east-1:000000000000:broker:b:b",
    "Queues": ["q"],
    "SourceAccessConfigurations": [{"Type": "BASIC_AUTH", "URI": "arn:aws:secretsmanager:r:a:secret:s"}],
}
_PROVISIONED = {"ProvisionedPollerConfig": SAMPLES["ProvisionedPollerConfig"]}


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    text = text.replace("|", "\\|")
    return text if "`" in text else text.replace("<", "&lt;")


def reasons(names: Mapping[str, str], head: str = "Property") -> str:
    """A table of names and why."""
    return table([head, "Why"], ([f"`{name}`", why] for name, why in sorted(names.items())))


def names(values: Iterable[str]) -> str:
    """Names in one line."""
    return ", ".join(f"`{value}`" for value in values)


def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The text below each field of a model, and of those that it adds to."""
    found: dict[str, str] = {}
    for base in model.__bases__:
        if base.__module__.startswith("poller.") and issubclass(base, BaseModel):
            found |= docstrings(base)
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    assert isinstance(body, ast.ClassDef)
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            found[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


# --- ranges ---------------------------------------------------------------------------------------------------------


def _bounds(schema: Mapping[str, Any], least: Sequence[str], most: Sequence[str], noun: str = "") -> str:
    low = next((schema[name] for name in least if name in schema), None)
    high = next((schema[name] for name in most if name in schema), None)
    noun = noun and f" {noun}"
    match low, high:
        case None, None:
            return ""
        case None, _:
            return f"up to {high}{noun}"
        case _, None:
            return f"{low} or more{noun}"
    return f"{low} to {high}{noun}"


def _values(schema: Mapping[str, Any]) -> str:
    """What a value may be, in words."""
    match schema:
        case {"enum": allowed}:
            text = names(allowed)
        case {"const": allowed}:
            text = f"`{allowed}`"
        case {"gt": low}:
            text = f"above {low}"
        case {"type": "boolean"}:
            text = "`true`, `false`"
        case {"type": "integer" | "number"}:
            text = _bounds(schema, ("ge", "minimum"), ("le", "maximum"))
        case {"type": "array"}:
            count = _bounds(schema, ("minItems",), ("maxItems",), "items")
            text = "; ".join(filter(None, [count or "list", _values(schema.get("items", {}))]))
        case {"type": "string"}:
            text = _bounds(schema, ("minLength",), ("maxLength",), "characters")
        case _:
            text = ""
    return text


def _refusal(model: type[BaseModel], field: str, probe: Any) -> str:
    """What the field's own validator says would be right."""
    info = model.model_fields[field]
    try:
        TypeAdapter(info.rebuild_annotation()).validate_python(probe)
    except ValidationError as error:
        text = error.errors()[0]["msg"].removeprefix("Value error, ").partition("; this machine")[0]
        return re.sub(r"^.*? (is not supported: |is not |is neither )", "", text).replace(" nor ", " or ")
    raise AssertionError(f"{field}: the probe is a right value")


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, type[BaseModel], Mapping[str, Any]]]:
    """Dotted path, field, model and schema of every value, those of models within models included."""
    for name, info in model.model_fields.items():
        inner, suffix = _inner_model(info.annotation)
        if inner is not None:
            yield from _fields(inner, f"{prefix}{name}{suffix}.")
            continue
        schema = model.model_json_schema()["properties"][name]
        options = [item for item in schema.get("anyOf", ()) if item != {"type": "null"}]
        yield prefix + name, name, model, {**(options[0] if options else {}), **schema}


def _inner_model(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    for argument in getattr(annotation, "__args__", ()):
        inner, suffix = _inner_model(argument)
        if inner is not None:
            return inner, "[]" if get_origin(annotation) is tuple else suffix
    return None, ""


def _row(path: str, field: str, model: type[BaseModel], schema: Mapping[str, Any]) -> list[str]:
    """Path, values, default, meaning."""
    key = f"{model.__name__}.{field}"
    allowed = _refusal(model, field, PROBES[key]) if key in PROBES else _values(schema)
    default = schema.get("default")
    if key in DEFAULTS:
        shown = DEFAULTS[key]
    elif model.model_fields[field].is_required():
        shown = "required"
    else:
        shown = "" if default in (None, [], "") else f"`{json.dumps(default).strip(chr(34))}`"
    return [f"`{path}`", allowed, shown, NOTES.get(key) or docstrings(model).get(field, "")]


# --- sections -------------------------------------------------------------------------------------------------------


def settings() -> str:
    """Every setting that is a single value, then those that are mappings."""
    rows = []
    for path, field, model, schema in _fields(Settings):
        if field not in MAPS and model is Settings:
            name, allowed, default, note = _row(path, field, model, schema)
            rows.append([name, allowed, default, f"`{option(field)}`", f"`{variable(field)}`", note])
    return table(["Setting", "Values", "Default", "Option of `run`", "Variable", "Meaning"], rows)


def extensions() -> str:
    """Settings per mapping."""
    rows = []
    for path, field, model, schema in _fields(Extensions):
        kinds = [kind for kind, foreign in (("Kafka", MQ_EXTENSIONS), ("MQ", KAFKA_EXTENSIONS)) if field not in foreign]
        rows.append([*_row(path, field, model, schema)[:3], ", ".join(kinds), docstrings(model).get(field, "")])
    return table(["Setting", "Values", "Default", "For", "Meaning"], rows)


def faults() -> str:
    """What goes wrong on purpose."""
    rows = [_row(*fields) for fields in _fields(Faults) if fields[2] is Faults]
    for first, model in (
        ("Functions.NAME.", FunctionFaults),
        ("EventSources.FUNCTION.EVENT.", EventSourceFaults),
        ("Destinations.", DestinationFaults),
    ):
        rows += [_row(*fields) for fields in _fields(model, first)]
    return table(["Setting", "Values", "Default", "Meaning"], rows)


def function_settings() -> str:
    """Settings per function."""
    rows = [_row(*fields) for fields in _fields(FunctionSettings)]
    return table(["Setting", "Values", "Default", "Meaning"], rows)


def function_properties() -> str:
    """What is supported of a function."""
    known = {"Code" if name == "CodeUri" else name for name in supported.FUNCTION}
    rows = []
    for path, field, model, schema in _fields(Function):
        if path.partition(".")[0] in known:
            row = _row(path, field, model, schema)
            rows.append(["`CodeUri`, of AWS::Lambda::Function `Code`", *row[1:]] if path == "Code" else row)
    return table(["Property", "Values", "Default", "Meaning"], rows)


def async_properties() -> str:
    """What is supported of asynchronous invocation."""
    rows = []
    for first, model in (("EventInvokeConfig.", EventInvokeConfig), ("DeadLetterQueue.", DeadLetterTarget)):
        rows += [_row(*fields) for fields in _fields(model, first)]
    return table(["Property", "Values", "Default", "Meaning"], rows)


def trigger_properties() -> str:
    """What is supported of events of S3 and of schedules."""
    rows = []
    for model in (S3Event, Schedule, ScheduleV2):
        for fields in _fields(model):
            path, allowed, default, note = _row(*fields)
            if model is S3Event and path == "`Events`":
                allowed = "1 or more items, or one alone"
            rows.append([f"`{model.__name__.removesuffix('Event')}`", path, allowed, default, note])
    return table(["Event", "Property", "Values", "Default", "Meaning"], rows)


def url_properties() -> str:
    """What is supported of a function URL."""
    return table(["Property", "Values", "Default", "Meaning"], [_row(*fields) for fields in _fields(UrlConfig)])


def http_events() -> str:
    """What is supported of events that make routes."""
    rows = []
    for kind, model in (("HttpApi", HttpApiEvent), ("Api", RestApiEvent)):
        rows += [[f"`{kind}`", *_row(*fields)] for fields in _fields(model)]
    return table(["Type of event", "Property", "Values", "Default", "Meaning"], rows)


def apis() -> str:
    """What is supported of APIs."""
    rows = []
    for kind, model in ((HTTP_API, HttpApi), (REST_API, RestApi)):
        rows += [[kind, *_row(*fields)] for fields in _fields(model)]
    return table(["Resource", "Property", "Values", "Default", "Meaning"], rows)


def _of_kinds(whys: Mapping[str, Mapping[str, str]]) -> str:
    """Names and why, of several kinds of events and resources."""
    rows = [[kind, f"`{name}`", why] for kind, reasons_of in whys.items() for name, why in sorted(reasons_of.items())]
    return table(["Event or resource", "Property", "Why"], rows)


def mapping_properties() -> str:
    """What is supported of an event source mapping, and by which source."""
    rows = []
    for path, field, model, schema in _fields(EventSourceMapping):
        top = re.split(r"[.\[]", path)[0]
        if top in supported.MAPPING:
            row = _row(path, field, model, schema)
            rows.append([*row[:3], _taken_by(top), row[3]])
    return table(["Property", "Values", "Default", "For", "Meaning"], rows)


def _taken_by(name: str) -> str:
    """Which sources a property may stand with, as the rules say."""
    kinds = {"Kafka": _KAFKA, "MSK": _MSK, "MQ": _MQ}
    found = [kind for kind, values in kinds.items() if not _breaks(values, name)]
    if not found:
        kinds = {"Kafka": {**_KAFKA, **_PROVISIONED}}
        return "Kafka, MSK; needs ProvisionedPollerConfig" if not _breaks(kinds["Kafka"], name) else ""
    destination = name == "DestinationConfig"
    return ", ".join(found) + ("; `kafka://` needs ProvisionedPollerConfig" if destination else "")


def _breaks(values: Mapping[str, Any], name: str) -> bool:
    foreign = {
        "SelfManagedEventSource": _KAFKA["SelfManagedEventSource"],
        "EventSourceArn": _MSK["EventSourceArn"],
        "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "g"},
        "AmazonManagedKafkaEventSourceConfig": {"ConsumerGroupId": "g"},
    }
    sample = SAMPLES.get(name, foreign.get(name, 1))
    if name == "DestinationConfig":
        sample = {"OnFailure": {"Destination": "arn:aws:sqs:us-east-1:000000000000:q"}}
    if name == "StartingPositionTimestamp":
        values = {**values, "StartingPosition": "AT_TIMESTAMP"}
    given = values if sample is None or name in values else {**values, name: sample}
    return any(broken for broken in broken_rules(given, ""))


def mapping_refused() -> str:
    """What is refused of a mapping, properties within properties included."""
    refused = dict(supported.MAPPING_REFUSED)
    config = {"SelfManagedKafkaEventSourceConfig": {"ConsumptionMode": "Queue"}}
    group = {"ProvisionedPollerConfig": {"PollerGroupName": "g", "MinimumPollers": 1, "MaximumPollers": 1}}
    for name, reason, _ in broken_rules({**_KAFKA, **config, **group}, ""):
        refused[name] = reason.removeprefix("not supported: ")
    return reasons(refused)


def events() -> str:
    """Properties of each type of SAM event that have another place in the mapping."""
    rows = []
    for kind, properties in supported.EVENTS.items():
        moved = [f"`{own}` is `{place}`" for own, place in properties.items() if own != place]
        rows.append([f"`{kind}`", "; ".join(moved)])
    return table(["Type of event", "Properties with another name in the mapping"], rows)


SECTIONS = {
    "settings": settings,
    "extensions": extensions,
    "faults": faults,
    "function settings": function_settings,
    "function properties": function_properties,
    "async properties": async_properties,
    "url properties": url_properties,
    "http events": http_events,
    "apis": apis,
    "apis without effect": lambda: _of_kinds(supported_http.APIS_WITHOUT_EFFECT),
    "apis refused": lambda: _of_kinds({**supported_http.EVENTS_REFUSED, **supported_http.APIS_REFUSED}),
    "function without effect": lambda: reasons(supported.FUNCTION_WITHOUT_EFFECT),
    "function refused": lambda: reasons(supported.FUNCTION_REFUSED),
    "mapping properties": mapping_properties,
    "mapping without effect": lambda: reasons(supported.MAPPING_WITHOUT_EFFECT),
    "mapping refused": mapping_refused,
    "events": events,
    "trigger properties": trigger_properties,
    "trigger without effect": lambda: reasons(TRIGGER_WITHOUT_EFFECT),
    "trigger refused": lambda: reasons(TRIGGER_REFUSED),
    "events refused": lambda: names(sorted(supported.EVENTS_REFUSED)),
    "resources": lambda: names(supported.RESOURCES),
    "resources passed over": lambda: reasons(supported.PASSED_OVER, "Type"),
    "sections": lambda: names(sorted(supported.SECTIONS)),
    "intrinsic functions": lambda: names([*FUNCTIONS, *CONDITIONS]),
    "parameter types": lambda: names(TYPES),
}
