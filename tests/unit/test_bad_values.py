"""Values on which Python itself stumbles: each becomes a problem with its place, none a traceback. Found by fuzzing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from templates import (
    _transform_in_process,  # noqa: F401 - a fixture
    document,
    problems,
)

from poller import cli, invoke_command
from poller.document import MAXIMUM_DEPTH, MAXIMUM_VALUES, read
from poller.errors import ConfigError
from poller.events import kafka_event, rabbitmq_event
from poller.intrinsics import LONGEST_CHAIN, Resolver
from poller.model import InvocationResult
from poller.secret_values import FORM, SecretReader

TOO_LONG = "x" * 5000
"""Longer than a path can be."""


def refusal(folder: Path, text: str) -> str:
    path = folder / "t.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read(path)
    [problem] = caught.value.problems
    return str(problem).replace(str(path), "FILE")


# --- YAML ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a: !!int x", '"x" is not what it is tagged as'),
        ("a: !!bool x", '"x" is not what it is tagged as'),
        ("a: " + "9" * 5000, "… is not what it is tagged as, or longer than a number can be"),
        ("a: 0b_", '"0b_" is not what it is tagged as'),
        ("a: !!map [1]", "a list is not what it is tagged as"),
        ("a: !!binary aGk=", "could not determine a constructor for the tag 'tag:yaml.org,2002:binary'"),
        ("a: !!set {b}", "could not determine a constructor for the tag 'tag:yaml.org,2002:set'"),
    ],
)
def test_a_value_that_does_not_fit_its_tag_is_told_with_its_line(tmp_path: Path, text: str, shown: str) -> None:
    told = refusal(tmp_path, f"ok: 1\n{text}\n")
    assert told.startswith("FILE, line 2, column 4: not valid YAML: ")
    assert shown in told


def test_a_whole_text_that_is_tagged_as_a_mapping_is_refused(tmp_path: Path) -> None:
    told = refusal(tmp_path, "!!map x")
    assert told == 'FILE, line 1, column 1: not valid YAML: "x" is not what it is tagged as'


def aliases(levels: int, form: str) -> str:
    lines = ["a0: &a0 {x: [1, 2]}"]
    return "\n".join([*lines, *(form.format(this=n, last=n - 1) for n in range(1, levels))])


@pytest.mark.parametrize(
    "text", ["a: " + "[" * 3000, "a: &a [*a]", "a: &a {b: *a}", aliases(80, "a{this}: &a{this} [*a{last}]")]
)
def test_what_is_nested_too_deep_is_refused(tmp_path: Path, text: str) -> None:
    assert refusal(tmp_path, text) == (
        f"FILE: is nested deeper than {MAXIMUM_DEPTH} levels, or holds an alias of what is around it"
    )


def test_a_document_may_be_as_deep_as_is_said(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("a: " + "[" * (MAXIMUM_DEPTH - 1) + "]" * (MAXIMUM_DEPTH - 1))
    assert read(path)
    assert "nested deeper" in refusal(tmp_path, "a: " + "[" * MAXIMUM_DEPTH + "]" * MAXIMUM_DEPTH)


def test_a_few_lines_of_aliases_cannot_stand_for_billions_of_values(tmp_path: Path) -> None:
    text = aliases(40, "a{this}: &a{this} [*a{last}, *a{last}]")
    assert refusal(tmp_path, text) == f"FILE: holds more than {MAXIMUM_VALUES} values, aliases counted"


def test_merging_what_was_merged_does_not_double_a_mapping_each_time(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(aliases(40, "a{this}: &a{this} {{<<: [*a{last}, *a{last}], y: {this}}}"))
    assert read(path)["a39"] == {"x": [1, 2], "y": 39}


# --- templates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [TOO_LONG, "\0", "\ud800"])
def test_a_code_folder_that_is_no_path_is_told(tmp_path: Path, value: str) -> None:
    [told] = problems(tmp_path, document(function={"CodeUri": value}))
    assert told.startswith("Resources.Telemetry.Properties.CodeUri: ")
    assert "is no path (name the folder with the function's code, or a zip archive of it)" in told


def test_a_handler_or_a_dead_letter_file_longer_than_a_path_is_told(tmp_path: Path) -> None:
    handler = document(function={"Handler": f"{TOO_LONG}.handler"})
    assert any("names no module" in told for told in problems(tmp_path, handler))
    extensions = {"Tasks.Queue": {"OnFailure": f"file:{TOO_LONG}", "MaximumRetryAttempts": 1}}
    [told] = problems(tmp_path, document(settings={"EventSources": extensions}))
    assert told == "Metadata.Poller.EventSources.Tasks.Queue.OnFailure: is no path: File name too long"


@pytest.mark.parametrize(("pattern", "why"), [("(", "missing ), unterminated subpattern"), ("a{99999999999}", "large")])
def test_a_pattern_that_is_none_is_told_where_it_stands(tmp_path: Path, pattern: str, why: str) -> None:
    parameters = {"Size": {"Type": "String", "Default": "a", "AllowedPattern": pattern}}
    [told] = problems(tmp_path, document(Parameters=parameters))
    assert told.startswith(f'Parameters.Size.AllowedPattern: "{pattern}" is not a regular expression: ')
    assert why in told


def test_a_setting_with_a_lone_surrogate_is_told(tmp_path: Path) -> None:
    [told] = problems(tmp_path, document(settings={"AccountId": "\ud800"}))
    assert told.startswith('Metadata.Poller.AccountId: "\\ud800" is not 12 digits')


@pytest.mark.parametrize("index", ["²", "٣", "9" * 5000, "-1"])
def test_select_takes_plain_digits_only(index: str) -> None:
    resolver = Resolver({})
    assert resolver.resolve({"Fn::Select": [index, ["a", "b"]]}, "Here") is None
    [told] = resolver.problems
    assert "Select finds no item" in told.reason
    assert len(told.reason) < 200


def test_conditions_that_depend_on_one_another_in_a_long_row_are_refused() -> None:
    chain: dict[str, Any] = {f"C{n}": {"Fn::Not": [{"Condition": f"C{n + 1}"}]} for n in range(1000)}
    resolver = Resolver({}, conditions={**chain, "C1000": {"Fn::Equals": ["a", "a"]}})
    assert not resolver.condition("C0", "Here")
    assert resolver.problems[0].reason == f"more than {LONGEST_CHAIN} conditions depend on one another in a row"
    assert resolver.condition("C998", "Here")


# --- secrets, arguments --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["[" * 100_000, '{"password": ' + "9" * 5000 + "}"])
def test_a_secret_that_cannot_be_read_is_told_and_not_shown(tmp_path: Path, text: str) -> None:
    reader = SecretReader(tmp_path, {"SECRET": text}, str)
    assert reader.read({"Env": "SECRET"}, "Secrets.x") == {}
    [told] = reader.problems
    assert str(told) == f"Secrets.x: {FORM}"


def test_a_secret_s_file_that_is_no_path_is_told(tmp_path: Path) -> None:
    reader = SecretReader(tmp_path, {}, str)
    assert reader.read({"File": "\0"}, "Secrets.x") == {}
    assert "cannot be read: that is no path" in reader.problems[0].reason


def test_problems_are_valid_json_whatever_characters_are_in_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", "--json", "\udcff.yaml"]) == 2
    assert json.loads(capsys.readouterr().out)["problems"][0]["path"] == "\udcff.yaml"


@pytest.mark.parametrize("reply", ["9" * 5000, "[" * 100_000 + "]" * 100_000])
def test_a_reply_that_cannot_be_read_again_is_shown_as_its_text(capsys: pytest.CaptureFixture[str], reply: str) -> None:
    assert invoke_command.show(InvocationResult("r", reply.encode()), as_json=cli._print_json) == 0
    assert json.loads(capsys.readouterr().out)["Payload"] == reply


def test_a_template_s_name_that_is_too_long_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", TOO_LONG]) == 2
    assert "cannot be read: File name too long" in capsys.readouterr().err


def test_an_argument_that_is_not_utf_8_goes_into_the_sample_event_byte_for_byte() -> None:
    record = json.loads(kafka_event(topic="t", values=["\udcff"], key="\udcfe"))["records"]["t-0"][0]
    assert (record["value"], record["key"]) == ("/w==", "/g==")
    [message] = json.loads(rabbitmq_event(queue="q", values=["\udcff"]))["rmqMessagesByQueue"]["q::/"]
    assert message["data"] == "/w=="
