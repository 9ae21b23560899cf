"""Event invoke configurations (B.2): the five calls, and what the next asynchronous event is treated by."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from poller.account.documents import Document
from poller.account.function_keys import called, existing, function_arn, function_of, key_of
from poller.account.shelf import Shelf
from poller.api_errors import NOT_FOUND, ApiError, error_of, invalid_parameter, matching, violation
from poller.async_invoke.configuration import AsyncConfiguration
from poller.async_wiring import wire_event_invoke_config
from poller.errors import ConfigError
from poller.event_invoke import EventInvokeConfig
from poller.invocation_request import LATEST, CalledFunction
from poller.requests import max_items, request_of
from poller.template import Template
from poller.template_async import NOTHING_SET

if TYPE_CHECKING:
    from poller.account.configs import Account

LONGEST_PAGE = 50

DESTINATION_PATTERN = (
    r"$|kafka://([^.]([a-zA-Z0-9\-_.]{0,248}))|arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:"
    r"((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1})?:(\d{12})?:(.*)"
)
"""AWS's, to the letter: it stands in the text."""

_DESTINATION = re.compile(DESTINATION_PATTERN, re.ASCII)
_PASSWORD = re.compile(r"(://[^:/@]*:)[^@]*@")
_MEMBERS = ("MaximumRetryAttempts", "MaximumEventAgeInSeconds", "DestinationConfig")
_EVENTS = ("OnSuccess", "OnFailure")

_log = logging.getLogger(__name__)


class EventInvokeConfigs:
    """Any thread. Changes block for the disk."""

    def __init__(
        self,
        shelf: Shelf,
        account: Account,
        template: Template,
        calls: threading.RLock,
        time: Callable[[], float],
    ) -> None:
        self.shelf = shelf
        self._account = account
        self._template = template
        self._calls = calls
        self._time = time
        self._wired: dict[str, tuple[Document | None, AsyncConfiguration]] = {
            key_of(name): (shelf.get(key_of(name)), replace(item, dead_letter_queue=None))
            for name, item in template.asynchronous.items()
        }
        """By key: the document that it was made from, and what it means."""

    def qualified(self) -> list[str]:
        """Versions and aliases with a configuration, as `orders:live`: their records wait by themselves."""
        return [key for key in self.shelf.all() if not key.endswith(f":{LATEST}")]

    def configuration(self, name: str, qualifier: str) -> AsyncConfiguration:
        """What the events of a function, version or alias are treated by now. Does not block."""
        key = key_of(name, qualifier)
        document = self.shelf.get(key)
        if document is None:
            return AsyncConfiguration()
        found = self._wired.get(key)
        if found is None or found[0] is not document:
            try:
                wired = self._meaning(name, document, lambda *_: True)
            except ConfigError as error:
                # It was right when it was put: the settings have changed since.
                told = "; ".join(str(problem) for problem in error.problems)
                _log.error("the destinations of %s cannot be used, and its events have none: %s", key, told)
                plain = {member: item for member, item in document.items() if member != "DestinationConfig"}
                wired = self._meaning(name, plain, lambda *_: True)
            self._wired[key] = found = document, wired
        return found[1]

    def put(self, function_name: str, qualifier: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
        """PutFunctionEventInvokeConfig: what is left out is removed.

        Raises:
            ApiError: as B.2 has it; 409 when the template declares the function.
            StateError: nothing was changed.
        """
        return self._change(function_name, qualifier, body, lambda _, given: given)

    def update(self, function_name: str, qualifier: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
        """UpdateFunctionEventInvokeConfig: what is left out stays.

        Raises:
            ApiError: as `put`, and 404 where there is none.
            StateError: nothing was changed.
        """

        def merged(found: CalledFunction, given: dict[str, Any]) -> dict[str, Any]:
            before = self._existing(found)
            destinations = {**before.get("DestinationConfig", {}), **given.get("DestinationConfig", {})}
            return {**before, **given, **({"DestinationConfig": destinations} if destinations else {})}

        return self._change(function_name, qualifier, body, merged)

    def get(self, function_name: str, qualifier: str | None) -> dict[str, Any]:
        """GetFunctionEventInvokeConfig.

        Raises:
            ApiError: 404, there is none.
        """
        found = called(self._account, function_name, qualifier)
        return self._answer(key_of(found.name, found.qualifier), self._existing(found))

    def delete(self, function_name: str, qualifier: str | None) -> None:
        """DeleteFunctionEventInvokeConfig.

        Raises:
            ApiError: 404, there is none; 409 when the template declares the function.
            StateError: nothing was changed.
        """
        found = called(self._account, function_name, qualifier)
        with self._calls:
            self._existing(found)
            self.shelf.put(key_of(found.name, found.qualifier), None)

    def listed(self, function_name: str, marker: str | None, most: str | None) -> dict[str, Any]:
        """ListFunctionEventInvokeConfigs, by qualifier, `$LATEST` first.

        Raises:
            ApiError: 404, no such function; 400, MaxItems out of range.
        """
        found = called(self._account, function_name)
        count = max_items(most, LONGEST_PAGE) or LONGEST_PAGE
        if not self._account.has(found.name):
            raise _no_function()
        configs = {key: item for key, item in self.shelf.all().items() if function_of(key) == found.name}
        keys = [key for key in sorted(configs) if marker is None or key.partition(":")[2] > marker]
        answer: dict[str, Any] = {
            "FunctionEventInvokeConfigs": [self._answer(key, configs[key]) for key in keys[:count]]
        }
        if len(keys) > count:
            answer["NextMarker"] = keys[count - 1].partition(":")[2]
        return answer

    def _change(
        self,
        function_name: str,
        qualifier: str | None,
        body: Mapping[str, Any],
        complete: Callable[[CalledFunction, dict[str, Any]], Document],
    ) -> dict[str, Any]:
        found = called(self._account, function_name, qualifier)
        given = _given(body)
        if not given:
            raise invalid_parameter(NOTHING_SET)
        key = key_of(found.name, found.qualifier)
        with self._calls:
            if not existing(self._account, found):
                raise _no_function()
            document = {**complete(found, given), "LastModified": self._time()}
            try:
                wired = self._meaning(found.name, document, self._account.has)
            except ConfigError as error:
                raise error_of(error.problems) from None
            self.shelf.put(key, document)
            kept = self.shelf.get(key)
            if kept is not None:
                self._wired[key] = kept, wired
            return self._answer(key, document)

    def _existing(self, found: CalledFunction) -> Document:
        key = key_of(found.name, found.qualifier)
        document = self.shelf.get(key) if existing(self._account, found) else None
        if document is None:
            arn = f"{function_arn(self._account, found.name)}:{key.partition(':')[2]}"
            raise ApiError(404, NOT_FOUND, f"The function {arn} doesn't have an EventInvokeConfig")
        return document

    def _meaning(self, name: str, document: Document, has: Callable[[str, str], bool]) -> AsyncConfiguration:
        config = EventInvokeConfig.model_validate({key: document[key] for key in _MEMBERS if key in document})
        template = self._template
        return wire_event_invoke_config(
            name, config, has, template.mappings, settings=template.settings, folder=template.path.parent
        )

    def _answer(self, key: str, document: Document) -> dict[str, Any]:
        """Members that were never configured are left out, and defaults are not filled in (B.2)."""
        destinations = document.get("DestinationConfig", {})
        shown = {}
        for event in _EVENTS:
            text = destinations.get(event, {}).get("Destination", "")
            shown[event] = {"Destination": _PASSWORD.sub(r"\1***@", text)} if text else {}
        return {
            "DestinationConfig": shown,
            "FunctionArn": f"{function_arn(self._account, function_of(key))}:{key.partition(':')[2]}",
            "LastModified": document["LastModified"],
            **{name: document[name] for name in _MEMBERS[:2] if document.get(name) is not None},
        }


def _given(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a body sets, valid by itself.

    Raises:
        ApiError: 400, with everything that is out of its range.
    """
    config = request_of(EventInvokeConfig, body)
    destinations = config.DestinationConfig
    for event, destination in (("OnSuccess", destinations.OnSuccess), ("OnFailure", destinations.OnFailure)):
        text = destination.Destination
        if text.startswith("arn") and not _DESTINATION.fullmatch(text):
            raise violation(text, f"DestinationConfig.{event}.Destination", matching(DESTINATION_PATTERN))
        if destination.Type is not None:
            raise invalid_parameter(f"unknown parameter: DestinationConfig.{event}.Type")
    given: dict[str, Any] = config.model_dump(mode="json", exclude_unset=True)
    return given


def _no_function() -> ApiError:
    return ApiError(404, NOT_FOUND, "The function doesn't exist.")
