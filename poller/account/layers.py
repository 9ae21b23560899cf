"""Versions of layers (A.7): what one is, how calls show it, and how it is kept. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from poller.account.folders import Package
from poller.account.shapes import Listed, Structure, Text
from poller.account.versions import UsedLayer, written

ARN = r"arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:"
LAYER_NAME = Text(1, 2048, f"({ARN}[a-zA-Z0-9-_]{{1,140}}|[a-zA-Z0-9-_]{{1,140}})")
VERSION_ARN = Text(1, 2048, f"(({ARN}[a-zA-Z0-9-_]+:[0-9]+)|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+))")
"""AWS's, to the letter: they stand in the texts."""

ARCHITECTURE = Text(names=("x86_64", "arm64"))
RUNTIME = Text(
    names=(
        *("nodejs", "nodejs4.3", "nodejs6.10", "nodejs8.10", "nodejs10.x", "nodejs12.x", "nodejs14.x", "nodejs16.x"),
        *("nodejs18.x", "nodejs20.x", "nodejs22.x", "nodejs24.x", "java8", "java8.al2", "java11", "java17", "java21"),
        *("java25", "python2.7", "python3.6", "python3.7", "python3.8", "python3.9", "python3.10", "python3.11"),
        *("python3.12", "python3.13", "python3.14", "dotnetcore1.0", "dotnetcore2.0", "dotnetcore2.1"),
        *("dotnetcore3.1", "dotnet6", "dotnet8", "dotnet10", "nodejs4.3-edge", "go1.x", "ruby2.5", "ruby2.7"),
        *("ruby3.2", "ruby3.3", "ruby3.4", "ruby4.0", "provided", "provided.al2", "provided.al2023"),
    )
)
"""Whatever is run here: a layer says for whom it is made, and nobody is kept from using it."""

PUBLISH_LAYER_VERSION = Structure(
    {
        "LayerName": LAYER_NAME,
        "Description": Text(0, 256),
        "Content": Structure(
            {
                "ZipFile": Text(),
                "S3Bucket": Text(3, 63, r"[0-9A-Za-z\.\-_]*(?<!\.)"),
                "S3Key": Text(1, 1024),
                "S3ObjectVersion": Text(1, 1024),
                "S3ObjectStorageMode": Text(names=("COPY", "REFERENCE")),
            }
        ),
        "CompatibleArchitectures": Listed(ARCHITECTURE, most=2),
        "CompatibleRuntimes": Listed(RUNTIME, most=15),
        "LicenseInfo": Text(0, 512),
    },
    ("LayerName", "Content"),
)
ADD_PERMISSION = Structure(
    {
        "StatementId": Text(1, 100, "([a-zA-Z0-9-_]+)"),
        "Action": Text(0, 22, "lambda:GetLayerVersion"),
        "Principal": Text(0, 10_000, r"\d{12}|\*|arn:(aws[a-zA-Z-]*):iam::\d{12}:root"),
        "OrganizationId": Text(0, 34, "o-[a-z0-9]{10,32}"),
    },
    ("StatementId", "Action", "Principal"),
)

_SHOWN = ("CompatibleArchitectures", "CompatibleRuntimes", "LicenseInfo")
"""Properties that are shown where they were given."""


@dataclass(frozen=True, slots=True)
class LayerVersion:
    """A version as it is; replaced, never changed."""

    layer_arn: str
    number: int
    package: Package
    created: float
    """Seconds since the epoch."""
    properties: Mapping[str, Any] = field(default_factory=dict)
    """As they were given, Content apart."""
    policy: Mapping[str, Any] | None = None
    """Its Statement and RevisionId; None while there is none."""

    @property
    def arn(self) -> str:
        """LayerVersionArn."""
        return f"{self.layer_arn}:{self.number}"

    @property
    def used(self) -> UsedLayer:
        """For a function."""
        return UsedLayer(self.arn, self.package)

    def fits(self, architecture: str | None, runtime: str | None) -> bool:
        """Whether it is listed for those; one that names none fits only those who do not ask."""
        wanted: Sequence[tuple[str, str | None]] = (
            ("CompatibleArchitectures", architecture),
            ("CompatibleRuntimes", runtime),
        )
        return all(value is None or value in self.properties.get(name, ()) for name, value in wanted)

    def listed(self) -> dict[str, Any]:
        """AWS's LayerVersionsListItem."""
        return {
            "LayerVersionArn": self.arn,
            "Version": self.number,
            "Description": self.properties.get("Description", ""),
            "CreatedDate": written(self.created),
            **{name: self.properties[name] for name in _SHOWN if name in self.properties},
        }

    def answer(self, location: str) -> dict[str, Any]:
        """As PublishLayerVersion and GetLayerVersion show it; `location` is where its content can be had."""
        digest = base64.b64encode(bytes.fromhex(self.package.sha256)).decode()
        content = {"Location": location, "CodeSha256": digest, "CodeSize": self.package.size}
        return {"Content": content, "LayerArn": self.layer_arn, **self.listed()}

    def document(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            "Layer": self.used.document(),
            "Created": self.created,
            "Properties": dict(self.properties),
            "Policy": None if self.policy is None else dict(self.policy),
        }

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> LayerVersion:
        """As it was kept.

        Raises:
            LookupError, TypeError, ValueError, AttributeError: it was not.
        """
        arn, package = UsedLayer.of_document(document["Layer"])
        layer, _, number = arn.rpartition(":")
        properties = dict(document["Properties"])
        return cls(layer, int(number), package, float(document["Created"]), properties, document["Policy"])
