"""Settings, secrets, addresses, parameters and intrinsic functions of any kind: taken, or refused with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.intrinsic import understood, values_with_functions
from fuzz.odd import any_json, any_text, no_hang, scalars, tree
from fuzz.tally import tried
from poller.endpoints import kafka_address, rabbitmq_url, target
from poller.errors import ConfigError
from poller.intrinsics import Resolver
from poller.parameters import TYPES, parameter_values
from poller.secret_values import SecretReader
from poller.settings import MAPS, SCALARS, Sources, variable
from poller.settings import load as load_settings


@given(
    value=values_with_functions,
    mappings=tree(scalars, any_text),
    conditions=st.dictionaries(st.sampled_from(["C", "D", "E"]), values_with_functions, max_size=3),
    name=any_json,
)
@example({"Fn::Select": ["²", ["a", "b", "c"]]}, {}, {}, "C")
@example({"Fn::Select": ["9" * 5000, ["a"]]}, {}, {}, "C")
@example("C", {}, {"C": {"Fn::Not": [{"Condition": "D"}]}, "D": {"Fn::And": [{"Condition": "C"}]}}, "C")
def test_any_value_is_resolved_or_told(value: Any, mappings: Any, conditions: dict[str, Any], name: Any) -> None:
    tried("intrinsic functions")
    references = {"Size": 1, "Telemetry": "t", "List": ["a", "b"], "AWS::Region": "us-east-1"}
    resolver = Resolver(
        references, {"Telemetry.Arn": "arn"}, mappings if isinstance(mappings, dict) else {}, conditions
    )
    with no_hang():
        resolver.resolve(value, "Somewhere")
        resolver.condition(name, "Condition")
    understood(resolver.problems)


parameter = st.fixed_dictionaries(
    {"Type": st.sampled_from(TYPES) | any_json},
    optional={
        **dict.fromkeys(("Default", "MinLength", "MaxLength", "MinValue", "MaxValue"), scalars),
        "AllowedPattern": st.sampled_from(["[a-z]+", "(", "*", "(?P<a", "[", "(?<=a+)b", "\\"]) | any_text,
        "AllowedValues": any_json,
        "NoEcho": scalars,
    },
)


@example({"A": {"Type": "String", "AllowedPattern": "("}}, {"A": "1"})
@example({"A": {"Type": "String", "AllowedPattern": "a{99999999999}"}}, {"A": "1"})
@example({"A": {"Type": "Number"}}, {"A": "9" * 5000})
@given(
    section=st.dictionaries(any_text, parameter | any_json, max_size=3) | any_json,
    given_values=st.dictionaries(any_text, any_text | st.sampled_from(["1", "nan", "1,2", "9" * 5000]), max_size=2),
)
def test_any_parameters_have_values_or_problems(section: Any, given_values: dict[str, str]) -> None:
    tried("parameters")
    if isinstance(section, dict):
        given_values = {**given_values, **dict.fromkeys(list(section)[:1], "1")}
    _, problems = parameter_values(section, given_values, {"POLLER_PARAMETER_X": "1"})
    understood(problems)


secrets = st.dictionaries(
    any_text,
    any_json
    | st.builds(
        lambda kind, name: {kind: name},
        st.sampled_from(["Env", "File"]),
        st.sampled_from(["DEEP", "LONG", "a.json", "\0", "\ud800", ".."]) | any_text,
    ),
    max_size=3,
)
ENVIRONMENT = {"DEEP": "[" * 100_000, "LONG": '{"password": ' + "9" * 5000 + "}", "A": '{"password": "x"}'}


@given(value=secrets | any_json | st.sampled_from([{"Env": name} for name in ENVIRONMENT]))
def test_any_secret_is_read_or_told_and_never_shown(tmp_path: Path, value: Any) -> None:
    tried("secrets")
    reader = SecretReader(tmp_path, ENVIRONMENT, str)
    found = reader.read(value, "Secrets.x")
    assert all(isinstance(text, str) for text in found.values())
    understood(reader.problems)


setting_names = st.sampled_from([*SCALARS, *MAPS, "Prot"]) | any_text
sections = st.dictionaries(
    setting_names, scalars | any_json | st.dictionaries(any_text, any_json | secrets, max_size=2), max_size=4
)


@given(
    section=sections | any_json,
    file=st.none() | sections | any_json,
    variables=st.dictionaries(
        st.sampled_from([variable(name) for name in SCALARS] + ["POLLER_PROT", "AWS_REGION"]), any_text, max_size=3
    ),
    options=st.dictionaries(st.sampled_from(SCALARS), scalars, max_size=2),
)
def test_any_settings_are_taken_or_refused(
    tmp_path: Path, section: Any, file: Any, variables: dict[str, str], options: dict[str, Any]
) -> None:
    tried("settings")
    path = None
    if file is not None:
        path = tmp_path / "settings.yaml"
        path.write_text(yaml.safe_dump(file))
    try:
        load_settings(section, Sources(tmp_path / "t.yaml", path, variables, options))
    except ConfigError as error:
        tried("settings: refused")
        problems = error.problems
    else:
        return
    understood(problems)


urls = any_text | st.lists(
    st.sampled_from(
        [
            "kafka://",
            "amqp://",
            "amqps://",
            "file:",
            "//",
            "/",
            "host",
            ":",
            "9092",
            "@",
            "user",
            "%00",
            "%ff",
            "[",
            "]",
            "::1",
            ",",
            "?",
            "#",
            "..",
            "\0",
            "\ud800",
            "cacertfile=",
            "99999999",
            "x" * 300,
        ]
    ),
    max_size=8,
).map("".join)


@given(url=urls, username=st.none() | any_text, servers=st.booleans())
def test_any_address_is_taken_or_refused(tmp_path: Path, url: str, username: str | None, servers: bool) -> None:
    tried("addresses")
    for attempt in (
        lambda: kafka_address(url, tmp_path),
        lambda: rabbitmq_url(url, username, username, "/", folder=tmp_path),
        lambda: target(url, folder=tmp_path, servers=("b:1",) if servers else ()),
    ):
        try:
            attempt()
        except ValueError as error:
            assert type(error) is ValueError, "not one of ours"  # noqa: PT017
