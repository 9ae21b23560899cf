"""Settings come from template, file, environment and options; a later one wins, and nothing is accepted and ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from poller.cli_settings import SETTINGS
from poller.errors import ConfigError
from poller.settings import SCALARS, Settings, Sources, kafka_client, load, option, variable


def settings(
    section: Any = None,
    *,
    folder: Path = Path(),
    file: str | None = None,
    environment: dict[str, str] | None = None,
    options: dict[str, Any] | None = None,
) -> Settings:
    path = None
    if file is not None:
        path = folder / "settings.yaml"
        path.write_text(file)
    return load(section, Sources(folder / "template.yaml", path, environment or {}, options or {}))


def problems(section: Any = None, **others: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        settings(section, **others)
    folder = str(others.get("folder", "FOLDER"))
    return [str(problem).replace(folder, "FOLDER") for problem in caught.value.problems]


def test_defaults() -> None:
    assert settings() == Settings()
    assert (Settings().Port, Settings().Bind, Settings().ShutdownGrace, Settings().RevocationGrace) == (
        9001,
        "127.0.0.1",
        30,
        1,
    )
    assert (Settings().AccountId, Settings().Region) == ("123456789012", "us-east-1")
    assert (Settings().TimeScale, Settings().LogFormat, Settings().LogLevel) == (1, "auto", "INFO")


def test_an_option_wins_over_the_environment_that_over_the_file_and_that_over_the_template(tmp_path: Path) -> None:
    section = {"Port": 1, "ShutdownGrace": 1, "TimeScale": 1, "Bind": "localhost"}
    loaded = settings(
        section,
        folder=tmp_path,
        file="Port: 2\nShutdownGrace: 2\nTimeScale: 2\n",
        environment={"POLLER_PORT": "3", "POLLER_SHUTDOWN_GRACE": "3"},
        options={"Port": "4"},
    )
    assert (loaded.Port, loaded.ShutdownGrace, loaded.TimeScale, loaded.Bind) == (4, 3, 2, "localhost")


def test_the_region_is_the_environment_s_unless_a_setting_says_otherwise() -> None:
    assert settings(environment={"AWS_REGION": "eu-west-1"}).Region == "eu-west-1"
    assert settings({"Region": "eu-north-1"}, environment={"AWS_REGION": "eu-west-1"}).Region == "eu-north-1"


def test_single_endpoints_and_secrets_of_the_file_replace_those_of_the_template(tmp_path: Path) -> None:
    section = {"Endpoints": {"a": "kafka://a:1", "b": "kafka://b:1"}, "Secrets": {"s": {"username": "u"}}}
    loaded = settings(section, folder=tmp_path, file="Endpoints: {b: 'kafka://c:1'}\n")
    assert {arn: url.get_secret_value() for arn, url in loaded.Endpoints.items()} == {
        "a": "kafka://a:1",
        "b": "kafka://c:1",
    }
    assert loaded.Secrets["s"]["username"].get_secret_value() == "u"


def test_secrets_come_from_variables_and_files_whole_or_in_part(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from-file\n")
    (tmp_path / "secret.json").write_text('{"username": "u", "password": "p", "port": 5671}')
    loaded = settings(
        {
            "Secrets": {
                "parts": {"username": {"Env": "NAME"}, "password": {"File": "password"}},
                "file": {"File": "secret.json"},
                "variable": {"Env": "SECRET"},
                "text": '{"username": "t"}',
            }
        },
        folder=tmp_path,
        environment={"NAME": "from-env", "SECRET": '{"username": "v"}'},
    )
    plain = {
        arn: {key: value.get_secret_value() for key, value in secret.items()} for arn, secret in loaded.Secrets.items()
    }
    assert plain == {
        "parts": {"username": "from-env", "password": "from-file"},
        "file": {"username": "u", "password": "p", "port": "5671"},
        "variable": {"username": "v"},
        "text": {"username": "t"},
    }
    assert "from-" not in repr(loaded)


def test_what_is_wrong_is_told_with_the_place_where_it_stands(tmp_path: Path) -> None:
    found = problems(
        {"Prot": 1, "Bind": "", "Endpoints": {"a": ["secret"]}},
        folder=tmp_path,
        file="TimeScale: 0\nLogFormat: xml\nEventSources: {A.B: {ErrorHeaders: kafka}}\n",
        environment={"POLLER_PORT": "90000", "POLLER_SHUTDOWN_GRACES": "3", "AWS_REGION": "moon"},
        options={"LogLevel": "LOUD", "RevocationGrace": "-1"},
    )
    assert sorted(found) == [
        '--log-level: "LOUD" is not DEBUG, INFO, WARNING or ERROR',
        '--revocation-grace: "-1" is below 0',
        'AWS_REGION: "moon" is not a region, such as us-east-1',
        'FOLDER/settings.yaml: EventSources.A.B.ErrorHeaders: "kafka" is not connect, spring or none',
        'FOLDER/settings.yaml: LogFormat: "xml" is not auto, text or json',
        "FOLDER/settings.yaml: TimeScale: 0 is not above 0",
        "Metadata.Poller.Bind: is shorter than 1 character",
        "Metadata.Poller.Endpoints.a: a list is not text",
        "Metadata.Poller.Prot: unknown property (did you mean Port?)",
        'POLLER_PORT: "90000" is above 65535',
        "POLLER_SHUTDOWN_GRACES: unknown setting (did you mean POLLER_SHUTDOWN_GRACE?)",
    ]


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("text", 'Metadata.Poller: "text" is not a mapping'),
        ({"Endpoints": []}, "Metadata.Poller.Endpoints: a list is not a mapping"),
        ({"Secrets": 5}, "Metadata.Poller.Secrets: 5 is not a mapping"),
        ({"TimeScale": True}, "Metadata.Poller.TimeScale: true is not a number"),
        ({"TimeScale": float("inf")}, "Metadata.Poller.TimeScale: Infinity is not a number"),
        ({"ShutdownGrace": "soon"}, 'Metadata.Poller.ShutdownGrace: "soon" is not a number'),
        ({"Workers": 0}, "Metadata.Poller.Workers: 0 is below 1"),
        ({"Workers": "65"}, 'Metadata.Poller.Workers: "65" is above 64'),
        ({"Workers": "many"}, 'Metadata.Poller.Workers: "many" is neither a whole number nor auto'),
        ({"AccountId": 42}, 'Metadata.Poller.AccountId: "42" is not 12 digits in quotes, such as "123456789012"'),
        ({"IdleTimeout": -1}, "Metadata.Poller.IdleTimeout: -1 is below 0"),
        ({"IdleTimeout": 604_801}, "Metadata.Poller.IdleTimeout: 604801 is above 604800"),
        ({"Functions": {"A": 5}}, "Metadata.Poller.Functions.A: 5 is not a mapping"),
        (
            {"Functions": {"A": {"Freeze": "yes"}}},
            'Metadata.Poller.Functions.A.Freeze: "yes" is neither true nor false',
        ),
        (
            {"Functions": {"A": {"ProvisionedConcurrency": -1}}},
            "Metadata.Poller.Functions.A.ProvisionedConcurrency: -1 is below 0",
        ),
        ({"EventSources": {"A.B": 5}}, "Metadata.Poller.EventSources.A.B: 5 is not a mapping"),
        (
            {"EventSources": {"A.B": {"MaximumRetryAttempts": -2}}},
            "Metadata.Poller.EventSources.A.B.MaximumRetryAttempts: -2 is below -1",
        ),
        ({"EventGrouping": "Poller"}, "Metadata.Poller.EventGrouping: unknown property"),
        (
            {"Secrets": {"s": {"password": {"Env": "NOT_SET"}}}},
            "Metadata.Poller.Secrets.s.password: the environment variable NOT_SET is not set",
        ),
        (
            {"Secrets": {"s": {"File": "none"}}},
            "Metadata.Poller.Secrets.s: the file FOLDER/none cannot be read: No such file or directory",
        ),
        (
            {"Secrets": {"s": {"password": ["hidden"]}}},
            "Metadata.Poller.Secrets.s.password: must be text, {Env: VARIABLE}, {File: path} or {SecretsManager: name}",
        ),
        (
            {"Secrets": {"s": "hidden"}},
            (
                "Metadata.Poller.Secrets.s: must be a mapping such as {username: …, password: {Env: VARIABLE}}, "
                "or a JSON object from {Env: …}, {File: …} or {SecretsManager: …}"
            ),
        ),
    ],
)
def test_a_wrong_setting_is_refused(tmp_path: Path, section: Any, expected: str) -> None:
    assert problems(section, folder=tmp_path) == [expected]


def test_a_settings_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    assert problems(folder=tmp_path, file="a: [") == [
        "FOLDER/settings.yaml, line 1, column 5: not valid YAML: expected the node content, but found '<stream end>'"
    ]


def test_variables_of_others_with_our_prefix_are_let_alone() -> None:
    assert settings(environment={"POLLER_SERVICE_HOST": "10.0.0.1", "POLLER_PARAMETER_Prot": "x"}) == Settings()


def test_an_unquoted_account_is_taken_when_no_zero_was_lost() -> None:
    assert settings({"AccountId": 111122223333}).AccountId == "111122223333"


def test_workers_are_one_or_so_many_or_one_for_each_core(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings().Workers == 1
    assert settings(environment={"POLLER_WORKERS": "3"}).Workers == 3
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(6))
    assert settings(options={"Workers": "auto"}).Workers == 6
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(100))
    assert settings(options={"Workers": "auto"}).Workers == 64


def test_names_of_variables_and_options() -> None:
    assert (variable("ShutdownGrace"), option("ShutdownGrace")) == ("POLLER_SHUTDOWN_GRACE", "--shutdown-grace")


def test_every_setting_that_is_a_single_value_has_an_option_and_its_help() -> None:
    assert set(SETTINGS) == set(SCALARS)


def test_a_client_of_kafka_that_is_not_installed_is_refused_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert settings(environment={"POLLER_KAFKA_CLIENT": "confluent-kafka"}).KafkaClient == "confluent-kafka"
    monkeypatch.setattr("poller.settings.find_spec", lambda _: None)
    assert problems(environment={"POLLER_KAFKA_CLIENT": "confluent-kafka"}) == [
        "POLLER_KAFKA_CLIENT: confluent-kafka is not installed (pip install 'poller[fast]')"
    ]
    assert kafka_client("auto") == kafka_client("kafka-python") == "kafka-python"
    monkeypatch.undo()
    assert kafka_client("auto") == "confluent-kafka"
