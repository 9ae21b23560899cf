"""The configuration of a function URL (A.5): what it may say, how it is kept, how the API shows it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from poller.fronts import cross_origin
from poller.validation import Model, parse

KIND = "FunctionUrlConfig"
"""Of documents."""

ID_LENGTH = 32
LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
"""Of a URL's id."""


class UrlConfig(Model):
    """What a template or a call says; names are AWS's."""

    AuthType: Literal["NONE", "AWS_IAM"]
    """`NONE`: everybody may call. `AWS_IAM`: requests have to be signed with a key of `SignatureKeys`."""
    Cors: cross_origin.Cors | None = None
    """What web pages of other origins may do."""
    InvokeMode: Literal["BUFFERED", "RESPONSE_STREAM"] = "BUFFERED"
    """`RESPONSE_STREAM`: the answer is sent in chunks, and may begin with a head of its own."""


@dataclass(frozen=True, slots=True)
class FunctionUrl:
    """One URL of a function or an alias."""

    url_id: str
    function_name: str
    qualifier: str
    """An alias; empty for the function itself."""
    config: UrlConfig
    created: float
    """Seconds since the epoch."""
    modified: float
    declared: bool = False
    """By the template."""

    @property
    def key(self) -> str:
        """By which it is kept."""
        return key_of(self.function_name, self.qualifier)

    def document(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            "UrlId": self.url_id,
            "FunctionName": self.function_name,
            "Qualifier": self.qualifier,
            "Config": shown(self.config),
            "Created": self.created,
            "Modified": self.modified,
        }

    def answer(self, function_arn: str, base: str, *, mode: bool, modified: bool) -> dict[str, Any]:
        """As the API shows it.

        Args:
            function_arn: with the alias, if there is one.
            base: such as `http://127.0.0.1:9001`, under which the caller reaches this service.
            mode: whether to show InvokeMode. The answer to a change has it only where the change named it.
            modified: whether to show LastModifiedTime.
        """
        answer = {
            "FunctionUrl": address(base, self.url_id),
            "FunctionArn": function_arn,
            **shown(self.config),
            "CreationTime": _written(self.created),
        }
        if not mode:
            del answer["InvokeMode"]
        if modified:
            answer["LastModifiedTime"] = _written(self.modified)
        return answer


def kept(document: Mapping[str, Any]) -> FunctionUrl:
    """The URL of a document.

    Raises:
        ConfigError: its configuration is one that this program does not know.
        LookupError: it is no document of a URL.
    """
    return FunctionUrl(
        document["UrlId"],
        document["FunctionName"],
        document["Qualifier"],
        url_config(document["Config"], lambda field: f"{KIND} {document['FunctionName']}: {field}"),
        document["Created"],
        document["Modified"],
    )


def url_config(values: Any, where: Callable[[str], str]) -> UrlConfig:
    """A configuration, checked.

    Raises:
        ConfigError: all that is wrong with it.
    """
    return parse(UrlConfig, values, where)


def shown(config: UrlConfig) -> dict[str, Any]:
    """A configuration as it was given, with its defaults."""
    values = {"AuthType": config.AuthType, "InvokeMode": config.InvokeMode}
    if config.Cors is None:
        return values
    return {**values, "Cors": config.Cors.model_dump(mode="json", exclude_none=True)}


def key_of(function_name: str, qualifier: str) -> str:
    """`orders`, or `orders:live`."""
    return f"{function_name}:{qualifier}" if qualifier else function_name


def derived_id(account_id: str, region: str, function_name: str, qualifier: str) -> str:
    """The id of a URL that the template declares: the same after every start."""
    text = f"{account_id}:{region}:{key_of(function_name, qualifier)}"
    return "".join(LETTERS[byte % len(LETTERS)] for byte in hashlib.sha256(text.encode()).digest())


def address(base: str, url_id: str) -> str:
    """A function URL, which works as it is."""
    return f"{base}/_url/{url_id}/"


def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
