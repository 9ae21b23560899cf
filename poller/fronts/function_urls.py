"""The function URLs of an account: those that the template declares, and those that calls make (A.5).

The calls take and answer what the API's do, as plain values, and refuse with `ApiError`.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from poller.account.directory import Directory
from poller.account.documents import Change, Documents
from poller.api_errors import (
    CONFLICT,
    MAPPING_MISSING,
    NOT_FOUND,
    ApiError,
    at_least,
    at_most,
    declared_by_template,
    error_of,
    invalid_parameter,
    matching,
    violation,
)
from poller.errors import ConfigError
from poller.fronts.url_config import (
    ID_LENGTH,
    KIND,
    LETTERS,
    FunctionUrl,
    UrlConfig,
    kept,
    key_of,
    shown,
    url_config,
)
from poller.invocation_request import CalledFunction, called_function

QUALIFIER = r"((?!^\d+$)^[0-9a-zA-Z-_]+$)"
"""AWS's, to the letter: it stands in the text."""
LONGEST_PAGE = 50
FUNCTION_MISSING = "Function does not exist"
_PARAMETERS = ("AuthType", "Cors", "InvokeMode")

_log = logging.getLogger(__name__)


class FunctionUrls:
    """Any thread. Calls block for the disk; `find` does not.

    Args:
        declared: of the template.
        documents: where those of calls are kept.
        directory: of the functions.
        allow_drift: whether calls may change what the template declares, until the next start.
        now: seconds since the epoch.
        changing: held while functions change, so that none gets a URL that is just going.
    """

    def __init__(
        self,
        declared: Sequence[FunctionUrl],
        documents: Documents,
        directory: Directory,
        *,
        allow_drift: bool,
        now: Callable[[], float],
        changing: threading.RLock | None = None,
    ) -> None:
        self._documents = documents
        self._directory = directory
        self._allow_drift = allow_drift
        self._now = now
        self._changing = changing or threading.RLock()
        """One change at a time."""
        self._recallable: list[FunctionUrl] = []
        started = now()
        urls = {url.key: replace(url, created=started, modified=started) for url in declared}
        for key, document in documents.all(KIND).items():
            if key in urls:
                _log.info("the template's function URL of %s stands in place of the one that a call made", key)
                continue
            try:
                urls[key] = kept(document)
            except (ConfigError, LookupError, TypeError) as error:
                _log.warning("the function URL of %s is left out: %s", key, error)
        self._urls: Mapping[str, FunctionUrl] = urls
        self._by_id = {url.url_id: url for url in urls.values()}
        """Both replaced, never changed, so that anybody may look at any time."""

    def find(self, url_id: str) -> FunctionUrl | None:
        """The URL with that id, whose function is there."""
        url = self._by_id.get(url_id)
        return url if url is not None and self._directory.has(url.function_name, url.qualifier) else None

    def all(self) -> Sequence[FunctionUrl]:
        """Every URL."""
        return list(self._urls.values())

    def create(
        self, function_name: str, qualifier: str | None, request: Mapping[str, Any], base: str
    ) -> dict[str, Any]:
        """CreateFunctionUrlConfig.

        Args:
            function_name: name or ARN, as in the path.
            qualifier: an alias; None for the function itself.
            request: the body.
            base: under which the caller reaches this service.

        Raises:
            ApiError: 400, 404 or 409, with what is wrong.
            StateError: it is not on the disk, and so not made.
        """
        with self._changing:
            called = self._called(function_name, qualifier, FUNCTION_MISSING)
            config = _config(request)
            if key_of(called.name, called.qualifier) in self._urls:
                text = (
                    f"Failed to create function url config for [functionArn = {called.arn}]. Error message:  "
                    "FunctionUrlConfig exists for this Lambda function"
                )
                raise ApiError(409, CONFLICT, text)
            now = self._now()
            url = FunctionUrl(_new_id(), called.name, called.qualifier, config, now, now)
            self._put(url)
        return url.answer(called.arn, base, mode="InvokeMode" in request, modified=False)

    def get(self, function_name: str, qualifier: str | None, base: str) -> dict[str, Any]:
        """GetFunctionUrlConfig.

        Raises:
            ApiError: 400 or 404.
        """
        called = self._called(function_name, qualifier, MAPPING_MISSING)
        return self._existing(called).answer(called.arn, base, mode=True, modified=True)

    def update(
        self, function_name: str, qualifier: str | None, request: Mapping[str, Any], base: str
    ) -> dict[str, Any]:
        """UpdateFunctionUrlConfig: what is left out stays as it is; `Cors` is replaced as a whole.

        Raises:
            ApiError: 400, 404, or 409 for a URL that the template declares.
            StateError: nothing was changed.
        """
        called = self._called(function_name, qualifier, FUNCTION_MISSING)
        with self._changing:
            before = self._changeable(called)
            given = {name: value for name, value in request.items() if value is not None}
            config = _config({**shown(before.config), **given})
            url = replace(before, config=config, modified=self._now())
            self._put(url)
        return url.answer(called.arn, base, mode="InvokeMode" in given, modified=True)

    def delete(self, function_name: str, qualifier: str | None) -> None:
        """DeleteFunctionUrlConfig.

        Raises:
            ApiError: 400, 404, or 409 for a URL that the template declares.
            StateError: nothing was changed.
        """
        called = self._called(function_name, qualifier, MAPPING_MISSING)
        with self._changing:
            gone = [self._changeable(called)]
            self._documents.change(_removals(gone))
            self._forget(gone)

    def listed(self, function_name: str, marker: str | None, max_items: int | None, base: str) -> dict[str, Any]:
        """ListFunctionUrlConfigs: those of one function, its own before those of its aliases.

        Raises:
            ApiError: 400 or 404.
        """
        called = self._called(function_name, None, FUNCTION_MISSING)
        most = LONGEST_PAGE
        if max_items is not None:
            if not 1 <= max_items <= LONGEST_PAGE:
                raise violation(max_items, "MaxItems", at_least(1) if max_items < 1 else at_most(LONGEST_PAGE))
            most = max_items
        found = sorted(
            (url for url in self._urls.values() if url.function_name == called.name),
            key=lambda url: url.qualifier,
        )
        following = [url for url in found if marker is None or url.qualifier >= marker]
        arn = called.arn.removesuffix(f":{called.qualifier}") if called.qualifier else called.arn
        answer: dict[str, Any] = {
            "FunctionUrlConfigs": [
                url.answer(key_of(arn, url.qualifier), base, mode=True, modified=True) for url in following[:most]
            ]
        }
        if len(following) > most:
            answer["NextMarker"] = following[most].qualifier
        return answer

    def gone(self, function_name: str, qualifier: str = "") -> Sequence[Change]:
        """A function goes, or with a qualifier one of its aliases: its URLs are forgotten at once.

        Gives the changes that have to be written with that; `recall` if they could not be.
        """
        with self._changing:
            self._recallable = [
                url
                for url in self._urls.values()
                if url.function_name == function_name and (not qualifier or qualifier == url.qualifier)
            ]
            self._forget(self._recallable)
            return _removals(self._recallable)

    def recall(self) -> None:
        """What the last `gone` forgot is there again."""
        with self._changing:
            for url in self._recallable:
                self._have(url)
            self._recallable = []

    def _called(self, function_name: str, qualifier: str | None, missing: str) -> CalledFunction:
        """The function that a call names; it exists.

        Raises:
            ApiError: 400 for a name or qualifier that cannot be one, 404 with the text for one that is not there.
        """
        if qualifier is not None and not re.fullmatch(QUALIFIER, qualifier, re.ASCII):
            raise violation(qualifier, "qualifier", matching(QUALIFIER))
        directory = self._directory
        called = called_function(function_name, qualifier, account_id=directory.account_id, region=directory.region)
        if called.qualifier and not re.fullmatch(QUALIFIER, called.qualifier, re.ASCII):
            raise violation(called.qualifier, "qualifier", matching(QUALIFIER))
        if not directory.has(called.name, called.qualifier):
            raise ApiError(404, NOT_FOUND, missing)
        return called

    def _existing(self, called: CalledFunction) -> FunctionUrl:
        url = self._urls.get(key_of(called.name, called.qualifier))
        if url is None:
            raise ApiError(404, NOT_FOUND, MAPPING_MISSING)
        return url

    def _changeable(self, called: CalledFunction) -> FunctionUrl:
        url = self._existing(called)
        if url.declared and not self._allow_drift:
            raise declared_by_template(f"function URL of {url.key}")
        return url

    def _put(self, url: FunctionUrl) -> None:
        """With the lock held. What the template declares is not kept: the next start has it as the template says."""
        if not url.declared:
            self._documents.change([Change(KIND, url.key, url.document())])
        self._have(url)

    def _have(self, url: FunctionUrl) -> None:
        self._urls = {**self._urls, url.key: url}
        self._by_id = {**self._by_id, url.url_id: url}

    def _forget(self, urls: Sequence[FunctionUrl]) -> None:
        keys, ids = {url.key for url in urls}, {url.url_id for url in urls}
        self._urls = {key: url for key, url in self._urls.items() if key not in keys}
        self._by_id = {url_id: url for url_id, url in self._by_id.items() if url_id not in ids}


def _removals(urls: Sequence[FunctionUrl]) -> list[Change]:
    return [Change(KIND, url.key, None) for url in urls if not url.declared]


def _config(request: Mapping[str, Any]) -> UrlConfig:
    unknown = [name for name in request if name not in _PARAMETERS]
    if unknown:
        raise invalid_parameter(f"unknown parameter: {', '.join(unknown)}")
    if request.get("AuthType") is None:
        raise violation(None, "AuthType", "Member must not be null")
    given = {name: value for name, value in request.items() if value is not None}
    try:
        return url_config(given, lambda field: field)
    except ConfigError as error:
        raise error_of(error.problems) from None


def _new_id() -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(ID_LENGTH))
