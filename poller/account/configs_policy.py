"""Resource policies: AddPermission, RemovePermission and GetPolicy. They are kept and shown; nobody is let in by them.

Statements have the members, and these the order, that the service was recorded with.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from poller.account.documents import Document
from poller.account.function_keys import called, existing, function_arn, key_of, not_here
from poller.account.shelf import Shelf
from poller.api_errors import (
    CONFLICT,
    NOT_FOUND,
    ApiError,
    invalid_parameter,
    mapping_missing,
    matching,
    no_longer,
    violation,
)
from poller.invocation_request import LATEST, CalledFunction
from poller.requests import request_of
from poller.validation import Boolean, Model, in_pattern

if TYPE_CHECKING:
    from poller.account.configs import Account

REMOVED_STATEMENT_PATTERN = r"([a-zA-Z0-9-_.]+)"
LONGEST_STATEMENT_ID = 100

LONGEST_POLICY = 20 * 1024
"""Bytes: AWS's quota of a function's policy."""

_SERVICE = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*\.(amazonaws\.com(\.cn)?|amazon\.com)", re.ASCII)
_PRINCIPAL = re.compile(r"arn:(aws[a-zA-Z-]*):(iam|sts)::(\d{12}|cloudfront):.+", re.ASCII)
_ACCOUNT = re.compile(r"\d{12}", re.ASCII)


def _by(pattern: str) -> Any:
    return in_pattern(pattern, "what it can be", pattern)


class AddPermission(Model):
    """The body of the call."""

    StatementId: Annotated[str, Field(min_length=1, max_length=100), _by(r"([a-zA-Z0-9-_]+)")]
    Action: Annotated[str, _by(r"(lambda:[*]|lambda:[a-zA-Z]+|[*])")]
    Principal: Annotated[str, Field(max_length=2048), _by(r"[^\s]+")]
    SourceArn: (
        Annotated[
            str,
            _by(
                r"arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1})?:"
                r"(\d{12})?:(.*)"
            ),
        ]
        | None
    ) = None
    FunctionUrlAuthType: Literal["NONE", "AWS_IAM"] | None = None
    InvokedViaFunctionUrl: Boolean | None = None
    SourceAccount: Annotated[str, _by(r"\d{12}")] | None = None
    EventSourceToken: Annotated[str, Field(max_length=256), _by(r"[a-zA-Z0-9._\-]+")] | None = None
    RevisionId: str | None = None
    PrincipalOrgID: Annotated[str, _by(r"o-[a-z0-9]{10,32}")] | None = None


class Policies:
    """Any thread. Changes block for the disk."""

    def __init__(self, shelf: Shelf, account: Account, calls: threading.RLock) -> None:
        self.shelf = shelf
        self._account = account
        self._calls = calls

    def add(self, function_name: str, qualifier: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
        """AddPermission.

        Raises:
            ApiError: as recorded; 409 when the template declares the function.
            StateError: nothing was changed.
        """
        found = called(self._account, function_name, qualifier)
        asked = request_of(AddPermission, body)
        if found.qualifier == LATEST:
            raise invalid_parameter("We currently do not support adding policies for $LATEST.")
        principal = _principal(asked.Principal)
        resource = function_arn(self._account, found.name) + (f":{found.qualifier}" if found.qualifier else "")
        statement = {
            "Sid": asked.StatementId,
            "Effect": "Allow",
            "Principal": principal,
            "Action": asked.Action,
            "Resource": resource,
            **_conditions(asked),
        }
        key = key_of(found.name, found.qualifier)
        with self._calls:
            if not existing(self._account, found):
                raise not_here(found)
            before = self.shelf.get(key)
            _check_revision(asked.RevisionId, before)
            statements = list(before["Statement"]) if before else []
            if any(item["Sid"] == asked.StatementId for item in statements):
                text = (
                    f"The statement id ({asked.StatementId}) provided already exists. Please provide a new statement "
                    "id, or remove the existing statement."
                )
                raise ApiError(409, CONFLICT, text)
            after = [*statements, statement]
            if len(_policy(after)) > LONGEST_POLICY:
                text = f"The final policy size is bigger than the limit ({LONGEST_POLICY})."
                raise ApiError(400, "PolicyLengthExceededException", text)
            self.shelf.put(key, _revised(after))
        return {"Statement": _json(statement)}

    def remove(self, function_name: str, statement_id: str, qualifier: str | None, revision: str | None) -> None:
        """RemovePermission.

        Raises:
            ApiError: as recorded; 409 when the template declares the function.
            StateError: nothing was changed.
        """
        found = called(self._account, function_name, qualifier)
        if not re.fullmatch(REMOVED_STATEMENT_PATTERN, statement_id, re.ASCII):
            raise violation(statement_id, "StatementId", matching(REMOVED_STATEMENT_PATTERN))
        if len(statement_id) > LONGEST_STATEMENT_ID:
            raise violation(statement_id, "StatementId", no_longer(LONGEST_STATEMENT_ID))
        if not existing(self._account, found):
            missing = not_here(found)
            text = missing.text.replace("Function not found: ", "No policy found for: ")
            raise ApiError(missing.status, missing.type, text)
        key = key_of(found.name, found.qualifier)
        with self._calls:
            before = self.shelf.get(key)
            if before is None:
                raise ApiError(404, NOT_FOUND, "No policy is associated with the given resource.")
            after = [item for item in before["Statement"] if item["Sid"] != statement_id]
            if len(after) == len(before["Statement"]):
                raise ApiError(404, NOT_FOUND, f"Statement {statement_id} is not found in resource policy.")
            _check_revision(revision, before)
            self.shelf.put(key, _revised(after) if after else None)

    def get(self, function_name: str, qualifier: str | None) -> dict[str, Any]:
        """GetPolicy.

        Raises:
            ApiError: 404, there is none.
        """
        found: CalledFunction = called(self._account, function_name, qualifier)
        document = self.shelf.get(key_of(found.name, found.qualifier)) if existing(self._account, found) else None
        if document is None:
            raise mapping_missing()  # the same words: "The resource you requested does not exist."
        return {"Policy": _policy(document["Statement"]), "RevisionId": document["RevisionId"]}


def _principal(text: str) -> Any:
    if text == "*":
        return text
    if _ACCOUNT.fullmatch(text):
        return {"AWS": f"arn:aws:iam::{text}:root"}
    if _PRINCIPAL.fullmatch(text):
        return {"AWS": text}
    if _SERVICE.fullmatch(text):
        return {"Service": text}
    raise invalid_parameter("The provided principal was invalid. Please check the principal and try again.")


def _conditions(asked: AddPermission) -> dict[str, Any]:
    equal = {
        "AWS:SourceAccount": asked.SourceAccount,
        "lambda:EventSourceToken": asked.EventSourceToken,
        "aws:PrincipalOrgID": asked.PrincipalOrgID,
        "lambda:FunctionUrlAuthType": asked.FunctionUrlAuthType,
    }
    conditions: dict[str, Any] = {}
    if given := {name: value for name, value in equal.items() if value is not None}:
        conditions["StringEquals"] = given
    if asked.InvokedViaFunctionUrl is not None:
        conditions["Bool"] = {"lambda:InvokedViaFunctionUrl": str(asked.InvokedViaFunctionUrl).lower()}
    if asked.SourceArn is not None:
        conditions["ArnLike"] = {"AWS:SourceArn": asked.SourceArn}
    return {"Condition": conditions} if conditions else {}


def _check_revision(given: str | None, before: Document | None) -> None:
    if given and (before is None or given != before["RevisionId"]):
        text = (
            "The Revision Id provided does not match the latest Revision Id. Call the GetPolicy API to retrieve the "
            "latest Revision Id"
        )
        raise ApiError(412, "PreconditionFailedException", text)


def _revised(statements: list[Any]) -> dict[str, Any]:
    return {"RevisionId": str(uuid.uuid4()), "Statement": statements}


def _policy(statements: list[Any]) -> str:
    return _json({"Version": "2012-10-17", "Id": "default", "Statement": statements})


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
