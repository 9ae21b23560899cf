"""One version of a function, `$LATEST` among them: what it is, how calls show it, and how it is kept (A.7). Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from poller.account.folders import Package
from poller.invocation_request import LATEST
from poller.logging_config import LoggingConfig, default_logging
from poller.model import FunctionConfiguration

State = Literal["Active", "Failed"]

PENDING = {
    "State": "Pending",
    "StateReason": "The function is being created.",
    "StateReasonCode": "Creating",
}
IN_PROGRESS = {
    "LastUpdateStatus": "InProgress",
    "LastUpdateStatusReason": "The function is being created.",
    "LastUpdateStatusReasonCode": "Creating",
}
"""As recorded."""

DEFAULTS: Mapping[str, Any] = {
    "Description": "",
    "Timeout": 3,
    "MemorySize": 128,
    "PackageType": "Zip",
    "Architectures": ["x86_64"],
    "EphemeralStorage": {"Size": 512},
    "TracingConfig": {"Mode": "PassThrough"},
    "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
}
"""What the answers of every function show, whether it was given or not (recorded)."""


class UsedLayer(NamedTuple):
    """A version of a layer that a function has: it stays so when the version is deleted."""

    arn: str
    package: Package

    def document(self) -> dict[str, Any]:
        """As it is kept, with the function."""
        folder, sha256, size = self.package
        return {"Arn": self.arn, "Folder": str(folder), "Sha256": sha256, "Size": size}

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> UsedLayer:
        """As it was kept.

        Raises:
            LookupError, TypeError, ValueError: it was not.
        """
        return cls(document["Arn"], Package(Path(document["Folder"]), document["Sha256"], int(document["Size"])))


@dataclass(frozen=True, slots=True)
class FunctionVersion:
    """A version as it is; replaced, never changed."""

    name: str
    version: str
    """`$LATEST`, or a number."""
    properties: Mapping[str, Any]
    """AWS's, as the answers show them: Handler, Runtime, Environment …, complete with their defaults."""
    code: Package
    is_folder: bool
    """The code is a local folder, which may change under it."""
    revision_id: str
    last_modified: float
    """Seconds since the epoch."""
    published_as: str = ""
    """Of a published version: the Description that `$LATEST` had."""
    layers: tuple[UsedLayer, ...] | None = None
    """In their order; None as the template has them."""
    opt: Path | None = None
    """Where several layers are brought together."""
    failure: str = ""
    """Why it cannot run; empty when it can."""

    @property
    def folders(self) -> tuple[Path, ...]:
        """All that it runs on."""
        opt = () if self.opt is None else (self.opt,)
        return self.code.folder, *opt, *(layer.package.folder for layer in self.layers or ())

    @property
    def state(self) -> State:
        """State of A.3; the others are over before a call is answered."""
        return "Failed" if self.failure else "Active"

    @property
    def code_sha256(self) -> str:
        """CodeSha256."""
        return base64.b64encode(bytes.fromhex(self.code.sha256)).decode()

    def configuration(self, base: FunctionConfiguration) -> FunctionConfiguration:
        """What the runtime needs to know.

        Args:
            base: what is no property of the function.
        """
        properties = self.properties
        logging = LoggingConfig(**properties.get("LoggingConfig", {})).configuration()
        if logging.log_group == default_logging(self.name)["LogGroup"]:
            logging = replace(logging, log_group=None)  # streams of another group are named by their function, too
        return replace(
            base,
            function_name=self.name,
            code=self.code.folder,
            handler=properties["Handler"],
            runtime=properties["Runtime"],
            timeout=float(properties["Timeout"]),
            memory_size=properties["MemorySize"],
            ephemeral_storage=properties["EphemeralStorage"]["Size"],
            environment=dict(properties.get("Environment", {}).get("Variables", {})),
            logging=logging,
            layers=base.layers if self.layers is None else self.folders[1:2],
            version=self.version,
        )

    def is_as_published(self, version: FunctionVersion) -> bool:
        """Of `$LATEST`: whether nothing has changed since that version was published of it."""
        then = {**version.properties, "Description": version.published_as}
        is_same_code = self.code.sha256 == version.code.sha256 and self.layers == version.layers
        return is_same_code and self.properties == then

    # --- answers ------------------------------------------------------------------------------------------------------

    def listed(self, function_arn: str) -> dict[str, Any]:
        """As ListFunctions and ListVersionsByFunction show it.

        Args:
            function_arn: as the answer names it, with a qualifier or without.
        """
        answer: dict[str, Any] = {
            "FunctionName": self.name,
            "FunctionArn": function_arn,
            "LoggingConfig": default_logging(self.name),
            **self.properties,
            "CodeSha256": self.code_sha256,
            "CodeSize": self.code.size,
            "LastModified": written(self.last_modified),
            "RevisionId": self.revision_id,
            "Version": self.version,
        }
        if self.layers:
            answer["Layers"] = [{"Arn": layer.arn, "CodeSize": layer.package.size} for layer in self.layers]
        return dict(sorted(answer.items()))

    def answer(self, function_arn: str, region: str) -> dict[str, Any]:
        """AWS's FunctionConfiguration."""
        answer = self.listed(function_arn)
        runtime = hashlib.sha256(str(self.properties["Runtime"]).encode()).hexdigest()
        answer["RuntimeVersionConfig"] = {"RuntimeVersionArn": f"arn:aws:lambda:{region}::runtime:{runtime}"}
        answer["State"] = self.state
        if self.failure:
            answer |= {"StateReason": self.failure, "StateReasonCode": "InvalidZipFileException"}
        answer["LastUpdateStatus"] = "Successful"
        return answer

    def created(self, function_arn: str, region: str) -> dict[str, Any]:
        """As the answer shows it to whoever has just made it."""
        answer = {**self.answer(function_arn, region), **PENDING}
        del answer["LastUpdateStatus"]
        return answer

    def updated(self, function_arn: str, region: str) -> dict[str, Any]:
        """As the answer shows it to whoever has just changed it."""
        return {**self.answer(function_arn, region), **IN_PROGRESS}

    # --- as it is kept ------------------------------------------------------------------------------------------------

    def document(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            "Properties": dict(self.properties),
            "Folder": str(self.code.folder),
            "Sha256": self.code.sha256,
            "Size": self.code.size,
            "IsFolder": self.is_folder,
            "RevisionId": self.revision_id,
            "LastModified": self.last_modified,
            "PublishedAs": self.published_as,
            "Layers": None if self.layers is None else [layer.document() for layer in self.layers],
            "Opt": None if self.opt is None else str(self.opt),
        }

    @classmethod
    def of_document(cls, key: str, document: Mapping[str, Any]) -> FunctionVersion:
        """As it was kept.

        Raises:
            LookupError, TypeError, ValueError: it was not.
        """
        name, _, version = key.rpartition(":")
        return cls(
            name,
            version,
            dict(document["Properties"]),
            Package(Path(document["Folder"]), document["Sha256"], int(document["Size"])),
            bool(document["IsFolder"]),
            document["RevisionId"],
            float(document["LastModified"]),
            document["PublishedAs"],
            tuple(map(UsedLayer.of_document, document.get("Layers") or ())),
            Path(document["Opt"]) if document.get("Opt") else None,
        )

    @property
    def key(self) -> str:
        """Of its document."""
        return f"{self.name}:{self.version}"


def written(seconds: float) -> str:
    """A time as LastModified has it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "+0000")


def order(version: str) -> int:
    """`$LATEST` first, then by number."""
    return 0 if version == LATEST else int(version)
