"""A service that runs already, for commands of the same template: whether there is one, and invocations by it."""

from __future__ import annotations

import base64
import hashlib
import http.client
import ipaddress
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from poller.errors import PollerError
from poller.model import InvocationResult
from poller.settings import Settings

IDENTITY = "X-Poller-Template"
"""Header of `/healthz`: which template the service runs."""

LOOKING = 2.0
"""Seconds to find out whether there is a service."""

PATIENCE = 960.0
"""Seconds for an answer: the longest timeout of a function, and its start."""

ACCEPTED, NO_CONTENT = 202, 204


class NoService(PollerError):  # noqa: N818 - reads as what it says
    """Nobody answers there, or not as Lambda's API does."""


def identity_of(template: Path) -> str:
    """What a service says of its template: a name for the file, from which nobody learns where it lies."""
    return hashlib.sha256(str(template.resolve()).encode(errors="surrogateescape")).hexdigest()[:32]


def found_for(template: Path, settings: Settings) -> str | None:
    """The URL of the service that runs this template, at the settings' Bind and Port; None when there is none.

    Blocks for `LOOKING` at most. Whoever else has the port is left alone.
    """
    if not settings.Port or settings.Workers > 1:  # a port that nobody knows, or a service that refuses to invoke
        return None
    url = f"http://{_host(settings.Bind)}:{settings.Port}"
    try:
        _, headers, _ = _ask(url, "GET", "/healthz", timeout=LOOKING)
    except NoService:
        return None
    return url if headers.get(IDENTITY.lower()) == identity_of(template) else None


@dataclass(frozen=True, slots=True)
class Asked:
    """One invocation, as Invoke has it (A.1)."""

    function: str
    """Name or ARN."""
    payload: bytes
    kind: str = "RequestResponse"
    qualifier: str | None = None
    client_context: str | None = None
    """JSON text."""
    log: bool = False


def invoke(url: str, asked: Asked, settings: Settings | None) -> InvocationResult:
    """Let the service invoke. Blocks until the function has answered, or the event is accepted.

    Args:
        url: of the service.
        asked: what.
        settings: with the keys to sign with, if signatures are wanted.

    Returns:
        As `poller.invoker.invoke`; 202 and 204 are answers without a payload.

    Raises:
        NoService: nobody answers.
    """
    path = f"/2015-03-31/functions/{quote(asked.function, safe='', errors='surrogateescape')}/invocations"
    if asked.qualifier is not None:
        path += "?" + urlencode({"Qualifier": asked.qualifier}, errors="surrogateescape")
    headers = {"X-Amz-Invocation-Type": asked.kind, "X-Amz-Log-Type": "Tail" if asked.log else "None"}
    if asked.client_context is not None:
        headers["X-Amz-Client-Context"] = base64.b64encode(asked.client_context.encode()).decode()
    if settings is not None and settings.RequireSignature:
        headers |= _signed(f"{url}{path}", headers, asked.payload, settings)
    begun = time.monotonic()
    status, given, body = _ask(url, "POST", path, headers=headers, body=asked.payload, timeout=PATIENCE)
    try:
        log = base64.b64decode(given.get("x-amz-log-result", ""))
    except ValueError:  # whoever that is
        log = b""
    return InvocationResult(
        given.get("x-amzn-requestid", ""),
        body,
        status,
        given.get("x-amz-function-error"),
        given.get("x-amz-executed-version", ""),
        duration=time.monotonic() - begun,
        log_tail=log,
    )


def refusal(result: InvocationResult) -> str:
    """Why the service refused, in its words."""
    try:
        body = json.loads(result.payload)
        return str(body.get("message") or body.get("Message"))
    except (ValueError, RecursionError, AttributeError):
        return result.payload[:200].decode(errors="replace")


def _host(bind: str) -> str:
    """How what is bound to that address is reached from here."""
    try:
        address = ipaddress.ip_address(bind)
    except ValueError:
        return bind
    if address.version == 4:  # noqa: PLR2004
        return "127.0.0.1" if address.is_unspecified else bind
    return "[::1]" if address.is_unspecified else f"[{bind}]"


def _signed(url: str, headers: Mapping[str, str], payload: bytes, settings: Settings) -> dict[str, str]:
    """The headers of AWS's signer, by the first of the keys."""
    from botocore.auth import SigV4Auth  # noqa: PLC0415 - only where signatures are wanted
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415
    from botocore.credentials import Credentials  # noqa: PLC0415

    key, secret = next(iter(settings.SignatureKeys.items()))
    request: Any = AWSRequest("POST", url, headers=dict(headers), data=payload)
    SigV4Auth(Credentials(key, secret.get_secret_value()), "lambda", settings.Region).add_auth(request)
    return dict(request.headers.items())


def _ask(
    url: str,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout: float,
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case, and body of the answer."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise NoService(f"{url} is no URL: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise NoService(f"{url} is no URL of a service: give one such as http://127.0.0.1:9001")
    make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = make(parts.hostname, port, timeout=timeout)
    try:
        connection.request(method, parts.path.rstrip("/") + path, body, dict(headers or {}))
        with connection.getresponse() as answer:
            given = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, given, answer.read()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoService(f"no service answers at {url}: {error or type(error).__name__}") from None
    finally:
        connection.close()
