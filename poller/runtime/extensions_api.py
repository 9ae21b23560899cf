"""Lambda's Extensions API (E.1, E.3): who registered for which events, and what each still has to be told. Pure.

An extension registers during init and then asks for events, one at a time, like a runtime: INVOKE when an event goes to
the handler, SHUTDOWN at the end. External ones are programs of their own, known by their file's name before they
register; internal ones live in the handler's process and are not told of the end.
"""

from __future__ import annotations

import json
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from poller.model import FunctionConfiguration
from poller.runtime.answers import compact
from poller.runtime.frames import Frame
from poller.runtime.http_wire import Reply, Request
from poller.runtime.platform_records import Record
from poller.runtime.runtime_api import ACCEPTED, JSON, Answer, not_found, refusal
from poller.runtime.telemetry import LOGS, TELEMETRY, Subscription, subscription

VERSION = "/2020-01-01/extension"
NEXT = f"{VERSION}/event/next"
IDENTIFIER = "lambda-extension-identifier"
MAXIMUM_EXTENSIONS = 10

_SUBSCRIBES = {TELEMETRY: "Telemetry", LOGS: "Logs"}
_EVENTS = {True: {"INVOKE", "SHUTDOWN"}, False: {"INVOKE"}}
"""What an external extension may register for, and an internal one."""


@dataclass(slots=True)
class _Extension:
    name: str
    external: bool
    identifier: str
    events: frozenset[str] = frozenset()
    registered: bool = False
    asked: bool = False
    """It has asked for its first event: its init is over."""
    waits: bool = False
    """It has asked for an event and got none yet."""
    untold: deque[Mapping[str, Any]] = field(default_factory=deque)


class Due(NamedTuple):
    """An event for an extension whose call waits for one."""

    identifier: str
    reply: Reply


class ExtensionsApi:
    """The extensions of one environment. Used on its thread.

    Args:
        configuration: of the function.
        external: file names of the programs that are started.
        identifiers: makes new ones.
    """

    def __init__(
        self,
        configuration: FunctionConfiguration,
        external: Sequence[str],
        identifiers: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._configuration = configuration
        self._identifiers = identifiers
        self._extensions = [_Extension(name, external=True, identifier=identifiers()) for name in external]
        self.subscriptions: list[Subscription] = []
        """To telemetry, in their order."""
        self.states: list[Record] = []
        """Records of platform.extension: of those that became ready or failed, in their order."""
        self.closed = False
        """No further internal ones may register: the runtime has asked for its first event."""
        self.initialized = False
        """Nobody may subscribe any more: the init of all is over."""

    @property
    def ready(self) -> bool:
        """Whether the init of all is over."""
        return all(extension.asked for extension in self._extensions)

    def handle(self, request: Request) -> Answer | None:
        """Answer a call; None when it is of another API."""
        if (api := request.path.removesuffix("/")) in _SUBSCRIBES:
            return self._subscribe(api, request)
        if not request.path.startswith(VERSION):
            return None
        calls = {"register": ("POST", self._register), "event/next": ("GET", self._next)}
        calls |= {"init/error": ("POST", self._init_error), "exit/error": ("POST", self._exit_error)}
        method, call = calls.get(request.path.removeprefix(f"{VERSION}/"), ("", None))
        if call is None:
            return Answer(not_found())
        if request.method != method:
            return Answer(Reply(405, (("Allow", method),)))
        return call(request)

    @property
    def idle(self) -> bool:
        """Whether all who are told of events have asked for the next one: before that Lambda does not give it out."""
        return all(extension.waits for extension in self._extensions if "INVOKE" in extension.events)

    def announce(self, event: Mapping[str, Any]) -> list[Due]:
        """Tell those who registered for an event of this `eventType`; what those get whose calls wait."""
        told = [extension for extension in self._extensions if event["eventType"] in extension.events]
        for extension in told:
            extension.untold.append(event)
        return [Due(extension.identifier, self._event_of(extension)) for extension in told if extension.asked]

    def stays_until_told(self, name: str) -> bool:
        """Whether a program is to be told of the end, and registered for that."""
        return any(one.name == name and "SHUTDOWN" in one.events for one in self._extensions)

    @property
    def registered(self) -> bool:
        """Whether there are any, external or internal."""
        return bool(self._extensions)

    def told(self, identifier: str) -> None:
        """The first event that was due went out."""
        extension = self._known(identifier)
        extension.untold.popleft()
        extension.waits = False

    def _known(self, identifier: str) -> _Extension:
        return next(extension for extension in self._extensions if extension.identifier == identifier)

    def _event_of(self, extension: _Extension) -> Reply:
        identifier = ("Lambda-Extension-Event-Identifier", self._identifiers())
        return Reply(200, (*JSON, identifier), json.dumps(extension.untold[0], separators=(",", ":")).encode())

    def _register(self, request: Request) -> Answer:
        name = request.headers.get("lambda-extension-name", "")
        if not name:
            return _refused("Extension.InvalidExtensionName", "Empty extension name")
        try:
            events = frozenset(json.loads(request.body)["events"])
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            return _refused("InvalidRequestFormat", str(error))
        extension = next((one for one in self._extensions if one.name == name), None)
        refused = self._unfit(extension, events)
        if refused is not None:
            return refused
        if extension is None:
            extension = _Extension(name, external=False, identifier=self._identifiers())
            self._extensions.append(extension)
        extension.events, extension.registered = events, True
        known = {
            "functionName": self._configuration.function_name,
            "functionVersion": self._configuration.version,
            "handler": self._configuration.handler,
        }
        features = request.headers.get("lambda-extension-accept-feature", "").split(",")
        if "accountId" in map(str.strip, features):
            known["accountId"] = self._configuration.account_id
        headers = (*JSON, ("Lambda-Extension-Identifier", extension.identifier))
        return Answer(Reply(200, headers, compact(**known)))

    def _unfit(self, extension: _Extension | None, events: frozenset[str]) -> Answer | None:
        wrong = sorted(map(str, events - _EVENTS[extension is not None and extension.external]))
        if wrong:
            return _refused("Extension.InvalidEventType", f"{wrong[0]}: event not supported")
        if extension is not None and extension.registered:
            return _refused("Extension.InvalidExtensionState", "Extension with this name already registered")
        if extension is None and self.closed:
            return _refused("Extension.RegistrationClosed", "Extension registration closed already")
        if extension is None and len(self._extensions) >= MAXIMUM_EXTENSIONS:
            return _refused("Extension.TooManyExtensions", f"Extension limit ({MAXIMUM_EXTENSIONS}) reached")
        return None

    def _identified(self, request: Request) -> _Extension | Answer:
        identifier = request.headers.get(IDENTIFIER, "")
        if not identifier:
            name = "Lambda-Extension-Identifier"
            return _refused("Extension.MissingExtensionIdentifier", f"Missing {name} header")
        known = (one for one in self._extensions if one.registered and one.identifier == identifier)
        return next(known, None) or _refused("Extension.UnknownExtensionIdentifier", f"Unknown extension {identifier}")

    def _subscribe(self, api: str, request: Request) -> Answer:
        if request.method != "PUT":
            return Answer(Reply(405, (("Allow", "PUT"),)))
        extension = self._identified(request)
        if isinstance(extension, Answer):
            return extension
        if self.initialized:
            name = _SUBSCRIBES[api]
            return _refused(f"{name}.SubscriptionClosed", f"{name} API subscription is closed already")
        if any(one.name == extension.name and one.api != api for one in self.subscriptions):
            text = "the extension has subscribed by the other API, Logs or Telemetry, already"
            return Answer(refusal(400, "ValidationError", text))
        try:
            wanted = subscription(api, extension.name, request.body)
        except ValueError as error:
            return Answer(refusal(400, "ValidationError", str(error)))
        self.subscriptions.append(wanted)
        return Answer(Reply(200, (("Content-Type", "text/plain"),), b"OK"))

    def _next(self, request: Request) -> Answer:
        extension = self._identified(request)
        if isinstance(extension, Answer):
            return extension
        if not extension.asked:
            extension.asked = True
            self.states.append(_state(extension, "Ready"))
        if not extension.untold:
            extension.waits = True
            return Answer(None)
        reply = self._event_of(extension)
        extension.untold.popleft()
        extension.waits = False  # its call before may have hung up
        return Answer(reply)

    def _init_error(self, request: Request) -> Answer:
        return self._failed(request, "Extension.InitError")

    def _exit_error(self, request: Request) -> Answer:
        return self._failed(request, "Extension.ExitError")

    def _failed(self, request: Request, error_type: str) -> Answer:
        extension = self._identified(request)
        if isinstance(extension, Answer):
            return extension
        told = request.headers.get("lambda-extension-function-error-type", "")
        if not told:
            name = "Lambda-Extension-Function-Error-Type"
            return _refused("Extension.MissingHeader", f"{name} not found")
        self.states.append({**_state(extension, error_type.removeprefix("Extension.")), "errorType": told})
        return Answer(ACCEPTED, Frame({"type": "extension", "error_type": error_type, "reason": told}, b""))


def _state(extension: _Extension, state: str) -> Record:
    return {"name": extension.name, "state": state, "events": sorted(extension.events)}


def _refused(error_type: str, text: str) -> Answer:
    return Answer(refusal(403, error_type, text))
