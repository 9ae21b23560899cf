"""FilterCriteria: any text is a pattern or a refusal with a reason, and what was taken never fails on any data."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from fuzz.odd import any_json, any_text, depths, nested, no_hang, scalars, tree
from fuzz.tally import tried
from poller.policy.filter_operators import OPERATORS
from poller.policy.filtering import InvalidFilterPattern, compile_filters

VALID = [
    '{"value": {"battery": [{"numeric": ["<", 20]}]}}',
    '{"value": {"$or": [{"a": ["x"]}, {"b": [{"anything-but": {"prefix": ["x", "y"]}}]}]}}',
    '{"value": {"ip": [{"cidr": "10.0.0.0/24"}], "f": [{"exists": false}], "n": [null, 1.0, true]}}',
    '{"value": [{"wildcard": "a*b\\\\*"}, {"suffix": {"equals-ignore-case": "X"}}]}',
]
arguments = st.one_of(
    any_json,
    st.lists(st.sampled_from(["<", "<=", "=", ">", ">=", 0, 1.5, -1, 1e300, "1"]), max_size=5),
    st.sampled_from(
        ["10.0.0.0/8", "::/0", "10.0.0.0/٣", "fe80::%1/64", "1/1/1", "/", "*", "\\", "\\*", "**", "a" * 500]
    ),
    st.dictionaries(st.sampled_from([*OPERATORS, "x"]), scalars | st.lists(scalars, max_size=3), max_size=2),
)
operators = st.builds(lambda name, argument: {name: argument}, st.sampled_from([*OPERATORS, "regex"]), arguments)
names = st.sampled_from(["value", "a", "b", "$or", "$and", "prefix"]) | any_text
patterns = st.recursive(
    st.lists(operators | scalars, max_size=4),
    lambda below: st.dictionaries(names, below, max_size=3) | st.lists(below, max_size=3),
    max_leaves=10,
)

good_leaves = st.lists(
    st.sampled_from(
        [
            *({"prefix": "a"}, {"suffix": {"equals-ignore-case": "B"}}, {"wildcard": "a*b"}, {"cidr": "10.0.0.0/8"}),
            *({"numeric": [">", 0, "<=", 5]}, {"numeric": ["=", 1e300]}, {"exists": True}, {"exists": False}),
            *(
                {"anything-but": ["a", "b"]},
                {"anything-but": {"wildcard": "*x"}},
                {"anything-but": 1},
                None,
                True,
                20,
                "aXb",
            ),
        ]
    ),
    min_size=1,
    max_size=3,
)
good_patterns = st.recursive(
    good_leaves,
    lambda below: st.dictionaries(st.sampled_from(["a", "b", "battery", "ip", "f"]), below, min_size=1, max_size=3),
    max_leaves=6,
)


@st.composite
def mutated(draw: st.DrawFn, texts: list[str]) -> str:
    """A good text with some characters replaced, left out or doubled."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        text = (
            text[:at]
            + draw(st.sampled_from(['"', "{", "}", "[", "]", ",", ":", "\\", "*", "1", "", "é"]))
            + text[at + draw(st.integers(0, 2)) :]
        )
    return text


data_of_any_kind = st.one_of(
    st.none(),
    st.binary(max_size=40),
    any_json.map(lambda value: json.dumps(value).encode()),
    tree(scalars | st.sampled_from(["10.0.0.7", "aXb", 20]), st.sampled_from(["a", "b", "battery", "ip", "f"])).map(
        lambda value: json.dumps(value).encode()
    ),
    depths.map(nested),
    depths.map(lambda depth: nested(depth, b'{"a":', b"}")),
    st.just(b'{"battery": ' + b"9" * 5000 + b"}"),
    st.just(b'{"battery": 1e-99999999999999999999}'),
)


@given(
    text=any_text
    | mutated(VALID)
    | patterns.map(json.dumps)
    | st.sampled_from(VALID)
    | good_patterns.map(lambda below: json.dumps({"value": below}))
    | patterns.map(lambda below: json.dumps({"value": below}))
    | depths.map(lambda depth: nested(depth, b'{"value":', b"}").decode()),
    data=data_of_any_kind,
)
def test_any_text_is_a_pattern_that_never_fails_or_a_refusal_with_a_reason(text: str, data: bytes | None) -> None:
    tried("filter patterns")
    with no_hang():
        try:
            filters = compile_filters([text], "value")
        except InvalidFilterPattern as error:
            tried("filter patterns: refused")
            refusal = error
        else:
            assert filters.matches(data) in (True, False)
            return
    assert refusal.detail
