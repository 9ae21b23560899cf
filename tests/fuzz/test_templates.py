"""Templates and settings: whatever stands in them is taken, or refused with problems that name their place."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from templates import (
    PROVISIONED,
    SECRET,
    SETTINGS,
    _transform_in_process,  # noqa: F401 - a fixture
    document,
    write,
)

from fuzz.intrinsic import functions, understood, values_with_functions
from fuzz.odd import any_json, any_text, no_hang
from fuzz.tally import tried
from poller import sam, supported, template
from poller.document import read
from poller.errors import ConfigError

_CODE = {"CodeUri": "code", "Handler": "app.handler", "Runtime": "python3.13"}
_RULES = [{"Name": "prefix", "Value": "a"}, {"Name": "suffix", "Value": ".b"}]
_ARN = {"Fn::GetAtt": ["Started", "Arn"]}
TRIGGERS = {
    "Uploads": {
        "Type": "AWS::S3::Bucket",
        "Properties": {
            "BucketName": "uploads",
            "NotificationConfiguration": {
                "LambdaConfigurations": [
                    {"Event": "s3:ObjectRemoved:*", "Function": _ARN, "Filter": {"S3Key": {"Rules": _RULES}}}
                ]
            },
        },
    },
    "Started": {
        "Type": sam.FUNCTION,
        "Properties": {
            **_CODE,
            "Events": {
                "Upload": {
                    "Type": "S3",
                    "Properties": {
                        "Bucket": {"Ref": "Uploads"},
                        "Events": ["s3:ObjectCreated:*"],
                        "Filter": {"S3Key": {"Rules": _RULES}},
                    },
                },
                "Tick": {
                    "Type": "Schedule",
                    "Properties": {"Schedule": "rate(5 minutes)", "Input": "{}", "Enabled": True},
                },
                "Morning": {
                    "Type": "ScheduleV2",
                    "Properties": {
                        "ScheduleExpression": "cron(0 8 ? * MON-FRI *)",
                        "ScheduleExpressionTimezone": "Europe/Berlin",
                        "StartDate": "2026-01-01T00:00:00Z",
                        "EndDate": "2027-01-01T00:00:00Z",
                        "FlexibleTimeWindow": {"Mode": "OFF"},
                        "RetryPolicy": {"MaximumRetryAttempts": 1, "MaximumEventAgeInSeconds": 60},
                    },
                },
            },
        },
    },
    "Rule": {
        "Type": "AWS::Events::Rule",
        "Properties": {"ScheduleExpression": "cron(0/5 * L * ? 2030)", "Targets": [{"Arn": _ARN, "Id": "a"}]},
    },
    "Once": {
        "Type": "AWS::Scheduler::Schedule",
        "Properties": {
            "ScheduleExpression": "at(2030-01-01T00:00:00)",
            "FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 5},
            "Target": {"Arn": _ARN, "RoleArn": "arn:aws:iam::1:role/r", "Input": "[]"},
        },
    },
}

WHOLE = document(
    readings={
        "SourceAccessConfigurations": [
            {"Type": "OAUTHBEARER_AUTH", "URI": f"{SECRET}-1"},
            {"Type": "OAUTHBEARER_SCOPE", "URI": "read"},
        ],
        "ProvisionedPollerConfig": PROVISIONED,
        "DestinationConfig": {"OnFailure": {"Type": "Kafka", "Destination": "kafka://dlq"}},
        "FilterCriteria": {"Filters": [{"Pattern": '{"value": ["a"]}'}]},
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
    },
    function={
        "Environment": {"Variables": {"AA": {"Fn::Sub": "${Size}"}}},
        "Timeout": {"Ref": "Size"},
        "FunctionUrlConfig": {"AuthType": "NONE", "Cors": {"AllowOrigins": ["*"], "MaxAge": 1}},
    },
    resources={
        **TRIGGERS,
        "Url": {"Type": "AWS::Lambda::Url", "Properties": {"AuthType": "NONE", "TargetFunctionArn": "Tasks"}},
        "Web": {
            "Type": "AWS::Serverless::HttpApi",
            "Properties": {"StageName": "dev", "StageVariables": {"a": "b"}, "CorsConfiguration": True},
        },
        "Shop": {
            "Type": "AWS::Serverless::Api",
            "Properties": {"StageName": "v1", "Variables": {"a": 1}, "Cors": "'*'", "BinaryMediaTypes": ["a/b"]},
        },
    },
    settings={
        "EventSources": {"Tasks.Queue": {"MaximumRetryAttempts": 1, "OnFailure": "amqp:///x/k"}},
        "Secrets": {
            **SETTINGS["Secrets"],
            f"{SECRET}-1": {
                "oauthTokenEndpointUrl": "https://h/token",
                "oauthClientId": "c",
                "oauthClientSecret": "s",
            },
        },
    },
    Parameters={"Size": {"Type": "Number", "Default": 1, "AllowedValues": [1]}},
    Conditions={"C": {"Fn::Equals": ["a", "a"]}},
    Mappings={"M": {"a": {"b": "c"}}},
    Globals={"Function": {"MemorySize": 256}, "Api": {"Variables": {"c": "d"}}},
)
WHOLE["Resources"]["Telemetry"]["Properties"]["Events"] |= {
    "Get": {"Type": "HttpApi", "Properties": {"ApiId": {"Ref": "Web"}, "Path": "/a/{id}", "Method": "GET"}},
    "Post": {"Type": "Api", "Properties": {"Path": "/a", "Method": "post", "TimeoutInMillis": 50}},
}


def test_the_template_that_is_mutated_is_right(tmp_path: Path) -> None:
    loaded = template.load(write(tmp_path, WHOLE), environment={})
    assert len(loaded.triggers.s3) == 2
    assert len(loaded.triggers.schedules) == 4


names = any_text | functions | st.sampled_from(sorted({*supported.FUNCTION, *supported.MAPPING, *supported.SECTIONS}))


# --- YAML ----------------------------------------------------------------------------------------------------------

tokens = st.sampled_from(
    [
        *(
            "a: ",
            "- ",
            "? ",
            ": ",
            "\n",
            "  ",
            "{",
            "}",
            "[",
            "]",
            ", ",
            "&x ",
            "*x",
            "<<: ",
            "|\n",
            ">-\n ",
            "#",
            "'",
            '"',
            "%",
        ),
        *(
            "!Ref ",
            "!Sub ",
            "!GetAtt a.b",
            "!If ",
            "! ",
            "!!binary ",
            "!!set ",
            "!!omap ",
            "!!pairs ",
            "!!int ",
            "!!float ",
        ),
        *(
            "!!bool ",
            "!!timestamp ",
            "!!null ",
            "!!str ",
            "!!seq ",
            "!!map ",
            "!!merge ",
            "!!python/object:os.system ",
            "!!value ",
        ),
        *(
            "2025-01-01",
            "0b_",
            "0x_",
            "._",
            "1:2",
            "1e9",
            ".nan",
            "=",
            "~",
            "on",
            "\t",
            "\0",
            "\ufeff",
            "---\n",
            "...\n",
        ),
        *(
            "9" * 5000,
            "[" * 3000,
            "{a: " * 2000,
            "- " * 2000,
            '"\\ud800"',
            '"\\0"',
            "%YAML 9.9\n",
            "é",
            "\x7f",
            "\u2028",
        ),
    ]
)
yaml_texts = st.lists(tokens | any_text, max_size=12).map("".join)


@given(
    text=yaml_texts
    | any_json.map(lambda value: yaml.dump(value, allow_unicode=True))
    | values_with_functions.map(yaml.safe_dump)
)
@example(
    text="a: &a [x, x]\nb: &b [*a, *a]\n"
    + "\n".join(
        f"{c}: &{c} [*{p}, *{p}]" for p, c in zip("bcdefghijklmnopqrstuvwx", "cdefghijklmnopqrstuvwxy", strict=True)
    )
)
@example(text="a: &x [*x]")
@example(text="a: &x {b: *x}")
@example(text="a: !!int x")
def test_any_text_is_a_mapping_or_a_problem_with_its_line(tmp_path: Path, text: str) -> None:
    tried("YAML texts")
    path = tmp_path / "t.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    with no_hang():
        try:
            content = read(path)
        except ConfigError as error:
            tried("YAML texts: refused")
            problems = error.problems
        else:
            assert isinstance(content, dict)
            assert plain(content) < 1_000_000
            return
    understood(problems)
    assert all(problem.path.startswith(str(path)) for problem in problems)


def plain(value: Any) -> int:
    """Counts what a document holds, and sees that it is values of JSON only."""
    if isinstance(value, dict):
        assert all(isinstance(name, str) for name in value)
        return 1 + sum(plain(item) for item in value.values())
    if isinstance(value, list):
        return 1 + sum(plain(item) for item in value)
    assert value is None or isinstance(value, str | int | float | bool)
    return 1


# --- structures ----------------------------------------------------------------------------------------------------


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([place] if place else []), *(inner for key, item in members for inner in places(item, (*place, key)))]


@st.composite
def mutations(draw: st.DrawFn) -> dict[str, Any]:  # noqa: C901 - one case a way of getting it wrong
    """The valid template with one to four places replaced, removed, renamed, wrapped or moved."""
    content = copy.deepcopy(WHOLE)
    for _ in range(draw(st.integers(1, 4))):
        known = places(content)
        if not known:
            break
        *way, last = draw(st.sampled_from(known))
        inner: Any = content
        for key in way:
            inner = inner[key]
        match draw(st.sampled_from(["replace", "remove", "rename", "wrap", "copy", "add"])):
            case "replace":
                inner[last] = draw(values_with_functions)
            case "remove":
                del inner[last]
            case "rename" if isinstance(inner, dict):
                inner[draw(names)] = inner.pop(last)
            case "wrap":
                name = draw(functions)
                inner[last] = {
                    name: draw(st.sampled_from([inner[last], [inner[last]], ["C", inner[last], inner[last]]]))
                }
            case "copy":
                source: Any = content
                for key in draw(st.sampled_from(known)):
                    source = source[key] if isinstance(source, dict) and key in source else source
                inner[last] = copy.deepcopy(source)
            case _ if isinstance(inner, dict):
                inner[draw(names)] = draw(values_with_functions)
    return content


def load(folder: Path, content: Mapping[str, Any]) -> None:
    text = yaml.safe_dump(dict(content), sort_keys=False)
    path = write(folder, text)
    try:
        template.load(path, environment={}, parameters={})
    except ConfigError as error:
        tried("templates: refused")
        problems = error.problems
    else:
        return
    assert problems
    understood(problems)


@example(document(function={"CodeUri": "\0"}))
@example(document(function={"CodeUri": "\ud800"}))
@example(document(function={"Handler": "\0.handler"}))
@example(document(function={"Handler": "x" * 5000 + ".handler"}))
@example(document(function={"CodeUri": "x" * 5000}))
@example(document(readings={"DestinationConfig": {"OnFailure": {"Destination": "file:" + "x" * 5000}}}))
@example(document(readings={"DestinationConfig": {"OnFailure": {"Destination": "file:\0"}}}))
@given(content=mutations())
def test_a_mutated_template_is_taken_or_refused_with_all_its_problems(tmp_path: Path, content: dict[str, Any]) -> None:
    tried("templates")
    with no_hang():
        load(tmp_path, content)


@given(content=st.dictionaries(names, values_with_functions, max_size=5))
def test_any_structure_is_taken_or_refused_with_its_problems(tmp_path: Path, content: dict[str, Any]) -> None:
    tried("templates")
    with no_hang():
        load(tmp_path, content)


@settings(max_examples=max(3, settings().max_examples // 1000))
@given(content=mutations())
def test_the_transform_in_its_own_process_answers_likewise(
    tmp_path: Path, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried("templates through the transform's own process")
    monkeypatch.setattr(template, "Translator", sam.Translator)
    with no_hang():
        load(tmp_path, content)
