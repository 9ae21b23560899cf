"""Tags of functions and event source mappings: TagResource, UntagResource and ListTags. They mean nothing here."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from poller.account.documents import Change
from poller.account.shelf import Shelf
from poller.api_errors import (
    NOT_FOUND,
    ApiError,
    invalid_parameter,
    mapping_missing,
    matching,
    no_longer,
    no_shorter,
    violation,
)

if TYPE_CHECKING:
    from poller.account.configs import Account

FUNCTION = "function"
MAPPING = "event-source-mapping"

MOST_TAGS = 50
"""Of a resource."""
LONGEST_KEY, LONGEST_VALUE = 128, 256
"""Characters."""
RESERVED_PREFIX = "aws:"

RESOURCE_PATTERN = (
    r"arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:"
    r"(function:[a-zA-Z0-9-_]+(:(\$LATEST|[a-zA-Z0-9-_]+))?|layer:([a-zA-Z0-9-_]+)|code-signing-config:csc-[a-z0-9]{17}"
    r"|event-source-mapping:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
    r"|capacity-provider:[a-zA-Z0-9-_]+)"
)
"""AWS's, to the letter: it stands in the text."""

_RESOURCE = re.compile(RESOURCE_PATTERN, re.ASCII)


class Tags:
    """Any thread. Changes block for the disk."""

    def __init__(self, shelf: Shelf, account: Account, calls: threading.RLock) -> None:
        self.shelf = shelf
        self._account = account
        self._calls = calls

    def tag(self, arn: str, body: Mapping[str, Any]) -> None:
        """TagResource: tags that are there get the new value.

        Raises:
            ApiError: as recorded; 409 when the template declares the resource.
            StateError: nothing was changed.
        """
        given = checked(body.get("Tags"))
        if not given:
            raise invalid_parameter("An error occurred and the request cannot be processed.", "no tags are given")
        with self._calls:
            resource = self._resource(arn)
            tags = checked({**self._of(resource), **given})
            self.shelf.put(resource, {"Tags": tags})

    def untag(self, arn: str, keys: Sequence[str]) -> None:
        """UntagResource: keys that are not there are passed over.

        Raises:
            ApiError: as recorded; 409 when the template declares the resource.
            StateError: nothing was changed.
        """
        if not keys:
            raise violation(None, "TagKeys", "Member must not be null")
        with self._calls:
            resource = self._resource(arn)
            left = {key: value for key, value in self._of(resource).items() if key not in keys}
            self.shelf.put(resource, {"Tags": left} if left else None)

    def listed(self, arn: str) -> dict[str, Any]:
        """ListTags."""
        return {"Tags": self._of(self._resource(arn))}

    def of_function(self, name: str) -> dict[str, str]:
        """As GetFunction shows them."""
        return self._of(f"{FUNCTION}:{name}")

    def adopt(self, resource: str, tags: Any) -> list[Change]:
        """The tags that a resource is created with: in memory at once; the changes are the caller's to write.

        Args:
            resource: `function:orders` or `event-source-mapping:<UUID>`.
            tags: as the call gave them; None or empty is none.

        Raises:
            ApiError: 400, they cannot be tags.
        """
        given = checked(tags)
        return [self.shelf.adopt(resource, {"Tags": given})] if given else []

    @contextmanager
    def recalled_on(self, fault: type[Exception]) -> Iterator[None]:
        """Around the writing of what `adopt` or `forget_…` returned: where it fails, nothing has changed."""
        try:
            yield
        except fault:
            self.shelf.recall()
            raise

    def forget_function(self, name: str) -> list[Change]:
        """Of a function that is being deleted; as `FunctionConfigs.forget`."""
        return self.shelf.forget(f"{FUNCTION}:{name}".__eq__)

    def forget_mapping(self, identifier: str) -> list[Change]:
        """Of a mapping that is being deleted; as `FunctionConfigs.forget`."""
        return self.shelf.forget(f"{MAPPING}:{identifier}".__eq__)

    def _of(self, resource: str) -> dict[str, str]:
        return dict((self.shelf.get(resource) or {}).get("Tags", {}))

    def _resource(self, arn: str) -> str:
        """`function:orders`; raises ApiError when there is no such thing."""
        if not _RESOURCE.fullmatch(arn):
            raise violation(arn, "Resource", matching(RESOURCE_PATTERN))
        _, _, _, region, account, kind, name, *qualifier = arn.split(":")
        if qualifier:
            raise invalid_parameter(
                "Tags on function aliases and versions are not supported. Please specify a function ARN."
            )
        is_here = (region, account) == (self._account.region, self._account.account_id)
        if kind == FUNCTION:
            if not is_here or not self._account.has(name):
                raise ApiError(404, NOT_FOUND, f"Function not found: {arn}")
        elif kind != MAPPING or not is_here or not self._account.has_mapping(name):
            raise mapping_missing()
        return f"{kind}:{name}"


def checked(tags: Any) -> dict[str, str]:
    """Tags as a call gives them.

    Raises:
        ApiError: 400; they are none, too many or too long. AWS's text of a key that begins with `aws:` is unverified.
    """
    if tags is None:
        return {}
    if not isinstance(tags, Mapping):
        raise invalid_parameter("Tags has to be a mapping of names to texts.")
    for key, value in tags.items():
        _check(key, value)
    if len(tags) > MOST_TAGS:
        raise invalid_parameter("Number of tags exceeds resource tag limit.")
    return dict(tags)


def _is_utf8(text: str) -> bool:
    """Whether it holds no half of a pair, which JSON's escapes may."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check(key: str, value: Any) -> None:
    """Raises ApiError: one tag cannot be."""
    if not isinstance(value, str):
        raise invalid_parameter(f"The value of the tag {key!r} has to be a text.")
    if not _is_utf8(f"{key}{value}"):
        raise invalid_parameter(f"The tag {key!r} is not text that can be written in UTF-8.")
    if not key:
        raise violation(key, "Tags", no_shorter(1))
    if len(key) > LONGEST_KEY:
        raise violation(key, "Tags", no_longer(LONGEST_KEY))
    if len(value) > LONGEST_VALUE:
        raise violation(value, "Tags", no_longer(LONGEST_VALUE))
    if key.lower().startswith(RESERVED_PREFIX):
        raise invalid_parameter("aws: prefixed tag key names are not allowed for external use.")
