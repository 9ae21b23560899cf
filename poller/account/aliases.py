"""Aliases: a name for a version, or for two with weights (A.7). Pure: values from values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from poller.api_errors import invalid_parameter
from poller.invocation_request import LATEST


@dataclass(frozen=True, slots=True)
class Alias:
    """One alias of a function."""

    name: str
    version: str
    """FunctionVersion: `$LATEST` or a number."""
    description: str
    weights: Mapping[str, float] = field(default_factory=dict)
    """AdditionalVersionWeights: at most one, and the rest is the version's."""
    revision_id: str = ""

    @property
    def versions(self) -> tuple[str, ...]:
        """Those that it may lead to."""
        return self.version, *self.weights

    def choose(self, number: float) -> str:
        """The version of one invocation.

        Args:
            number: from 0 up to, but not including, 1; each as likely as any other.
        """
        for version, weight in self.weights.items():
            if number < weight:
                return version
            number -= weight
        return self.version

    def answer(self, function_arn: str) -> dict[str, Any]:
        """AWS's AliasConfiguration."""
        answer: dict[str, Any] = {
            "AliasArn": f"{function_arn}:{self.name}",
            "Name": self.name,
            "FunctionVersion": self.version,
            "Description": self.description,
            "RevisionId": self.revision_id,
        }
        if self.weights:
            answer["RoutingConfig"] = {"AdditionalVersionWeights": dict(self.weights)}
        return answer

    def document(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            "FunctionVersion": self.version,
            "Description": self.description,
            "AdditionalVersionWeights": dict(self.weights),
            "RevisionId": self.revision_id,
        }

    @classmethod
    def of_document(cls, name: str, document: Mapping[str, Any]) -> Alias:
        """As it was kept."""
        return cls(
            name,
            document["FunctionVersion"],
            document["Description"],
            dict(document["AdditionalVersionWeights"]),
            document["RevisionId"],
        )


def routing_of(routing: Mapping[str, Any] | None, version: str) -> dict[str, float]:
    """The weights of a RoutingConfig, for an alias of that version.

    Raises:
        ApiError: 400; they make no sense together.
    """
    weights = dict((routing or {}).get("AdditionalVersionWeights") or {})
    if len(weights) > 1:
        raise invalid_parameter("Number of items in AdditionalVersionWeights cannot be greater than 1")
    if weights and version == LATEST:
        raise invalid_parameter("$LATEST is not supported for an alias pointing to more than 1 version")
    if version in weights:
        text = f"Invalid function version {version}. Function version {version} is already included in routing"
        raise invalid_parameter(f"{text} configuration.")
    return {number: float(weight) for number, weight in weights.items()}
