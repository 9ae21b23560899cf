"""Values with intrinsic functions in them, and what every problem has to be."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from fuzz.odd import any_text, scalars, tree
from poller.errors import Problem
from poller.intrinsics import CONDITIONS, FUNCTIONS

functions = st.sampled_from([*FUNCTIONS, *CONDITIONS, "Fn::Transform", "Fn::Base64"])
values_with_functions = tree(
    scalars
    | st.sampled_from(
        [
            "Size",
            "C",
            "M",
            "Telemetry",
            "Telemetry.Arn",
            "${Size}",
            "${!x}",
            "${",
            "${a.b}",
            "AWS::NoValue",
            "amqp:///x/k",
        ]
    ),
    functions | any_text,
)


def understood(problems: Sequence[Problem]) -> None:
    """Problems are for a person: none is empty, or as long as the input."""
    for problem in problems:
        assert problem.reason
        assert len(problem.reason) < 3000
