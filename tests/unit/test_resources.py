"""Functions and mappings as models: AWS's names, ranges and defaults (A.7, C.1), and addresses behind them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import SecretStr, ValidationError
from templates import NO_LOGIN, PROVISIONED

from poller import endpoints
from poller.endpoints import FileTarget, KafkaTarget, RabbitMQTarget
from poller.environment_variables import RESERVED_VARIABLES
from poller.errors import ConfigError
from poller.policy import filtering
from poller.resources import EventSourceMapping, Function, event_source_mapping, function
from poller.sources.kafka_security import KafkaSecurity
from poller.sources.rabbitmq_event import RabbitMQSettings
from poller.validation import under

FUNCTION = {"FunctionName": "f", "Code": Path("code"), "Handler": "app.handler", "Runtime": "python3.13"}
MAPPING = {
    "name": "F.E",
    "FunctionName": "f",
    "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["a:1"]}},
    "Topics": ["topic"],
    "SourceAccessConfigurations": NO_LOGIN,
}


def mapping(**changes: Any) -> EventSourceMapping:
    return event_source_mapping({**MAPPING, **changes}, under("M"), extension="X")


def problems(**changes: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        mapping(**changes)
    return [str(problem) for problem in caught.value.problems]


def function_problems(**changes: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        function({**FUNCTION, **changes}, under("F"))
    return [str(problem) for problem in caught.value.problems]


def test_a_function_has_the_defaults_of_the_service() -> None:  # A.7
    built = function(FUNCTION, under("F")).configuration()
    assert (built.timeout, built.memory_size, built.reserved_concurrent_executions) == (3.0, 128, None)
    assert built.function_arn == "arn:aws:lambda:us-east-1:123456789012:function:f"


def test_resources_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        function(FUNCTION, under("F")).Timeout = 5  # type: ignore[misc]


@pytest.mark.parametrize("name", sorted(RESERVED_VARIABLES))
def test_variables_of_the_platform_are_refused(name: str) -> None:  # E.2
    assert function_problems(Environment={"Variables": {name: "x"}}) == [
        (
            "F.Environment.Variables: Lambda was unable to configure your environment variables because the environment variables "
            "you have provided contains reserved keys that are currently not supported for modification. "
            f"Reserved keys used in this request: {name}"
        )
    ]


def test_variables_may_take_four_kilobytes_as_json() -> None:  # E.2
    room = 4096 - len(json.dumps({"AA": ""}, separators=(",", ":")))
    function({**FUNCTION, "Environment": {"Variables": {"AA": "x" * room}}}, under("F"))
    assert function_problems(Environment={"Variables": {"AA": "x" * (room + 1)}})[0].endswith(
        "exceeded the 4KB limit. Measured: 4097 bytes"
    )


def test_a_variable_s_name_begins_with_a_letter() -> None:  # E.2
    assert function_problems(Environment={"Variables": {"1A": "x"}}) == [
        'F.Environment.Variables: "1A" is not a name: a letter, then one or more letters, digits or underscores'
    ]


@pytest.mark.parametrize("value", ["a\0b", "\udcff"])
def test_a_variable_that_no_process_can_have_is_refused(value: str) -> None:  # E.2
    assert function_problems(Environment={"Variables": {"TEXT": value}}) == [
        ("F.Environment.Variables: TEXT has a character that no variable can hold: a NUL, or half of a surrogate pair")
    ]


def test_a_handler_with_a_nul_is_refused() -> None:
    assert function_problems(Handler="app.han\0dler") == [
        'F.Handler: "app.han\\u0000dler" is not a handler, such as handler.handler'
    ]


@pytest.mark.parametrize("name", ["TZ", "LANG", "PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "AWS_LAMBDA_EXEC_WRAPPER"])
def test_some_variables_of_the_platform_may_be_set(name: str) -> None:  # E.2
    assert function({**FUNCTION, "Environment": {"Variables": {name: "x"}}}, under("F")).Environment.Variables == {
        name: "x"
    }


def test_numbers_and_booleans_may_be_text_as_in_cloudformation() -> None:
    built = mapping(
        BatchSize="50", Enabled="false", ProvisionedPollerConfig=PROVISIONED, BisectBatchOnFunctionError="true"
    )
    assert (built.BatchSize, built.Enabled, built.BisectBatchOnFunctionError) == (50, False, True)


def test_an_empty_provisioned_mode_is_on_demand_mode() -> None:  # C.1
    assert problems(ProvisionedPollerConfig={}, MaximumRetryAttempts=1) == [
        (
            "M.MaximumRetryAttempts: needs ProvisionedPollerConfig, as on AWS "
            "(add ProvisionedPollerConfig: {MinimumPollers: 1, MaximumPollers: 1})"
        )
    ]


@pytest.mark.parametrize(
    "asks_for_nothing",
    [
        {"MaximumRetryAttempts": -1},
        {"BisectBatchOnFunctionError": False},
        {"FunctionResponseTypes": []},
        {"MaximumRecordAgeInSeconds": -1},
    ],
)
def test_a_default_written_out_needs_no_provisioned_mode(asks_for_nothing: dict[str, Any]) -> None:
    mapping(**asks_for_nothing)


@pytest.mark.parametrize("age", [-1, 60, 604_800])
def test_record_ages_at_the_limits(age: int) -> None:  # C.1
    assert mapping(MaximumRecordAgeInSeconds=age, ProvisionedPollerConfig=PROVISIONED).MaximumRecordAgeInSeconds == age


@pytest.mark.parametrize("age", [-2, 0, 59, 604_801])
def test_record_ages_beyond_the_limits(age: int) -> None:  # C.1
    assert problems(MaximumRecordAgeInSeconds=age, ProvisionedPollerConfig=PROVISIONED) == [
        f"M.MaximumRecordAgeInSeconds: {age} is neither -1 nor 60 to 604800"
    ]


def test_a_pattern_is_checked_by_the_filter_itself(monkeypatch: pytest.MonkeyPatch) -> None:  # C.5
    asked: list[tuple[list[str], str]] = []

    def compile_filters(patterns: list[str], data_key: str) -> None:
        asked.append((patterns, data_key))
        if patterns == ["bad"]:
            raise ValueError("Invalid filter pattern definition.")

    monkeypatch.setattr(filtering, "compile_filters", compile_filters)
    assert problems(FilterCriteria={"Filters": [{"Pattern": "good"}, {"Pattern": "bad"}]}) == [
        "M.FilterCriteria.Filters[1].Pattern: Invalid filter pattern definition."
    ]
    assert asked == [(["good"], "value"), (["bad"], "value")]


@pytest.mark.parametrize("pattern", ["null", "[]", '{"value": "bare"}', '{"value": []}', "not json"])
def test_a_wrong_pattern_has_aws_s_text(pattern: str) -> None:  # C.5
    assert problems(FilterCriteria={"Filters": [{"Pattern": pattern}]})[0].startswith(
        "M.FilterCriteria.Filters[0].Pattern: Invalid filter pattern definition."
    )


def test_a_pattern_has_at_most_4096_characters() -> None:  # C.1
    long = json.dumps({"value": ["x" * 4082]})
    assert len(long) == 4097
    found = problems(FilterCriteria={"Filters": [{"Pattern": long}]})
    assert len(found) == 1
    assert "4096" in found[0]


def test_both_kinds_of_source_are_one_too_many() -> None:
    assert problems(EventSourceArn="arn:aws:kafka:us-east-1:123456789012:cluster/x/1") == [
        "M.EventSourceArn: stands beside SelfManagedEventSource; a mapping has one source"
    ]


def test_the_other_kafka_s_consumer_group_is_refused() -> None:
    assert problems(AmazonManagedKafkaEventSourceConfig={"ConsumerGroupId": "g"}) == [
        "M.AmazonManagedKafkaEventSourceConfig: belongs to another kind of source; use SelfManagedKafkaEventSourceConfig"
    ]


def test_a_uuid_that_is_given_stays() -> None:
    assert mapping(UUID="u").consumer_group_id == "u"


# --- addresses -----------------------------------------------------------------------------------------------------

OWN = SecretStr("amqp://u:p@own:5672/%2F")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("kafka://dead", KafkaTarget(("a:1", "b:2"), "dead")),
        ("kafka://c:3,d:4/dead", KafkaTarget(("c:3", "d:4"), "dead")),
        ("amqp:///exchange/key", RabbitMQTarget(OWN, "exchange", "key")),
        ("amqp:////queue", RabbitMQTarget(OWN, "", "queue")),
        ("amqp://u:p%40@h/exchange/a%2Fb", RabbitMQTarget(SecretStr("amqp://u:p%40@h:5672/%2F"), "exchange", "a/b")),
        ("amqps://u:p@[::1]:7/v%2Fh/x/k", RabbitMQTarget(SecretStr("amqps://u:p@[::1]:7/v%2Fh"), "x", "k")),
    ],
)
def test_a_destination_s_uri_is_completed(uri: str, expected: endpoints.Target) -> None:
    assert endpoints.target(uri, folder=Path(), servers=("a:1", "b:2"), broker_url=OWN) == expected


def test_a_file_is_relative_to_the_template_or_absolute(tmp_path: Path) -> None:
    assert endpoints.target("file:a%20b", folder=tmp_path) == FileTarget(tmp_path / "a b")
    assert endpoints.target(f"file://{tmp_path}/x", folder=Path()) == FileTarget(tmp_path / "x")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://h/x", "must begin with kafka://, amqp:// or file:"),
        ("kafka://h:1/a/b", "must end in a topic: letters, digits, . _ or -"),
        ("kafka://h/topic", "must name its servers as host:port, separated by commas"),
        (
            "amqp:///only",
            "must have the form amqp:///exchange/routing-key or amqp://user:password@host:5672/exchange/routing-key",
        ),
        ("amqp://h/e/k", "holds no login; give amqp://user:password@host:5672"),
        ("amqp:///v/e/k", "names a virtual host, but no broker; the mapping's own has its virtual host"),
        ("amqp://u:p@h:port/e/k", "is not a URL"),
        ("file:", "must have the form file:path, with ? and # percent-encoded"),
        ("file:a?b", "must have the form file:path, with ? and # percent-encoded"),
        ("file:.", "FOLDER is a folder"),
    ],
)
def test_a_wrong_destination_is_refused_without_repeating_it(tmp_path: Path, uri: str, expected: str) -> None:
    with pytest.raises(ValueError) as caught:
        endpoints.target(uri, folder=tmp_path, servers=("a:1",), broker_url=OWN)
    assert str(caught.value).replace(str(tmp_path), "FOLDER") == expected


def test_a_kafka_topic_needs_servers_where_the_source_has_none() -> None:
    with pytest.raises(ValueError, match=r"must have the form kafka://host:9092/topic"):
        endpoints.target("kafka://dead", folder=Path())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://h/vhost", "has a path; the virtual host stands in SourceAccessConfigurations (Type: VIRTUAL_HOST)"),
        ("amqp://", "must have the form amqp://user:password@host:5672"),
        ("amqp://h?heartbeat=1", "knows no other option behind ? than cacertfile=path"),
        ("amqps://h?cacertfile", "knows no other option behind ? than cacertfile=path"),
        ("amqp://h?cacertfile=ca.pem", "has cacertfile without TLS: that is amqps://host:5671"),
        (
            "amqps://h?cacertfile=none.pem",
            "names FOLDER/none.pem as cacertfile, which cannot be read: No such file or directory",
        ),
        ("amqps://h?cacertfile=no.pem", "names FOLDER/no.pem as cacertfile, which holds no certificate in PEM format"),
    ],
)
def test_a_wrong_broker_is_refused(tmp_path: Path, url: str, expected: str) -> None:
    (tmp_path / "ca.pem").write_bytes(trustme.CA().cert_pem.bytes())
    (tmp_path / "no.pem").write_text("no certificate")
    with pytest.raises(ValueError) as caught:
        endpoints.rabbitmq_url(url, "u", "p", "/", folder=tmp_path)
    assert str(caught.value).replace(f"{tmp_path}", "FOLDER") == expected


def test_an_authority_of_one_s_own_stands_in_a_broker_s_address_relative_to_the_template(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    (folder / "ca.pem").write_bytes(trustme.CA().cert_pem.bytes())
    url = endpoints.rabbitmq_url("amqps://h?cacertfile=ca.pem", "u", "p", "/", folder=folder)
    assert RabbitMQSettings.from_url(url, queue="q", event_source_arn="a").ca_file == f"{folder}/ca.pem"
    elsewhere = endpoints.target("amqps://u:p@h/x/k?cacertfile=ca.pem", folder=folder)
    assert elsewhere == RabbitMQTarget(SecretStr(url), "x", "k")
    assert str(elsewhere) == "amqps://h:5671/x/k"


def test_kafka_servers_behind_an_arn(tmp_path: Path) -> None:
    assert endpoints.kafka_address("kafka://a:1,b:2", tmp_path) == endpoints.KafkaAddress(("a:1", "b:2"))
    certificate = trustme.CA().cert_pem.bytes().decode()
    (tmp_path / "ca.pem").write_text(certificate)
    secure = endpoints.kafka_address("kafka://a:1?cacertfile=ca.pem", tmp_path)
    assert secure == endpoints.KafkaAddress(("a:1",), certificate)
    for wrong in ("kafka://a:1/topic", "a:1", "kafka://a", "kafka://a:1?acks=all", "kafka://a:1?cacertfile=none"):
        with pytest.raises(ValueError):
            endpoints.kafka_address(wrong, tmp_path)


def test_dead_letters_on_the_mapping_s_own_cluster_log_in_as_it_does_and_elsewhere_not() -> None:  # D.1.4
    login = KafkaSecurity("SASL_SSL", "PLAIN", "u", "p")
    expected = {"kafka://dead": login, "kafka://b:2/dead": login, "kafka://c:3/dead": KafkaSecurity()}
    for uri, security in expected.items():
        found = endpoints.target(uri, folder=Path(), servers=("a:1", "b:2"), security=login)
        assert isinstance(found, KafkaTarget)
        assert found.security == security


def test_targets_as_text_show_no_password() -> None:
    assert str(RabbitMQTarget(OWN, "x", "k")) == "amqp://own:5672/x/k"
    assert str(KafkaTarget(("a:1", "b:2"), "t")) == "kafka://a:1,b:2/t"
    assert str(FileTarget(Path("x"))) == "file:x"
    assert "p@" not in repr(RabbitMQTarget(OWN, "x", "k"))


def test_the_model_of_a_function_lists_aws_s_names() -> None:
    ours = {"account_id", "region", "runtime_client", "layers"}
    assert all(name[0].isupper() for name in set(Function.model_fields) - ours)


@pytest.mark.parametrize(
    ("given", "least", "most"),
    [
        ({"MinimumPollers": 2}, 2, 200),
        ({"MaximumPollers": 2000}, 1, 2000),
        ({"MinimumPollers": 200, "MaximumPollers": 200}, 200, 200),
        ({"MinimumPollers": "3", "MaximumPollers": "4"}, 3, 4),
    ],
)
def test_provisioned_pollers_are_1_to_200_by_default(given: dict[str, Any], least: int, most: int) -> None:  # C.1
    pollers = mapping(ProvisionedPollerConfig=given).ProvisionedPollerConfig
    assert pollers is not None
    assert (pollers.MinimumPollers, pollers.MaximumPollers) == (least, most)
