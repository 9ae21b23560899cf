"""The calls on functions (A.7): create, get, list, update, delete. They take and answer what the API's do.

A change is carried out within its call: the answer shows the state with which it began, as AWS's does, and by the time
it is read the function is Active, or its update Successful. Any thread; calls block for the disk.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from poller.account import function_requests as requests
from poller.account.catalogue import Catalogue
from poller.account.documents import Change
from poller.account.entries import Entry, new_revision, published
from poller.account.folders import Package
from poller.account.function_layers import FunctionLayers
from poller.account.function_requests import (
    FUNCTION_NAME,
    GivenCode,
    code_of,
    is_unqualified,
    page,
    properties_of,
    refuse_revision,
    request_of,
)
from poller.account.packages import CODE_PATH
from poller.account.shapes import Structure, checked, violations
from poller.account.versions import FunctionVersion, order
from poller.api_errors import CONFLICT, ApiError, invalid_parameter, no_longer, one_of
from poller.invocation_request import LATEST, CalledFunction, called_function

LONGEST_PAGE = 50
"""Functions or versions of one page, whatever MaxItems says."""

LONGEST_NAME = 64

FUNCTIONS_ONLY = (
    "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. "
    "Please specify either a function name or an unqualified function ARN."
)

_ACCOUNT = re.compile(r"(?:^|:)(\d{12}):", re.ASCII)
_NAMED = Structure({"FunctionName": FUNCTION_NAME})


class Functions:
    """The calls on a catalogue's functions.

    Args:
        catalogue: what they change.
        clock: seconds since the epoch.
        layers: of the account.
        check: refuses properties that cannot be had here, of a function of that name.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        layers: FunctionLayers,
        clock: Callable[[], float] = time.time,
        check: Callable[[str, Mapping[str, Any]], None] = lambda *_: None,
    ) -> None:
        self.catalogue = catalogue
        self.clock = clock
        self._layers = layers
        self._check = check
        self.adopt_tags: Callable[[str, Mapping[str, str]], Sequence[Change]] = _tags
        """The documents of the tags that a function is created with."""
        self.tags_of: Callable[[str], Mapping[str, str]] = lambda _: {}
        """The tags of a function, as GetFunction shows them."""

    def create_function(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """CreateFunction: the configuration, Pending.

        Raises:
            ApiError: 400, 403, 409 or 413, with what is wrong.
            StateError: it could not be kept, and there is no such function.
        """
        request = request_of(values, requests.CREATE_FUNCTION)
        called = self._named(request["FunctionName"])
        if len(called.name) > LONGEST_NAME:
            detail = f"Value '{called.name}' at 'functionName' failed to satisfy constraint: {no_longer(LONGEST_NAME)}"
            raise invalid_parameter(f"1 validation error detected: {detail}")
        properties = properties_of(request, called.name)
        self._check(called.name, properties)
        self._layers.named(request.get("Layers", []))  # before anything is unpacked
        given = code_of(request["Code"])
        catalogue = self.catalogue
        if catalogue.get(called.name) is not None:
            raise _exists(called.name)
        with self._package(given) as package, catalogue.changing:
            if catalogue.get(called.name) is not None:
                raise _exists(called.name)
            latest = FunctionVersion(
                called.name,
                LATEST,
                properties,
                package,
                given.folder is not None,
                new_revision(),
                self.clock(),
                layers=self._layers.named(request.get("Layers", [])),
            )
            latest = self._layers.fitted(latest)
            answer = latest.created(catalogue.arn(called.name), catalogue.region)
            entry = Entry(replace(latest, revision_id=new_revision()))
            if request.get("Publish"):
                entry, version = published(entry, self.frozen(entry.latest), self.clock())
                answer["Version"] = version.version
            tags = request.get("Tags")
            catalogue.put(entry, also=self.adopt_tags(called.name, tags) if tags else ())
            return answer

    def get_function(self, function_name: str, qualifier: str | None = None) -> dict[str, Any]:
        """GetFunction: the configuration, and where its code is: a path of this service, or a `file:` URL of a folder.

        Raises:
            ApiError: 400 or 404.
        """
        called = self._called(function_name, qualifier)
        version = self.as_it_is(self.catalogue.existing(called)[1])
        answer: dict[str, Any] = {"Configuration": self._answer(called, version), "Code": self._location(version)}
        reserved = self.catalogue.reserved(called.name)
        if reserved is not None:
            answer["Concurrency"] = {"ReservedConcurrentExecutions": reserved}
        if tags := self.tags_of(called.name):
            answer["Tags"] = dict(tags)
        return answer

    def get_function_configuration(self, function_name: str, qualifier: str | None = None) -> dict[str, Any]:
        """GetFunctionConfiguration.

        Raises:
            ApiError: 400 or 404.
        """
        called = self._called(function_name, qualifier)
        return self._answer(called, self.as_it_is(self.catalogue.existing(called)[1]))

    def list_functions(
        self, function_version: str | None = None, marker: str | None = None, max_items: int | None = None
    ) -> dict[str, Any]:
        """ListFunctions: at most 50 configurations, and `NextMarker` where there are more.

        Raises:
            ApiError: 400.
        """
        if function_version not in {None, "ALL"}:
            text = f"Value '{function_version}' at 'functionVersion' failed to satisfy constraint: {one_of(['ALL'])}"
            raise violations([text])
        catalogue = self.catalogue
        everything = function_version == "ALL"
        found: dict[str, FunctionVersion] = {}
        for name in catalogue.names():
            entry = catalogue.get(name)
            if entry is not None:
                found |= {item.key: item for item in (entry.versions() if everything else [entry.latest])}
        shown, following = page(sorted(found, key=_place), marker, max_items, LONGEST_PAGE, key=_place)
        listed = [
            self.as_it_is(found[key]).listed(catalogue.arn(found[key].name, found[key].version if everything else ""))
            for key in shown
        ]
        return {"Functions": listed} if following is None else {"Functions": listed, "NextMarker": following}

    def update_function_code(self, function_name: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """UpdateFunctionCode: the configuration, InProgress; with Publish that of the new version, Pending.

        Raises:
            ApiError: 400, 404, 409, 412 or 413.
            StateError: it could not be kept, and nothing has changed.
        """
        request = request_of(values, requests.UPDATE_CODE)
        called = self.unqualified(function_name)
        self.catalogue.changeable(called)  # before anything is unpacked
        given = code_of(request)
        with self._package(given) as package, self.catalogue.changing:
            entry = self.catalogue.changeable(called)
            refuse_revision(request.get("RevisionId"), entry.latest.revision_id)
            properties = dict(entry.latest.properties)
            properties["Architectures"] = request.get("Architectures", properties["Architectures"])
            latest = replace(entry.latest, properties=properties, code=package, is_folder=given.folder is not None)
            return self._updated(entry, latest, publish=request.get("Publish", False), dry=request.get("DryRun", False))

    def update_function_configuration(self, function_name: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """UpdateFunctionConfiguration: the configuration, InProgress.

        Raises:
            ApiError: 400, 404, 409 or 412.
            StateError: it could not be kept, and nothing has changed.
        """
        request = request_of(values, requests.UPDATE_CONFIGURATION)
        called = self.unqualified(function_name)
        with self.catalogue.changing:
            entry = self.catalogue.changeable(called)
            refuse_revision(request.get("RevisionId"), entry.latest.revision_id)
            properties = properties_of(request, called.name, entry.latest.properties)
            self._check(called.name, properties)
            layers = entry.latest.layers
            if "Layers" in request:
                layers = self._layers.named(request["Layers"])
            return self._updated(entry, replace(entry.latest, properties=properties, layers=layers))

    def delete_function(self, function_name: str, qualifier: str | None = None) -> None:
        """DeleteFunction: all of it, or one version.

        Raises:
            ApiError: 400, 404 or 409.
            StateError: it could not be kept, and nothing has changed.
        """
        called = self._called(function_name, qualifier)
        if called.qualifier == LATEST:
            raise invalid_parameter("$LATEST version cannot be deleted without deleting the function.")
        if called.qualifier and not called.qualifier.startswith("$") and not called.qualifier.isdecimal():
            raise invalid_parameter("Deletion of aliases is not currently supported.")
        number = called.qualifier
        called = replace(called, qualifier="", arn=self.catalogue.arn(called.name))
        with self.catalogue.changing:
            entry = self.catalogue.changeable(called)
            if not number:
                self.catalogue.remove(called.name)
            elif number in entry.published:
                pointing = [alias.name for alias in entry.aliases.values() if number in alias.versions]
                if pointing:
                    raise ApiError(
                        409, CONFLICT, f"Version {number} is referenced by the aliases {', '.join(pointing)}."
                    )
                left = {key: version for key, version in entry.published.items() if key != number}
                self.catalogue.put(replace(entry, published=left), gone=[number])
        self.catalogue.collect()

    # --- for the calls on versions, too -------------------------------------------------------------------------------

    def code_size(self) -> int:
        """Bytes of all versions' packages, as their CodeSize shows them. Blocks while folders are measured."""
        entries = [entry for name in self.catalogue.names() if (entry := self.catalogue.get(name)) is not None]
        return sum(self.as_it_is(version).code.size for entry in entries for version in entry.versions())

    def unqualified(self, function_name: str) -> CalledFunction:
        """The function that a call names which is for functions only.

        Raises:
            ApiError: 400, 403 or 404.
        """
        checked({"FunctionName": function_name}, _NAMED)
        return self._named(function_name)

    def frozen(self, version: FunctionVersion) -> FunctionVersion:
        """The version with code that stays as it is now: a folder is copied.

        Raises:
            ApiError: the folder cannot be copied.
            StateError: the disk does not take it.
        """
        if not version.is_folder:
            return version
        package = self.catalogue.packages.add_folder(version.code.folder)
        self.catalogue.packages.let_go(package)  # the caller holds `changing`, and nothing is removed without it
        return replace(version, code=package, is_folder=False)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _named(self, function_name: str) -> CalledFunction:
        catalogue = self.catalogue
        account = _ACCOUNT.search(function_name)
        if account is not None and account[1] != catalogue.account_id:  # AWS gives no text
            raise ApiError(403, "AccessDeniedException", "", f"this is account {catalogue.account_id}")
        called = called_function(function_name, None, account_id=catalogue.account_id, region=catalogue.region)
        if not is_unqualified(called.qualifier):
            raise invalid_parameter(FUNCTIONS_ONLY)
        return replace(called, qualifier="", arn=catalogue.arn(called.name))

    def _called(self, function_name: str, qualifier: str | None) -> CalledFunction:
        catalogue = self.catalogue
        return called_function(function_name, qualifier, account_id=catalogue.account_id, region=catalogue.region)

    def _answer(self, called: CalledFunction, version: FunctionVersion) -> dict[str, Any]:
        return version.answer(self.catalogue.arn(called.name, called.qualifier), self.catalogue.region)

    def _location(self, version: FunctionVersion) -> dict[str, str]:
        location = self.catalogue.packages.location(version.code)
        return {"RepositoryType": "S3" if location.startswith(CODE_PATH) else "File", "Location": location}

    def _updated(
        self, entry: Entry, latest: FunctionVersion, *, publish: bool = False, dry: bool = False
    ) -> dict[str, Any]:
        latest = self._layers.fitted(latest)
        catalogue = self.catalogue
        arn = catalogue.arn(latest.name)
        latest = replace(latest, revision_id=new_revision(), last_modified=self.clock())
        shown = self.as_it_is(latest)
        answer = shown.updated(arn, catalogue.region)
        if dry:
            return shown.answer(arn, catalogue.region)
        after = replace(entry, latest=replace(latest, revision_id=new_revision()))
        if publish:
            after, version = published(after, self.frozen(after.latest), self.clock())
            answer = version.created(catalogue.arn(latest.name, version.version), catalogue.region)
        catalogue.put(after)
        return answer

    def as_it_is(self, version: FunctionVersion) -> FunctionVersion:
        """A version whose code is a folder, with what is in that folder now."""
        if not version.is_folder:
            return version
        try:
            return replace(version, code=self.catalogue.packages.folders.measured(version.code.folder))
        except ApiError:  # it is gone, or larger than a package may be: it is shown as it was last seen
            return version

    @contextmanager
    def _package(self, given: GivenCode) -> Iterator[Package]:
        """The code of a call, which nobody removes meanwhile."""
        packages = self.catalogue.packages
        if given.zip_file is None:
            assert given.folder is not None
            yield packages.folders.measured(given.folder)
            return
        package = packages.add_zip(given.zip_file)
        try:
            yield package
        finally:
            packages.let_go(package)
            self.catalogue.collect()


def _tags(name: str, tags: Mapping[str, str]) -> list[Change]:
    return [Change("Tags", f"function:{name}", {"Tags": dict(tags)})]


def _exists(name: str) -> ApiError:
    return ApiError(409, CONFLICT, f"Function already exist: {name}")


def _place(key: str) -> tuple[str, int]:
    name, _, version = key.rpartition(":")
    return name, order(version)
