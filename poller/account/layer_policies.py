"""Policies of layer versions: Add- and RemoveLayerVersionPermission, GetLayerVersionPolicy. Kept and shown, no more.

There is one account here, and it may use its own layers anyway.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from poller.account.configs_policy import LONGEST_POLICY
from poller.account.layer_shelf import LayerShelf, version_number
from poller.account.layers import ADD_PERMISSION, LayerVersion
from poller.account.shapes import Structure, Text, checked
from poller.api_errors import CONFLICT, NOT_FOUND, ApiError

_STATEMENT = Structure({"StatementId": Text(1, 100, "([a-zA-Z0-9-_]+)")})


class LayerPolicies:
    """Any thread. Changes block for the disk."""

    def __init__(self, shelf: LayerShelf) -> None:
        self._shelf = shelf

    def add(self, layer_name: str, number: str, body: Any, revision: str | None) -> dict[str, Any]:
        """AddLayerVersionPermission: the statement, and the policy's RevisionId.

        Raises:
            ApiError: 400, 403, 404, 409 or 412.
            StateError: nothing was changed.
        """
        request = checked(body, ADD_PERMISSION)
        added: dict[str, Any] = {}

        def change(version: LayerVersion) -> Mapping[str, Any]:
            before = _statements(version)
            sid = request["StatementId"]
            if any(item["Sid"] == sid for item in before):
                text = f"The statement id ({sid}) provided already exists. Please provide a new statement id, or remove"
                raise ApiError(409, CONFLICT, f"{text} the existing statement.")
            _refuse_revision(revision, version)
            statement = _statement(request, version.arn)
            after = [*before, statement]
            if len(_policy(after)) > LONGEST_POLICY:
                text = f"The final policy size is bigger than the limit ({LONGEST_POLICY})."
                raise ApiError(400, "PolicyLengthExceededException", text)
            policy = _revised(after)
            added.update(Statement=_json(statement), RevisionId=policy["RevisionId"])
            return policy

        self._change(layer_name, number, change)
        return added

    def remove(self, layer_name: str, number: str, statement_id: str, revision: str | None) -> None:
        """RemoveLayerVersionPermission.

        Raises:
            ApiError: 400, 403, 404 or 412.
            StateError: nothing was changed.
        """
        checked({"StatementId": statement_id}, _STATEMENT)

        def change(version: LayerVersion) -> Mapping[str, Any] | None:
            before = _statements(version)
            _refuse_revision(revision, version)
            after = [item for item in before if item["Sid"] != statement_id]
            if len(after) == len(before):
                raise ApiError(404, NOT_FOUND, f"Statement {statement_id} is not found in resource policy.")
            return _revised(after) if after else None

        self._change(layer_name, number, change)

    def get(self, layer_name: str, number: str) -> dict[str, Any]:
        """GetLayerVersionPolicy.

        Raises:
            ApiError: 404, there is no such version, or no policy of it.
        """
        policy = self._version(layer_name, number).policy
        if policy is None:
            raise ApiError(404, NOT_FOUND, "No policy is associated with the given resource.")
        return {"Policy": _policy(policy["Statement"]), "RevisionId": policy["RevisionId"]}

    def _change(self, layer_name: str, number: str, change: Callable[[LayerVersion], Mapping[str, Any] | None]) -> None:
        with self._shelf.catalogue.changing:
            version = self._version(layer_name, number)
            self._shelf.put(self._shelf.name_of(layer_name), replace(version, policy=change(version)))

    def _version(self, layer_name: str, number: str) -> LayerVersion:
        name, wanted = self._shelf.name_of(layer_name), version_number(number)
        version = self._shelf.versions(name).get(wanted)
        if version is None:
            raise ApiError(404, NOT_FOUND, f"Layer version {self._shelf.arn(name)}:{wanted} does not exist.")
        return version


def _statements(version: LayerVersion) -> list[Mapping[str, Any]]:
    return [] if version.policy is None else list(version.policy["Statement"])


def _refuse_revision(given: str | None, version: LayerVersion) -> None:
    if given and (version.policy is None or given != version.policy["RevisionId"]):
        text = "The Revision Id provided does not match the latest Revision Id. Call the GetLayerPolicy API to retrieve"
        raise ApiError(412, "PreconditionFailedException", f"{text} the latest Revision Id")


def _statement(request: Mapping[str, Any], arn: str) -> dict[str, Any]:
    principal = request["Principal"]
    if re.fullmatch(r"\d{12}", principal, re.ASCII):
        principal = f"arn:aws:iam::{principal}:root"
    statement = {
        "Sid": request["StatementId"],
        "Effect": "Allow",
        "Principal": principal if principal == "*" else {"AWS": principal},
        "Action": request["Action"],
        "Resource": arn,
    }
    organization = request.get("OrganizationId")
    if organization is not None:
        statement["Condition"] = {"StringEquals": {"aws:PrincipalOrgID": organization}}
    return statement


def _revised(statements: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"RevisionId": str(uuid.uuid4()), "Statement": list(statements)}


def _policy(statements: Sequence[Mapping[str, Any]]) -> str:
    return _json({"Version": "2012-10-17", "Id": "default", "Statement": list(statements)})


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
