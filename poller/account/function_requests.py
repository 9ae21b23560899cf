"""What the calls on functions, versions and aliases take (A.7): AWS's shapes, what of them works, and defaults. Pure.

What `poller.supported` says of a template holds for the calls, too: the same properties have no effect, and are shown
as they were given; the same ones are refused, unless they say nothing.
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from poller import supported
from poller.account.layers import VERSION_ARN
from poller.account.packages import BROKEN
from poller.account.shapes import Anything, Flag, Listed, Mapped, Number, Structure, Text, checked, violations
from poller.account.versions import DEFAULTS
from poller.api_errors import ApiError, at_least, at_most, invalid_parameter
from poller.environment_variables import checked_variables
from poller.invocation_request import LATEST
from poller.logging_config import default_logging, merged_logging
from poller.runtime.runtimes import RUNTIMES

LOCAL_FOLDER = "local-folder"
"""The S3Bucket that stands for this machine: S3Key then is a folder's absolute path. An extension."""

NAME_PATTERN = (
    r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?"
    r"([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?"
)
"""Of a function in calls that change it; to the letter."""
ROLE = Text(0, 10_000, r"arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+")
DESCRIPTION = Text(0, 256)
FUNCTION_NAME = Text(1, 140, NAME_PATTERN)
ALIAS_NAME = Text(1, 128, r"(?!^[0-9]+$)([a-zA-Z0-9-_]+)")
FUNCTION_VERSION = Text(1, 1024, r"(\$LATEST(\.PUBLISHED)?|[0-9]+)")
_ARN_OR_NOTHING = r"(arn:(aws[a-zA-Z-]*)?:[a-z0-9-.]+:.*)|()"
ARCHITECTURES = Listed(Text(names=("x86_64", "arm64")), most=1, least=1)
_REFUSED = (
    "CapacityProviderConfig",
    "DurableConfig",
    "FileSystemConfigs",
    "ImageConfig",
    "TenancyConfig",
)
"""Unless they say nothing; the reasons stand below."""
_REASONS = supported.FUNCTION_REFUSED
_REFUSED_HERE = {
    "AcceleratorConfig": "there are no managed instances here",
    "PublishTo": "there are no managed instances here",
    "RuntimeConfig": "runtimes of one's own are not kept here",
}
HIGHEST_MAX_ITEMS = 10_000

CODE: Mapping[str, Any] = {
    "ZipFile": Text(),
    "S3Bucket": Text(3, 63, r"[0-9A-Za-z\.\-_]*(?<!\.)"),
    "S3Key": Text(1, 1024),
    "S3ObjectVersion": Text(1, 1024),
    "S3ObjectStorageMode": Text(names=("COPY", "REFERENCE")),
    "ImageUri": Text(),
    "SourceKMSKeyArn": Text(0, 10_000, _ARN_OR_NOTHING),
}
CONFIGURATION: Mapping[str, Any] = {
    "Runtime": Text(),
    "Role": ROLE,
    "Handler": Text(0, 128, r"[^\s]+"),
    "Description": DESCRIPTION,
    "Timeout": Number(1, 900),
    "MemorySize": Number(128, 10_240),
    "VpcConfig": Structure(
        {
            "SubnetIds": Listed(Text(0, 1024, r"subnet-[0-9a-z]*"), 16),
            "SecurityGroupIds": Listed(Text(0, 1024, r"sg-[0-9a-zA-Z]*"), 5),
            "Ipv6AllowedForDualStack": Flag(),
        }
    ),
    "DeadLetterConfig": Structure({"TargetArn": Text(0, 10_000, _ARN_OR_NOTHING)}),
    "Environment": Structure({"Variables": Mapped(Text(pattern="[a-zA-Z]([a-zA-Z0-9_])+"), Text(), is_secret=True)}),
    "KMSKeyArn": Text(0, 10_000, _ARN_OR_NOTHING),
    "TracingConfig": Structure({"Mode": Text(names=("Active", "PassThrough"))}),
    "EphemeralStorage": Structure({"Size": Number(512, 10_240)}, ("Size",)),
    "Layers": Listed(VERSION_ARN),
    "SnapStart": Structure({"ApplyOn": Text(names=("PublishedVersions", "None"))}),
    "LoggingConfig": Structure(
        {
            "LogFormat": Text(names=("JSON", "Text")),
            "ApplicationLogLevel": Text(names=("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")),
            "SystemLogLevel": Text(names=("DEBUG", "INFO", "WARN")),
            "LogGroup": Text(1, 512, r"[\.\-_/#A-Za-z0-9]+"),
        }
    ),
    **dict.fromkeys((*_REFUSED, *_REFUSED_HERE), Anything()),
}
CREATE_FUNCTION = Structure(
    {
        "FunctionName": FUNCTION_NAME,
        **CONFIGURATION,
        "Code": Structure(CODE),
        "Publish": Flag(),
        "PackageType": Text(names=("Zip", "Image")),
        "Tags": Mapped(Text(1, 128), Text(0, 256)),
        "CodeSigningConfigArn": Text(0, 200),
        "Architectures": ARCHITECTURES,
    },
    ("FunctionName", "Role", "Code"),
)
UPDATE_CODE = Structure(
    {
        **CODE,
        "Architectures": ARCHITECTURES,
        "Publish": Flag(),
        "PublishTo": Anything(),
        "DryRun": Flag(),
        "RevisionId": Text(),
    }
)
UPDATE_CONFIGURATION = Structure({**CONFIGURATION, "RevisionId": Text()})
PUBLISH_VERSION = Structure(
    {
        "CodeSha256": Text(),
        "Description": DESCRIPTION,
        "RevisionId": Text(),
        "PublishTo": Anything(),
    }
)
_ROUTING = Structure({"AdditionalVersionWeights": Mapped(Text(1, 1024, "[0-9]+"), Number(0.0, 1.0))})
_ALIAS: Mapping[str, Any] = {
    "FunctionVersion": FUNCTION_VERSION,
    "Description": DESCRIPTION,
    "RoutingConfig": _ROUTING,
}
CREATE_ALIAS = Structure({"Name": ALIAS_NAME, **_ALIAS}, ("Name", "FunctionVersion"))
UPDATE_ALIAS = Structure({**_ALIAS, "RevisionId": Text()})

_SHOWN = ("Description", "Handler", "MemorySize", "Role", "Runtime", "Timeout", "EphemeralStorage", "TracingConfig")
"""Properties that are kept as they were given."""


class GivenCode(NamedTuple):
    """What a call names as a function's code: one of both."""

    zip_file: bytes | None
    folder: Path | None


def request_of(values: Any, shape: Structure) -> dict[str, Any]:
    """A request that follows its shape, and wants nothing that cannot be done here.

    Raises:
        ApiError: 400.
    """
    request = checked(values, shape)
    for name, value in request.items():
        if name in _REFUSED and value not in ([], {}):
            raise invalid_parameter(f"{name} is not supported", _REASONS[name])
        if name in _REFUSED_HERE:
            raise invalid_parameter(f"{name} is not supported", _REFUSED_HERE[name])
    if request.get("PackageType") == "Image" or (request.get("Code") or request).get("ImageUri"):
        raise invalid_parameter("PackageType Image is not supported", supported.FUNCTION_REFUSED["ImageUri"])
    if request.get("SnapStart", {}).get("ApplyOn") == "PublishedVersions":
        raise invalid_parameter("SnapStart is not supported", supported.FUNCTION_REFUSED["SnapStart"])
    return request


def properties_of(request: Mapping[str, Any], name: str, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A function's properties after a call that creates it, or changes what it was before.

    Raises:
        ApiError: 400; values that make no sense, or cannot be had here.
    """
    properties = {**(DEFAULTS if before is None else before)}
    runtime = request.get("Runtime")
    if runtime is not None and runtime not in RUNTIMES:
        text = f"Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: "
        raise invalid_parameter(f"{text}[{', '.join(RUNTIMES)}] or be a valid ARN")
    properties |= {key: request[key] for key in _SHOWN if key in request}
    if before is None and ("Runtime" not in request or "Handler" not in request):
        missing = "Runtime" if "Runtime" not in request else "Handler"
        raise invalid_parameter(f"{missing} is mandatory for functions created with deployment packages.")
    if "Architectures" in request:
        properties["Architectures"] = request["Architectures"]
    if "Environment" in request:
        properties["Environment"] = {"Variables": _variables(request["Environment"].get("Variables", {}))}
    for key in ("VpcConfig", "DeadLetterConfig", "KMSKeyArn"):
        value = request.get(key)
        if value is not None:
            properties.pop(key, None)
            if value and (not isinstance(value, dict) or any(value.values())):
                properties[key] = value
    try:
        logging = merged_logging(
            properties.get("LoggingConfig", default_logging(name)), request.get("LoggingConfig", {})
        )
    except ValueError as error:
        raise invalid_parameter(str(error)) from None
    return {**properties, "LoggingConfig": logging}


def code_of(given: Mapping[str, Any]) -> GivenCode:
    """What a call names as the code.

    Raises:
        ApiError: 400; it is nothing, two things, or elsewhere than here.
    """
    if "ZipFile" in given:
        if "S3Bucket" in given or "S3Key" in given:
            raise invalid_parameter("Please do not provide other FunctionCode parameters when providing a ZipFile.")
        try:
            return GivenCode(base64.b64decode(given["ZipFile"], validate=True), None)
        except (binascii.Error, ValueError):
            raise invalid_parameter(BROKEN, "it is no base64") from None
    if "S3Bucket" not in given or "S3Key" not in given:
        raise invalid_parameter("Please provide a source for function code.")
    if given["S3Bucket"] != LOCAL_FOLDER:
        text = "Error occurred while GetObject. S3 Error Code: NoSuchBucket. S3 Error Message: The specified bucket "
        hint = f"code comes as ZipFile, or from S3Bucket {LOCAL_FOLDER} with a folder's absolute path as S3Key"
        raise invalid_parameter(f"{text}does not exist", hint)
    for name in ("S3ObjectVersion", "S3ObjectStorageMode"):
        if name in given:
            raise invalid_parameter(f"{name} says nothing about a folder of this machine (S3Bucket {LOCAL_FOLDER}).")
    folder = Path(given["S3Key"])
    if not folder.is_absolute():
        raise invalid_parameter(f"S3Key {given['S3Key']} is not the absolute path of a folder.")
    return GivenCode(None, folder)


def _variables(variables: dict[str, str]) -> dict[str, str]:
    try:
        return checked_variables(variables, quoted=True)
    except ValueError as error:
        raise invalid_parameter(str(error)) from None


def refuse_revision(given: str | None, present: str) -> None:
    """412, if a call was made for another revision than there is.

    Raises:
        ApiError: it was.
    """
    if given is not None and given != present:
        text = "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to"
        raise ApiError(412, "PreconditionFailedException", f"{text} retrieve the latest Revision Id")


def page(
    names: Sequence[str],
    marker: str | None,
    max_items: int | None,
    most: int,
    key: Callable[[str], Any] = str,
) -> tuple[Sequence[str], str | None]:
    """The names of one page of a list, and the marker of the next one if there is more.

    Args:
        names: all, in the order of their keys.
        marker: from the page before: the first name of this one, though it may be gone by now.
        max_items: as the call has it.
        most: of one page, whatever the call says.
        key: what a name is ordered by; raises ValueError for what can be none.

    Raises:
        ApiError: MaxItems out of range, or a marker that no page gave.
    """
    if max_items is not None and not 1 <= max_items <= HIGHEST_MAX_ITEMS:
        limit = at_least(1) if max_items < 1 else at_most(HIGHEST_MAX_ITEMS)
        raise violations([f"Value '{max_items}' at 'maxItems' failed to satisfy constraint: {limit}"])
    size = min(max_items or most, most)
    try:
        first = 0 if marker is None else bisect_left(names, key(marker), key=key)
    except ValueError:
        raise invalid_parameter("The marker is not one that a page of this list has given.") from None
    following = names[first + size :]
    return names[first : first + size], following[0] if following else None


def is_unqualified(qualifier: str) -> bool:
    """Whether it names the function itself."""
    return qualifier in {"", LATEST}
