"""CloudFormation's intrinsic functions, conditions and parameters, as far as they can be worked out locally."""

from __future__ import annotations

from typing import Any

import pytest

from poller.intrinsics import UNKNOWN, Resolver
from poller.parameters import parameter_values

REFERENCES = {
    "AWS::Region": "eu-west-1",
    "Servers": ["a:1", "b:2"],
    "Size": 10,
    "Debug": True,
    "Secret": UNKNOWN,
    "Telemetry": "telemetry",
}
CONDITIONS = {
    "Europe": {"Fn::Equals": [{"Ref": "AWS::Region"}, "eu-west-1"]},
    "Asia": {"Fn::Not": [{"Condition": "Europe"}]},
    "Both": {"Fn::And": [{"Condition": "Europe"}, {"Condition": "Asia"}]},
    "Either": {"Fn::Or": [{"Condition": "Europe"}, {"Condition": "Asia"}]},
    "TrueText": {"Fn::Equals": [True, "true"]},
    "Circle": {"Fn::Not": [{"Condition": "Circle"}]},
    "Odd": {"Fn::Xor": [1, 2]},
}


def resolver() -> Resolver:
    mappings = {"Sizes": {"eu-west-1": {"small": 1}}}
    return Resolver(REFERENCES, {"Telemetry.Arn": "arn:telemetry"}, mappings, CONDITIONS)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ({"a": [{"Ref": "Size"}]}, {"a": [10]}),
        ({"Ref": "Servers"}, ["a:1", "b:2"]),
        ({"Fn::GetAtt": ["Telemetry", "Arn"]}, "arn:telemetry"),
        ({"Fn::GetAtt": "Telemetry.Arn"}, "arn:telemetry"),
        (
            {"Fn::Sub": "${AWS::Region}/${Size}/${Debug}/${Telemetry.Arn}/${!Literal}"},
            "eu-west-1/10/true/arn:telemetry/${Literal}",
        ),
        ({"Fn::Sub": ["${x}-${Telemetry}", {"x": {"Ref": "Size"}}]}, "10-telemetry"),
        ({"Fn::Join": [",", {"Ref": "Servers"}]}, "a:1,b:2"),
        ({"Fn::Select": [1, {"Ref": "Servers"}]}, "b:2"),
        ({"Fn::Select": ["0", {"Fn::Split": ["|", "x|y"]}]}, "x"),
        ({"Fn::FindInMap": ["Sizes", {"Ref": "AWS::Region"}, "small"]}, 1),
        ({"Fn::If": ["Europe", {"Ref": "Size"}, {"Ref": "Nothing"}]}, 10),
        ({"Fn::If": ["Asia", 1, 2]}, 2),
        ({"a": {"Ref": "AWS::NoValue"}, "b": [1, {"Ref": "AWS::NoValue"}]}, {"b": [1]}),
        ({"a": {"Fn::If": ["Both", 1, {"Ref": "AWS::NoValue"}]}}, {}),
    ],
)
def test_a_function_gives_its_value(value: Any, expected: Any) -> None:
    working = resolver()
    assert working.resolve(value, "X") == expected
    assert working.problems == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            {"Ref": "Sze"},
            'X: Ref names "Sze", which is no parameter, pseudo parameter or resource of this template (did you mean Size?)',
        ),
        (
            {"Ref": ["Size"]},
            "X: Ref names a list, which is no parameter, pseudo parameter or resource of this template",
        ),
        (
            {"Fn::GetAtt": "Telemetry.Anr"},
            'X: GetAtt names "Telemetry.Anr", which is not known here (did you mean Telemetry.Arn?)',
        ),
        ({"Fn::GetAtt": "Telemetry"}, "X: GetAtt needs a list of 2 items"),
        (
            {"Fn::Sub": "${Nothing}"},
            'X: Ref names "Nothing", which is no parameter, pseudo parameter or resource of this template',
        ),
        ({"Fn::Sub": "${Servers}"}, "X: Sub cannot put a list into a text"),
        ({"Fn::Sub": 5}, "X: Sub needs a text, or a list of a text and a mapping"),
        ({"Fn::Sub": ["x"]}, "X: Sub needs a list of 2 items"),
        ({"Fn::Join": [",", "abc"]}, "X: Join needs a list of texts"),
        ({"Fn::Join": [",", [{}]]}, "X: Join cannot put a mapping into a text"),
        ({"Fn::Select": [2, ["a"]]}, "X: Select finds no item 2 in a list of 1"),
        ({"Fn::Select": [0, "abc"]}, "X: Select needs a list to select from"),
        ({"Fn::Split": ["", "a"]}, "X: Split needs a delimiter and a text"),
        (
            {"Fn::FindInMap": ["Sizes", "eu-west-1", "smal"]},
            'X: FindInMap finds no "smal" in Mappings (did you mean small?)',
        ),
        ({"Fn::If": ["Europ", 1, 2]}, 'X: "Europ" is no condition of this template (did you mean Europe?)'),
        ({"Fn::If": ["Circle", 1, 2]}, "X: the condition Circle depends on itself"),
        (
            {"Fn::If": ["Odd", 1, 2]},
            "X: the condition Odd cannot be worked out (supported: Equals, And, Or, Not, Condition)",
        ),
        (
            {"Fn::ImportValue": "x"},
            "X: the function ImportValue is not supported (supported: Ref, GetAtt, Sub, Join, Select, Split, FindInMap, If)",
        ),
        (
            {"a": [0, {"b": {"Ref": "Sze"}}]},
            'X.a[1].b: Ref names "Sze", which is no parameter, pseudo parameter or resource of this template (did you mean Size?)',
        ),
        ({"a": None}, "X.a: has no value (leave it out, or give it one)"),
    ],
)
def test_a_function_that_cannot_be_worked_out_is_one_problem_with_its_path(value: Any, expected: str) -> None:
    working = resolver()
    working.resolve(value, "X")
    assert [str(problem) for problem in working.problems] == [expected]
    assert working.failures == 1


@pytest.mark.parametrize(
    "value",
    [
        {"Ref": "Secret"},
        {"Fn::Sub": "${Secret}"},
        {"Fn::Sub": ["${x}", {"x": {"Ref": "Secret"}}]},
        {"Fn::Join": ["", [{"Ref": "Secret"}]]},
    ],
)
def test_what_was_reported_already_is_not_reported_again(value: Any) -> None:
    working = resolver()
    assert working.resolve(value, "X") is None
    assert working.problems == []
    assert working.failures > 0


@pytest.mark.parametrize(
    ("name", "holds"), [("Europe", True), ("Asia", False), ("Both", False), ("Either", True), ("TrueText", True)]
)
def test_conditions_hold_or_not(name: str, holds: bool) -> None:
    assert resolver().condition(name, "X") is holds


# --- parameters ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "text", "expected"),
    [
        ({"Type": "String"}, "10", "10"),
        ({"Type": "Number"}, "10", 10),
        ({"Type": "Number"}, "1.5", 1.5),
        ({"Type": "CommaDelimitedList"}, "a:1, b:2", ["a:1", "b:2"]),
        ({"Type": "List<Number>"}, "1,2", [1, 2]),
        (
            {"Type": "String", "AllowedValues": ["a", "b"], "AllowedPattern": "[a-z]", "MinLength": 1, "MaxLength": 1},
            "a",
            "a",
        ),
        ({"Type": "Number", "MinValue": 1, "MaxValue": 3}, "3", 3),
    ],
)
def test_a_parameter_gives_a_value_of_its_type(declared: dict[str, Any], text: str, expected: Any) -> None:
    assert parameter_values({"P": {**declared, "Default": text}}, {}, {}) == ({"P": expected}, [])


def test_an_option_wins_over_the_environment_and_that_over_the_default() -> None:
    section = {name: {"Type": "String", "Default": "default"} for name in ("A", "B", "C")}
    environment = {"POLLER_PARAMETER_A": "environment", "POLLER_PARAMETER_B": "environment"}
    values, problems = parameter_values(section, {"A": "option"}, environment)
    assert values == {"A": "option", "B": "environment", "C": "default"}
    assert problems == []


@pytest.mark.parametrize(
    ("declared", "text", "expected"),
    [
        ({"Type": "Number"}, "ten", '--parameter P: "ten" is not a number'),
        ({"Type": "String", "AllowedValues": ["a", "b"]}, "c", '--parameter P: "c" is not one of a, b'),
        (
            {"Type": "String", "AllowedPattern": "[0-9]+", "ConstraintDescription": "digits only"},
            "x",
            '--parameter P: "x" does not match [0-9]+: digits only',
        ),
        (
            {"Type": "String", "MaxLength": 2},
            "abc",
            '--parameter P: "abc" has 3 characters, which is too short or too long',
        ),
        ({"Type": "Number", "MinValue": 1}, "0", '--parameter P: "0" is below 1'),
        ({"Type": "Number", "MaxValue": 1}, "2", '--parameter P: "2" is above 1'),
        ({"Type": "CommaDelimitedList", "AllowedValues": ["a"]}, "a,b", '--parameter P: "b" is not one of a'),
        (
            {"Type": "String", "NoEcho": True, "AllowedPattern": "x"},
            "hidden",
            "--parameter P: the value does not match x",
        ),
        (
            {"Type": "AWS::SSM::Parameter::Value<String>"},
            "x",
            "Parameters.P.Type: AWS::SSM::Parameter::Value<String> is not supported (supported: String, Number, CommaDelimitedList, List<Number>)",
        ),
        ({"Typ": "String", "Type": "String"}, "x", "Parameters.P.Typ: unknown property (did you mean Type?)"),
        ({}, "x", "Parameters.P.Type: is missing"),
        (5, "x", "Parameters.P: 5 is not a mapping"),
    ],
)
def test_a_wrong_parameter_is_refused(declared: Any, text: str, expected: str) -> None:
    values, problems = parameter_values({"P": declared}, {"P": text}, {})
    assert [str(problem) for problem in problems] == [expected]
    assert values == {"P": UNKNOWN}


def test_a_value_for_no_parameter_is_refused() -> None:
    section = {"Servers": {"Type": "String", "Default": ""}}
    _, problems = parameter_values(section, {"Server": "x"}, {"POLLER_PARAMETER_Srvers": "x"})
    assert [str(problem) for problem in problems] == [
        "--parameter Server: the template has no such parameter (did you mean Servers?)",
        "POLLER_PARAMETER_Srvers: the template has no such parameter (did you mean Servers?)",
    ]


def test_parameters_that_are_no_mapping() -> None:
    assert [str(problem) for problem in parameter_values([], {}, {})[1]] == ["Parameters: a list is not a mapping"]
    assert parameter_values(None, {}, {}) == ({}, [])
