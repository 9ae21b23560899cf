"""Event filtering, one row per case of C.5."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from poller.policy.filtering import MAXIMUM_PATTERN_DEPTH, InvalidFilterPattern, compile_filters

each_source = pytest.mark.parametrize("data_key", ["value", "data"], ids=["Kafka", "MQ"])


def passes(data_pattern: Any, data: bytes | str | None, data_key: str = "value") -> bool:
    """Whether a record passes one filter on its data: Kafka's value, or the body of an MQ message."""
    pattern = json.dumps({data_key: data_pattern})
    return compile_filters([pattern], data_key).matches(data.encode() if isinstance(data, str) else data)


def field_passes(items: list[Any], data: str) -> bool:
    """Whether `{"f": <data>}` passes the items at field f."""
    return passes({"f": items}, f'{{"f": {data}}}')


# C.5, table of operators: items at field f, the JSON of f, whether it matches.
OPERATORS: list[tuple[list[Any], str, bool]] = [
    (["a", "b"], '"b"', True),
    (["a", "b"], '"A"', False),
    (["a", "b"], '"c"', False),
    ([300], "300", True),
    ([300], "300.0", False),  # numbers by their text
    ([300], '"300"', False),
    (["300"], "300", False),
    ([1], "true", False),
    ([True], "1", False),
    ([True], "true", True),
    ([False], "0", False),
    ([None], "null", True),
    ([None], '""', False),
    ([None], '"null"', False),
    ([""], '""', True),
    ([""], "null", False),
    ([{"equals-ignore-case": "ab"}], '"AB"', True),
    ([{"equals-ignore-case": "ÄB"}], '"äb"', True),
    ([{"equals-ignore-case": "ab"}], '"abc"', False),
    ([{"equals-ignore-case": "ab"}], "1", False),
    ([{"prefix": "a"}], '"ab"', True),
    ([{"prefix": "a"}], '"ba"', False),
    ([{"prefix": "1"}], "12", False),  # strings only
    ([{"suffix": ".png"}], '"x.png"', True),
    ([{"suffix": ".png"}], '"x.PNG"', False),
    ([{"suffix": "2"}], "12", False),
    ([{"anything-but": ["a", "b"]}], '"c"', True),
    ([{"anything-but": ["a", "b"]}], '"a"', False),
    ([{"anything-but": ["a", "b"]}], "1", True),
    ([{"anything-but": ["a", "b"]}], "null", True),
    ([{"anything-but": [1, 2]}], "3", True),
    ([{"anything-but": [1, 2]}], "2", False),
    ([{"anything-but": [1, 2]}], "2.0", True),
    ([{"anything-but": [1, 2]}], '"2"', True),
    ([{"numeric": [">", 0, "<=", 5]}], "5", True),
    ([{"numeric": [">", 0, "<=", 5]}], "0", False),
    ([{"numeric": [">", 0, "<=", 5]}], "5.01", False),
    ([{"numeric": [">=", 0, "<", 5]}], "0", True),
    ([{"numeric": [">=", 0, "<", 5]}], "5", False),
    ([{"numeric": ["=", 300]}], "300.0", True),  # by value
    ([{"numeric": ["=", 300]}], "3e2", True),
    ([{"numeric": ["=", 300]}], '"300"', False),
    ([{"numeric": ["=", 0.1]}], "0.10", True),
    ([{"numeric": [">", -1.5]}], "-1.4999999999999999999999", True),
    ([{"numeric": ["<", 10]}], "9", True),
    ([{"numeric": ["<=", 10]}], "10", True),
    ([{"numeric": [">=", 10]}], "10", True),
    ([{"numeric": [">", 10]}], "true", False),
    ([{"numeric": [">", 10]}], "null", False),
    ([{"numeric": [">", 10]}], "1e99", True),
    ([{"numeric": [">", 10]}], "1e99999999999999999999", False),  # past what can be held: nothing is claimed of it
    ([{"exists": True}], "1", True),
    ([{"exists": True}], "null", True),
    ([{"exists": False}], "1", False),
    ([{"exists": True}], "[]", False),
    ([{"exists": False}], "[]", True),
    ([{"exists": True}], '{"g": 1}', False),  # leaf nodes only
    ([{"exists": False}], '{"g": 1}', True),
    ([{"exists": True}], '[{"g": 1}]', False),
    (["a"], '{"g": 1}', False),
    (["a", {"prefix": "b"}, {"numeric": ["=", 1]}], '"bc"', True),  # any item
    (["a", {"prefix": "b"}, {"numeric": ["=", 1]}], "1.0", True),
    (["a", {"prefix": "b"}, {"numeric": ["=", 1]}], '"c"', False),
    (["a"], '["b", "a"]', True),  # any element
    (["a"], '["b", ["c", ["a"]]]', True),
    (["a"], '["b", {"f": "a"}]', False),
    ([{"anything-but": ["a"]}], '["a", "b"]', True),
    ([{"anything-but": ["a"]}], '["a", "a"]', False),
]

# EventBridge's published superset.
SUPERSET: list[tuple[list[Any], str, bool]] = [
    ([{"anything-but": "a"}], '"b"', True),
    ([{"anything-but": "a"}], '"a"', False),
    ([{"anything-but": 1}], "2", True),
    ([{"anything-but": 1}], "1", False),
    ([{"anything-but": {"prefix": "a"}}], '"ab"', False),
    ([{"anything-but": {"prefix": "a"}}], '"ba"', True),
    ([{"anything-but": {"prefix": ["a", "b"]}}], '"ba"', False),
    ([{"anything-but": {"prefix": "a"}}], "7", True),
    ([{"anything-but": {"suffix": ".png"}}], '"x.png"', False),
    ([{"anything-but": {"suffix": ".png"}}], '"x.jpg"', True),
    ([{"anything-but": {"equals-ignore-case": ["a", "b"]}}], '"B"', False),
    ([{"anything-but": {"equals-ignore-case": "a"}}], '"c"', True),
    ([{"anything-but": {"wildcard": "*/lib/*"}}], '"/a/lib/b"', False),
    ([{"anything-but": {"wildcard": "*/lib/*"}}], '"/a/bin/b"', True),
    ([{"prefix": {"equals-ignore-case": "EventB"}}], '"eventbridge"', True),
    ([{"prefix": {"equals-ignore-case": "EventB"}}], '"event"', False),
    ([{"suffix": {"equals-ignore-case": ".png"}}], '"x.PNG"', True),
    ([{"suffix": {"equals-ignore-case": ".png"}}], "1", False),
    ([{"wildcard": "*"}], '""', True),
    ([{"wildcard": "a*"}], '"abc"', True),
    ([{"wildcard": "a*"}], '"bc"', False),
    ([{"wildcard": "*c"}], '"abc"', True),
    ([{"wildcard": "*c"}], '"cb"', False),
    ([{"wildcard": "a*a"}], '"a"', False),  # the two ends do not overlap
    ([{"wildcard": "a*a"}], '"aa"', True),
    ([{"wildcard": "dir/*/x*.png"}], '"dir/a/b/x1.png"', True),
    ([{"wildcard": "dir/*/x*.png"}], '"dir/a/y1.png"', False),
    ([{"wildcard": "abc"}], '"abc"', True),
    ([{"wildcard": "abc"}], '"abcd"', False),
    ([{"wildcard": "a\\*b*"}], '"a*bc"', True),
    ([{"wildcard": "a\\*b*"}], '"axbc"', False),
    ([{"wildcard": "a\\\\*"}], '"a\\\\b"', True),
    ([{"wildcard": "1*"}], "12", False),
    ([{"cidr": "10.0.0.0/24"}], '"10.0.0.255"', True),
    ([{"cidr": "10.0.0.0/24"}], '"10.0.1.0"', False),
    ([{"cidr": "10.0.0.7/24"}], '"10.0.0.1"', True),
    ([{"cidr": "10.0.0.0/24"}], '"::1"', False),
    ([{"cidr": "2001:db8::/32"}], '"2001:db8::1"', True),
    ([{"cidr": "10.0.0.0/8"}], '"not an address"', False),
    ([{"cidr": "10.0.0.0/8"}], "167772160", False),
]


@pytest.mark.parametrize(("items", "data", "matches"), OPERATORS + SUPERSET)
def test_an_operator_matches_as_its_row_says(items: list[Any], data: str, matches: bool) -> None:
    assert field_passes(items, data) is matches


# C.5: structure. Pattern for the value, data, whether it matches.
STRUCTURES: list[tuple[Any, str, bool]] = [
    ({"a": [1], "b": [2]}, '{"a": 1, "b": 2}', True),  # and
    ({"a": [1], "b": [2]}, '{"a": 1, "b": 3}', False),
    ({"a": [1]}, "{}", False),
    ({"a": [{"exists": False}]}, "{}", True),
    ({"a": [{"anything-but": ["x"]}]}, "{}", False),  # present and none of them
    ({"a": {"b": ["x"]}}, '{"a": {"b": "x"}}', True),
    ({"a": {"b": ["x"]}}, '{"a": "x"}', False),
    ({"a": {"b": ["x"]}}, "{}", False),
    ({"a": {"b": [{"exists": False}]}}, "{}", True),
    ({"a": {"b": [{"exists": False}]}}, '{"a": 5}', True),
    ({"a": {"b": [{"exists": False}]}}, '{"a": {"b": 5}}', False),
    ({"a": {"b": ["x"]}}, '{"a": [{"b": "y"}, {"b": "x"}]}', True),
    ({"a": {"b": ["x"], "c": ["y"]}}, '{"a": [{"b": "x"}, {"c": "y"}]}', False),  # within one element
    ({"a": {"b": ["x"], "c": ["y"]}}, '{"a": [{"b": "x", "c": "y"}]}', True),
    ({"a": {"b": ["x"]}}, '{"a": [1, []]}', False),
    ({"$or": [{"a": [1]}, {"b": [2]}]}, '{"b": 2}', True),
    ({"$or": [{"a": [1]}, {"b": [2]}]}, '{"b": 1}', False),
    ({"c": [3], "$or": [{"a": [1]}, {"b": [2]}]}, '{"a": 1}', False),
    ({"c": [3], "$or": [{"a": [1]}, {"b": [2]}]}, '{"a": 1, "c": 3}', True),
    ({"$or": [{"a": [1]}, {"b": [2], "$or": [{"c": [3]}, {"d": [4]}]}]}, '{"b": 2, "d": 4}', True),
    ({"$or": [{"a": [1]}, {"b": [2], "$or": [{"c": [3]}, {"d": [4]}]}]}, '{"b": 2, "d": 5}', False),
    ({"n": {"$or": [{"a": [1]}, {"b": [2]}]}}, '{"n": {"b": 2}}', True),
    ({"n": {"$or": [{"a": [1]}, {"b": {"c": [2]}}]}}, '{"n": {"b": {"c": 2}}}', True),
    ({"a": [1]}, '  \n{"a": 1}\r\n', True),
    ({"a": [1]}, '{"a": 2, "a": 1}', True),  # of a repeated key the last one counts, as in most readers
]


@pytest.mark.parametrize(("pattern", "data", "matches"), STRUCTURES)
def test_fields_are_anded_and_branches_ored(pattern: Any, data: str, matches: bool) -> None:
    assert passes(pattern, data) is matches


# C.5, table of formats, the column for Kafka and MQ; G 34. The last rows are decided here, see _data_matches.
JSON_PATTERN = {"a": [1]}
FORMATS: list[tuple[str, Any, bytes | None, bool]] = [
    ("JSON object against a JSON pattern is evaluated", JSON_PATTERN, b'{"a": 1}', True),
    ("JSON object against a JSON pattern is evaluated", JSON_PATTERN, b'{"a": 2}', False),
    ("JSON array of objects, as any element", JSON_PATTERN, b'[{"a": 2}, {"a": 1}]', True),
    ("JSON array of objects, as any element", JSON_PATTERN, b'[{"a": 2}]', False),
    ("plain string against plain strings is evaluated", ["abc"], b"abc", True),
    ("plain string against plain strings is evaluated", ["abc"], b"abd", False),
    ("plain string against an operator is evaluated", [{"prefix": "a"}], b"abc", True),
    ("plain string against an operator is evaluated", [{"anything-but": ["error"]}], b"error", False),
    ("plain string against a JSON pattern passes", JSON_PATTERN, b"plain text", True),
    ("JSON object against plain strings passes", ["abc"], b'{"a": 1}', True),
    ("JSON array against plain strings passes", ["abc"], b'["x"]', True),
    ("not UTF-8 passes a JSON pattern", JSON_PATTERN, b"\xff\xfe", True),
    ("not UTF-8 passes plain strings", ["abc"], b"\xff\xfe", True),
    ("half a JSON object is plain text", JSON_PATTERN, b'{"a": 1', True),
    ("half a JSON object is plain text", ['{"a": 1'], b'{"a": 1', True),
    ("NaN is not JSON", JSON_PATTERN, b'{"a": NaN}', True),
    ("a bare number is plain text", ["300"], b"300", True),
    ("a bare number is plain text", [300], b"300", False),
    ("a bare JSON string is plain text, quotes included", ["abc"], b'"abc"', False),
    ("no bytes are the empty string", [""], b"", True),
    ("no bytes are the empty string", JSON_PATTERN, b"", True),
    ("a tombstone is null", [None], None, True),
    ("a tombstone is an absent value", [{"exists": False}], None, True),
    ("a tombstone is no value", [{"exists": True}], None, False),
    ("a tombstone is no value", ["abc", {"anything-but": ["x"]}], None, False),
    ("a tombstone has no fields to read", JSON_PATTERN, None, True),
    ("JSON too deep to read passes", JSON_PATTERN, b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", True),
]


@pytest.mark.statement(34)
@each_source
@pytest.mark.parametrize(("why", "pattern", "data", "matches"), FORMATS)
def test_where_pattern_and_data_differ_in_format_the_record_passes(
    why: str, pattern: Any, data: bytes | None, matches: bool, data_key: str
) -> None:
    """C.5, table of formats; G 34."""
    assert passes(pattern, data, data_key) is matches, why


def test_several_filters_are_ored() -> None:  # C.5
    filters = compile_filters(['{"value":{"a":[1]}}', '{"value":{"b":[2]}}'], "value")
    assert filters.matches(b'{"a":1}')
    assert filters.matches(b'{"b":2}')
    assert not filters.matches(b'{"a":2,"b":1}')


def test_without_filters_every_record_passes() -> None:
    filters = compile_filters([], "value")
    assert not filters
    assert filters.matches(b"anything")
    assert filters.matches(None)
    assert compile_filters(['{"value":["a"]}'], "value")


def test_rabbitmq_messages_are_filtered_by_data() -> None:  # C.5
    filters = compile_filters(['{"data":{"kind":["invoice"]}}'], "data")
    assert filters.matches(b'{"kind":"invoice"}')
    assert not filters.matches(b'{"kind":"resize"}')


def test_or_may_stand_above_the_data_key() -> None:
    filters = compile_filters(['{"$or":[{"value":{"a":[1]}},{"value":{"b":[2]}}]}'], "value")
    assert filters.matches(b'{"b":2}')
    assert not filters.matches(b'{"b":3}')


# C.5, refused, and G 33. Pattern's text, what the detail says.
REFUSED: list[tuple[str, str]] = [
    ('{"eventSource":"aws:kafka"}', "eventSource: only `value` can be matched"),  # what the service itself adds
    ('{"awsRegion":["us-east-1"]}', "awsRegion: only `value` can be matched"),
    ('{"headers":[{"exists":true}]}', "headers: only `value` can be matched"),
    ("null", "must be a JSON object"),
    ('"simple string"', "must be a JSON object"),
    ("[]", "must be a JSON object"),
    ("not json", "not valid JSON"),
    ("", "not valid JSON"),
    ('{"value":[NaN]}', "NaN is not JSON"),
    ('{"value":["a"],"value":["b"]}', "a key stands twice"),
    ("{}", "the pattern is an empty object"),
    ('{"value":{}}', "value is an empty object"),
    ('{"value":"abc"}', 'value: must be an array of values, such as ["abc"], or an object'),
    ('{"value":{"a":3.50}}', "value.a: must be an array of values, such as [3.50], or an object"),
    ('{"value":null}', "such as [null]"),
    ('{"value":[]}', "value: the array is empty"),
    ('{"value":{"a":[["b"]]}}', "value.a: an array cannot be a value"),
    ('{"key":["a"]}', "key: only `value` can be matched for this source"),
    ('{"value":["a"],"topic":["t"]}', "topic: only `value`"),
    ('{"$or":[{"value":["a"]},{"key":["b"]}]}', "key: only `value`"),
    ('{"value":{"$or":{"a":[1]}}}', "value.$or: must be an array of at least two objects"),
    ('{"value":{"$or":[{"a":[1]}]}}', "at least two objects"),
    ('{"value":{"$or":[{"a":[1]},1]}}', "at least two objects"),
    ('{"value":{"$or":[{"a":[1]},{"prefix":["x"]}]}}', "value.prefix: the name of an operator"),
    ('{"value":{"$or":[{"a":[1]},{"b":{"numeric":["x"]}}]}}', "value.b.numeric: the name of an operator"),
    ('{"value":[{"regex":"a"}]}', "value: `regex` is no operator; there are anything-but, cidr"),
    ('{"value":[{}]}', "exactly one key"),
    ('{"value":[{"prefix":"a","suffix":"b"}]}', "exactly one key"),
    ('{"value":[{"exists":"true"}]}', "exists must be true or false"),
    ('{"value":[{"prefix":1}]}', "value: prefix: must be a string"),
    ('{"value":[{"prefix":{"equals-ignore-case":1}}]}', "must be a string"),
    ('{"value":[{"suffix":{"prefix":"a"}}]}', "value: suffix: `prefix` cannot stand here"),
    ('{"value":[{"suffix":{}}]}', "exactly one key"),
    ('{"value":[{"suffix":null}]}', "must be a string"),
    ('{"value":[{"equals-ignore-case":["a"]}]}', "must be a string"),
    ('{"value":[{"wildcard":"a**b"}]}', "two wildcards in a row"),
    ('{"value":[{"wildcard":"a\\\\b"}]}', "a backslash may only stand before"),
    ('{"value":[{"wildcard":"a\\\\"}]}', "a backslash may only stand before"),
    ('{"value":[{"wildcard":5}]}', "must be a string"),
    ('{"value":[{"anything-but":[]}]}', "strings only or numbers only"),
    ('{"value":[{"anything-but":["a",1]}]}', "strings only or numbers only"),
    ('{"value":[{"anything-but":[null]}]}', "strings only or numbers only"),
    ('{"value":[{"anything-but":true}]}', "strings only or numbers only"),
    ('{"value":[{"anything-but":[{"wildcard":"*"}]}]}', "strings only or numbers only"),
    ('{"value":[{"anything-but":{"numeric":["=",1]}}]}', "`numeric` cannot stand here; equals-ignore-case, prefix"),
    ('{"value":[{"anything-but":{"prefix":""}}]}', "prefix must be a string"),
    ('{"value":[{"anything-but":{"prefix":[]}}]}', "prefix must be a string"),
    ('{"value":[{"anything-but":{"prefix":null}}]}', "prefix must be a string"),
    ('{"value":[{"anything-but":{"prefix":["a",1]}}]}', "anything-but: prefix: must be a string"),
    ('{"value":[{"numeric":5}]}', "must be one of = > >= < <= and a number"),
    ('{"value":[{"numeric":[]}]}', "must be one of"),
    ('{"value":[{"numeric":[">"]}]}', "must be one of"),
    ('{"value":[{"numeric":["!=",5]}]}', "must be one of"),
    ('{"value":[{"numeric":[">>",5]}]}', "must be one of"),
    ('{"value":[{"numeric":[">","5"]}]}', "must be one of"),
    ('{"value":[{"numeric":[1,5]}]}', "must be one of"),
    ('{"value":[{"numeric":["=",5,"<",6]}]}', "must be one of"),
    ('{"value":[{"numeric":["<",5,">",1]}]}', "must be one of"),
    ('{"value":[{"numeric":[">",0,"<"]}]}', "must be one of"),
    ('{"value":[{"numeric":[">",0,"<",5,"<",6]}]}', "must be one of"),
    ('{"value":[{"numeric":[">",5,"<",5]}]}', "the lower bound is not below the upper one"),
    ('{"value":[{"numeric":["=",1e99999999999999999999]}]}', "must be one of"),
    ('{"value":[{"cidr":"10.0.0.0"}]}', "an address block such as"),
    ('{"value":[{"cidr":"10.0.0.0/33"}]}', "an address block such as"),
    ('{"value":[{"cidr":"10.0.0.0/255.0.0.0"}]}', "an address block such as"),
    ('{"value":[{"cidr":1}]}', "must be a string"),
    ('{"value":["' + "a" * 4096 + '"]}', "4096 is the limit"),
    ('{"value":' + '{"a":' * 400 + "[1]" + "}" * 401, f"deeper than {MAXIMUM_PATTERN_DEPTH} levels"),
    ("[" * 4000, "not valid JSON"),
]


@pytest.mark.statement(33)
@each_source
@pytest.mark.parametrize(("pattern", "detail"), REFUSED)
def test_a_wrong_pattern_is_refused_with_the_text_of_aws_and_says_why(pattern: str, detail: str, data_key: str) -> None:
    """C.3, C.5; G 33."""
    with pytest.raises(InvalidFilterPattern) as refusal:
        compile_filters([f'{{"{data_key}":["fine"]}}', pattern.replace('"value"', f'"{data_key}"')], data_key)
    assert str(refusal.value) == "Invalid filter pattern definition."
    detail = (
        detail.replace("value:", f"{data_key}:").replace("value.", f"{data_key}.").replace("`value`", f"`{data_key}`")
    )
    assert detail.replace("value is", f"{data_key} is") in refusal.value.detail


def test_a_pattern_may_have_4096_characters() -> None:  # C.1
    text = "a" * (4096 - len('{"value":[""]}'))
    assert compile_filters([f'{{"value":["{text}"]}}'], "value").matches(text.encode())


def test_a_pattern_may_be_nested_up_to_the_limit() -> None:
    levels = MAXIMUM_PATTERN_DEPTH - 1
    pattern = '{"value":' + '{"a":' * levels + "[1]" + "}" * (levels + 1)
    assert compile_filters([pattern], "value").matches(b'{"a":' * levels + b"1" + b"}" * levels)


def test_a_wildcard_is_quick_on_text_made_to_be_slow() -> None:
    pattern = "*a" * 200 + "*b"
    assert not field_passes([{"wildcard": pattern}], json.dumps("a" * 20_000))


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "f", "$or"]), below),
    max_leaves=12,
)
OPERATOR = st.one_of(
    st.builds(lambda name, argument: {name: argument}, st.sampled_from(["prefix", "suffix"]), ANY_JSON),
    st.builds(lambda argument: {"anything-but": argument}, ANY_JSON),
    st.builds(lambda argument: {"numeric": argument}, st.lists(st.sampled_from(["<", ">", "=", 1, 2.5]))),
    st.sampled_from([{"exists": True}, {"exists": False}, {"cidr": "10.0.0.0/8"}, {"wildcard": "a*b"}]),
)
PATTERN = st.recursive(
    st.lists(OPERATOR | ANY_JSON, max_size=4),
    lambda below: (
        st.dictionaries(st.sampled_from(["a", "b", "f"]), below, max_size=3)
        | st.builds(lambda branches: {"$or": branches}, st.lists(below, max_size=3))
    ),
    max_leaves=8,
)


@given(PATTERN, st.none() | st.binary(max_size=20) | ANY_JSON.map(lambda data: json.dumps(data).encode()))
@example({"f": [{"numeric": ["=", 1]}]}, b'{"f": 1e999999999999999999999}')
@example({"f": {"f": [1]}}, b'{"f": ' + b"[" * 900 + b"]" * 900 + b"}")
def test_a_pattern_that_was_taken_never_fails_on_any_data(pattern: Any, data: bytes | None) -> None:
    try:
        filters = compile_filters([json.dumps({"value": pattern})], "value")
    except InvalidFilterPattern:
        return
    assert filters.matches(data) in (True, False)


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=3) | st.integers() | st.none(), min_size=1))
def test_a_record_matches_the_pattern_made_of_its_own_values(data: dict[str, Any]) -> None:
    data = {name: value for name, value in data.items() if name != "$or"} or {"a": 1}
    assert passes({name: [value] for name, value in data.items()}, json.dumps(data))
    assert not passes({name: [{"exists": False}] for name in data}, json.dumps(data))


@given(st.lists(st.sampled_from(["a", "b", "*"])).map("".join), st.text("ab", max_size=8))
def test_a_wildcard_means_what_the_same_regular_expression_means(pattern: str, text: str) -> None:
    import re

    while "**" in pattern:
        pattern = pattern.replace("**", "*")
    expected = re.fullmatch(pattern.replace("*", ".*"), text) is not None
    assert field_passes([{"wildcard": pattern}], json.dumps(text)) is expected
