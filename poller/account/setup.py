"""An account's functions, set up: the template's, and those that calls have made, with what runs of them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from poller.account.catalogue import Catalogue
from poller.account.documents import Documents
from poller.account.entries import Entry
from poller.account.environments import Environments, MakeFunctionPool
from poller.account.folders import Package
from poller.account.function_layers import FunctionLayers
from poller.account.functions import Functions
from poller.account.layer_calls import Layers
from poller.account.layer_shelf import LayerShelf
from poller.account.packages import Packages
from poller.account.publishing import Publishing
from poller.account.versions import DEFAULTS, FunctionVersion
from poller.api_errors import error_of, invalid_parameter
from poller.async_invoke.configuration import AsyncConfiguration
from poller.async_wiring import wire_async
from poller.clock import Clock
from poller.errors import ConfigError
from poller.event_invoke import DeadLetterTarget
from poller.invocation_request import LATEST
from poller.model import FunctionConfiguration
from poller.policy.workers import Share
from poller.resources import Function
from poller.runtime_support import unsupported, warn_of_substitutions
from poller.template import Template
from poller.template_async import DeclaredAsync
from poller.validation import under

_NAMESPACE = uuid.UUID("7d0a4b0e-3a0b-5a39-93d1-1f0f3d7f1b7e")


class AccountFunctions:
    """The parts, and how a function's asynchronous events are treated. Starts nothing.

    Args:
        template: whose functions are declared, and whose settings apply.
        share: what this process runs.
        clock: for LastModified.
        documents: what calls made; of a worker, which answers no calls, nothing is restored.
        make_pool: as of `Environments`.

    Raises:
        StateError: the documents cannot be read.
    """

    def __init__(
        self,
        template: Template,
        share: Share,
        clock: Clock,
        documents: Documents,
        make_pool: MakeFunctionPool | None = None,
    ) -> None:
        settings = template.settings
        self._template = template
        self.environments = Environments(settings.AccountConcurrency, share, make_pool)
        base = FunctionConfiguration(
            "",
            Path(),
            "",
            account_id=settings.AccountId,
            region=settings.Region,
            runtime_client=settings.RuntimeClient,
        )
        self.catalogue = Catalogue(
            base,
            documents,
            Packages(template.state_folder),
            self.environments,
            allow_drift=settings.AllowDrift,
        )
        restore = share.workers == 1
        shelf = LayerShelf(self.catalogue, documents, restore=restore)
        self.layers = Layers(shelf, clock.time)
        of_functions = FunctionLayers(shelf)
        self.functions = Functions(self.catalogue, of_functions, clock.time, self._check)
        self.publishing = Publishing(self.functions)
        self.catalogue.declare([_declared(function, clock.time()) for function in template.functions])
        if restore:
            self.catalogue.restore()

    def asynchronous(self, name: str) -> AsyncConfiguration:
        """How a function's asynchronous events are treated: as the template says, or with its DeadLetterConfig."""
        declared = self._template.asynchronous.get(name)
        if declared is not None:
            return declared
        entry = self.catalogue.get(name)
        return AsyncConfiguration() if entry is None else self._with_dead_letters(name, entry.latest.properties)

    def runtimes(self) -> Iterable[tuple[str, str]]:
        """Every function that there is now, with its `Runtime`."""
        for name in self.catalogue.names():
            if (entry := self.catalogue.get(name)) is not None:
                yield name, entry.latest.properties["Runtime"]

    def _check(self, name: str, properties: Mapping[str, Any]) -> None:
        """Tell in the log where another version runs it.

        Raises:
            ApiError: 400, this machine does not run the function, or has no such dead-letter queue.
        """
        strict = self._template.settings.StrictRuntime
        wrong = unsupported(properties["Runtime"], Path(), client="poller", strict=strict)
        if wrong is not None:
            raise invalid_parameter(*wrong)
        self._with_dead_letters(name, properties)
        warn_of_substitutions([(name, properties["Runtime"])])

    def _with_dead_letters(self, name: str, properties: Mapping[str, Any]) -> AsyncConfiguration:
        """Raises ApiError: 400, nothing is known of where the dead-letter queue is."""
        arn = properties.get("DeadLetterConfig", {}).get("TargetArn")
        if not arn:
            return AsyncConfiguration()
        declared = DeclaredAsync(
            dead_letters=DeadLetterTarget(TargetArn=arn), dead_letters_at=under("DeadLetterConfig")
        )
        template = self._template
        try:
            wired = wire_async(
                {name: declared}, [name], template.mappings, template.settings, template.path.resolve().parent
            )
        except ConfigError as error:
            raise error_of(error.problems) from None
        return wired[name]


def _declared(function: Function, now: float) -> Entry:
    """A function of the template."""
    properties = {
        **DEFAULTS,
        "Handler": function.Handler,
        "Runtime": function.Runtime,
        "Timeout": function.Timeout,
        "MemorySize": function.MemorySize,
        "EphemeralStorage": {"Size": function.EphemeralStorage.Size},
    }
    if function.Environment.Variables:
        properties["Environment"] = {"Variables": dict(function.Environment.Variables)}
    code = Package(function.Code, "", 0)  # measured when somebody asks
    revision = uuid.uuid5(_NAMESPACE, json.dumps([function.FunctionName, properties], sort_keys=True))
    latest = FunctionVersion(
        function.FunctionName, LATEST, properties, code, is_folder=True, revision_id=str(revision), last_modified=now
    )
    return Entry(latest, declared=function.configuration())
