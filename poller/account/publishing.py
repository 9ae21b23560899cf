"""The calls on versions and aliases (A.7), as the API's take and answer them. Any thread; they block for the disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from poller.account import function_requests as requests
from poller.account.aliases import Alias, routing_of
from poller.account.catalogue import Catalogue
from poller.account.entries import Entry, new_revision, published
from poller.account.function_requests import page, refuse_revision, request_of
from poller.account.functions import LONGEST_PAGE, Functions
from poller.account.shapes import Structure, checked
from poller.account.versions import order
from poller.api_errors import CONFLICT, NOT_FOUND, ApiError, invalid_parameter
from poller.invocation_request import LATEST, CalledFunction

_NAMED = Structure({"Name": requests.ALIAS_NAME})
_OF_VERSION = Structure({"FunctionVersion": requests.FUNCTION_VERSION})


class Publishing:
    """The calls on the versions and aliases of a catalogue's functions."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._catalogue: Catalogue = functions.catalogue
        self.check_alias: Callable[[str, Alias], None] = lambda *_: None
        """Refuses that an alias of the function of that name becomes such a one, with an ApiError."""

    def publish_version(self, function_name: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """PublishVersion: the configuration of the new version, or of the last one where nothing has changed since.

        Raises:
            ApiError: 400, 404, 409 or 412.
            StateError: it could not be kept, and there is no such version.
        """
        request = request_of(values, requests.PUBLISH_VERSION)
        called = self._functions.unqualified(function_name)
        catalogue = self._catalogue
        with catalogue.changing:
            entry = catalogue.changeable(called)
            refuse_revision(request.get("RevisionId"), entry.latest.revision_id)
            latest = self._functions.frozen(entry.latest)
            wanted, present = request.get("CodeSha256"), latest.code_sha256
            if wanted and wanted != present:
                text = f"CodeSHA256 ({wanted}) is different from current CodeSHA256 in $LATEST ({present})."
                raise invalid_parameter(f"{text} Please try again with the CodeSHA256 in $LATEST.")
            after, version = published(entry, latest, self._functions.clock(), request.get("Description"))
            if after is not entry:
                catalogue.put(replace(after, latest=replace(entry.latest, revision_id=new_revision())))
            return version.answer(catalogue.arn(called.name, version.version), catalogue.region)

    def list_versions_by_function(
        self, function_name: str, marker: str | None = None, max_items: int | None = None
    ) -> dict[str, Any]:
        """ListVersionsByFunction: `$LATEST` first; at most 50, and `NextMarker` where there are more.

        Raises:
            ApiError: 400 or 404.
        """
        called, entry = self._existing(function_name)
        versions = {version.version: version for version in entry.versions()}
        shown, following = page(list(versions), marker, max_items, LONGEST_PAGE, key=order)
        arn = self._catalogue.arn(called.name)
        listed = [self._functions.as_it_is(versions[number]).listed(f"{arn}:{number}") for number in shown]
        return {"Versions": listed} if following is None else {"Versions": listed, "NextMarker": following}

    def create_alias(self, function_name: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """CreateAlias: the alias.

        Raises:
            ApiError: 400, 404 or 409.
            StateError: it could not be kept, and there is no such alias.
        """
        request = request_of(values, requests.CREATE_ALIAS)
        called = self._functions.unqualified(function_name)
        name, version = request["Name"], request["FunctionVersion"]
        catalogue = self._catalogue
        with catalogue.changing:
            if catalogue.get(called.name) is None:
                raise ApiError(404, NOT_FOUND, f"Function not found: {catalogue.arn(called.name, version)}")
            entry = catalogue.changeable(called)
            if name in entry.aliases:
                raise ApiError(409, CONFLICT, f"Alias already exists: {catalogue.arn(called.name, name)}")
            alias = self._alias(called, entry, Alias(name, version, ""), request)
            catalogue.put(replace(entry, aliases={**entry.aliases, name: alias}))
            return alias.answer(called.arn)

    def get_alias(self, function_name: str, name: str) -> dict[str, Any]:
        """GetAlias.

        Raises:
            ApiError: 400 or 404.
        """
        checked({"Name": name}, _NAMED)
        called, entry = self._existing(function_name)
        alias = entry.aliases.get(name)
        if alias is None:
            raise ApiError(404, NOT_FOUND, f"Cannot find alias arn: {self._catalogue.arn(called.name, name)}")
        return alias.answer(called.arn)

    def list_aliases(
        self,
        function_name: str,
        function_version: str | None = None,
        marker: str | None = None,
        max_items: int | None = None,
    ) -> dict[str, Any]:
        """ListAliases: by name; at most 50, and `NextMarker` where there are more.

        Args:
            function_name: of a function.
            function_version: only those that lead to it.
            marker: from the page before.
            max_items: most for this page.

        Raises:
            ApiError: 400 or 404.
        """
        if function_version is not None:
            checked({"FunctionVersion": function_version}, _OF_VERSION)
        called, entry = self._existing(function_name)
        names = [name for name in sorted(entry.aliases) if function_version in {None, *entry.aliases[name].versions}]
        shown, following = page(names, marker, max_items, LONGEST_PAGE)
        listed = [entry.aliases[name].answer(called.arn) for name in shown]
        return {"Aliases": listed} if following is None else {"Aliases": listed, "NextMarker": following}

    def update_alias(self, function_name: str, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """UpdateAlias: the alias as it is now. What is left out stays; an empty RoutingConfig takes the weights away.

        Raises:
            ApiError: 400, 404, 409 or 412.
            StateError: it could not be kept, and nothing has changed.
        """
        checked({"Name": name}, _NAMED)
        request = request_of(values, requests.UPDATE_ALIAS)
        called = self._functions.unqualified(function_name)
        catalogue = self._catalogue
        with catalogue.changing:
            entry = catalogue.changeable(called)
            before = entry.aliases.get(name)
            if before is None:
                raise ApiError(404, NOT_FOUND, f"Alias not found: {catalogue.arn(called.name, name)}")
            refuse_revision(request.get("RevisionId"), before.revision_id)
            alias = self._alias(called, entry, before, request)
            self.check_alias(called.name, alias)
            catalogue.put(replace(entry, aliases={**entry.aliases, name: alias}))
            return alias.answer(called.arn)

    def delete_alias(self, function_name: str, name: str) -> None:
        """DeleteAlias: also of one that there is not.

        Raises:
            ApiError: 400, 404 or 409.
            StateError: it could not be kept, and the alias stays.
        """
        checked({"Name": name}, _NAMED)
        called = self._functions.unqualified(function_name)
        catalogue = self._catalogue
        with catalogue.changing:
            entry = catalogue.changeable(called)
            if name in entry.aliases:
                left = {key: alias for key, alias in entry.aliases.items() if key != name}
                catalogue.put(replace(entry, aliases=left), gone=[name])

    def _existing(self, function_name: str) -> tuple[CalledFunction, Entry]:
        called = self._functions.unqualified(function_name)
        entry, _ = self._catalogue.existing(called)
        return called, entry

    def _alias(self, called: CalledFunction, entry: Entry, before: Alias, request: Mapping[str, Any]) -> Alias:
        """The alias after a request, with versions that there are."""
        version = request.get("FunctionVersion", before.version)
        routing = request.get("RoutingConfig")
        weights = {"AdditionalVersionWeights": before.weights} if routing is None else routing
        alias = Alias(
            before.name,
            version,
            request.get("Description", before.description),
            routing_of(weights, version),
            new_revision(),
        )
        for number in alias.versions:
            if number != LATEST and number not in entry.published:
                raise ApiError(404, NOT_FOUND, f"Function not found: {self._catalogue.arn(called.name, number)}")
        return alias
