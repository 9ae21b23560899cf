"""The door of Lambda's API: who may call, a request id for every answer, and which operation a path is.

`/metrics`, `/healthz` and `/readyz` stand before it: anybody may read them who can reach the port.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import lru_cache, partial
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from poller.api.answers import internal, refusal
from poller.api.call import Call, Head, Memory, Receive, Scope, Send, host_name, path_of
from poller.api.direct_invoke import DirectInvoke
from poller.api.functions import LONGEST_CODE
from poller.api.invocations import READ_HERE, Invocations
from poller.api.operations import BUILT, operation_of
from poller.api.passwords import check_password
from poller.api.s3_webhook import PATH as S3_EVENTS
from poller.api.s3_webhook import S3Webhook
from poller.api.signatures import Signatures
from poller.api_errors import VALIDATION, ApiError, invalid_parameter
from poller.fronts.url_front import UrlFront, asked
from poller.model import MAXIMUM_PAYLOAD
from poller.request_ids import new_request_id
from poller.settings import Settings

OPEN = frozenset({"/metrics", "/healthz", "/readyz"})
"""Paths that are no calls."""

READABLE_FOR = 600
"""Seconds for which what an answer refers to can be fetched without a signature of the client's own, as on AWS."""

_INVOKE = re.compile(
    r"/(?:2015-03-31/functions/([^/]+)/(invocations)"
    r"|2021-11-15/functions/([^/]+)/(response-streaming-invocations)"
    r"|2014-11-13/functions/([^/]+)/(invoke-async))/?"
)

_CODE = re.compile(r"/2015-03-31/functions(/[^/]+/code)?/?")
"""Calls that may bring a deployment package."""

_log = logging.getLogger(__name__)


class Door:
    """Whom the endpoint answers. A web page in a browser on the same machine is not among them.

    Args:
        hosts: names by which the service may be called, besides addresses and localhost. A name that anybody can let
            point to this machine (DNS rebinding) would make a web page's requests look like its own.
        signatures: what checks them, if they are checked.
        passwords: of S3 servers, which cannot sign: secret access keys by access key id. With `signatures` only.
    """

    def __init__(
        self,
        hosts: Collection[str] = (),
        signatures: Signatures | None = None,
        passwords: Mapping[str, str] | None = None,
    ) -> None:
        self._hosts = frozenset(host.lower() for host in hosts if host)
        self._signatures = signatures
        self._passwords = passwords or {}

    @property
    def checks_signatures(self) -> bool:
        """Whether who calls is asked for more than `look_at_page` wants."""
        return self._signatures is not None

    def readable(self, url: str) -> str:
        """A URL of this service that can be read as it is for ten minutes, as on AWS. Any thread."""
        return url if self._signatures is None else self._signatures.presigned(url, READABLE_FOR)

    async def look(self, call: Call) -> None:
        """Return when the call may come in.

        Raises:
            ApiError: 403, with the reason.
        """
        self.look_at_page(call)
        if self._signatures is not None:
            limit = LONGEST_CODE if _CODE.fullmatch(path_of(call.scope)) else MAXIMUM_PAYLOAD
            body = await call.body(limit, partial(_beyond, limit))
            await self._signatures.checked(call, body, READ_HERE)

    def look_at_notification(self, call: Call) -> None:
        """The same for a notification of S3: where calls are signed, it comes with a key as user and password.

        Raises:
            ApiError: 403, with the reason.
        """
        self.look_at_page(call)
        if self._signatures is not None:
            check_password(call, self._passwords)

    def look_at_page(self, call: Head) -> None:
        """Whether the call may come from where it comes, by its head.

        Raises:
            ApiError: 403, with the reason.
        """
        # No client of AWS says which page it is from; browsers do, and of what has no Origin (a picture) they say whose
        # page wants it: `none` is a person's own typing.
        if b"origin" in call.headers or call.headers.get(b"sec-fetch-site", b"none") != b"none":
            raise ApiError(403, "AccessDeniedException", "Calls from web pages are not accepted.")
        host = call.header(b"host") or ""
        if not _is_ours(host) and host_name(host) not in self._hosts:
            text = f"This service is not called {host!r}: use an IP address or localhost, or add the name to Hosts."
            raise ApiError(403, "AccessDeniedException", text)


def door(settings: Settings) -> Door:
    """The door as the settings want it."""
    signatures, keys = None, {}
    if settings.RequireSignature:
        keys = {key: secret.get_secret_value() for key, secret in settings.SignatureKeys.items()}
        signatures = Signatures(keys, settings.Region)
    return Door([name.strip() for name in settings.Hosts.split(",")], signatures, keys)


class Endpoint:
    """An ASGI application: Invoke and its like itself, all else by `app`, whose unknown paths it explains."""

    def __init__(
        self,
        app: Starlette,
        invocations: Invocations | str,
        door: Door | None = None,
        s3: S3Webhook | None = None,
        urls: UrlFront | None = None,
    ) -> None:
        """Take over an application.

        Args:
            app: routes of the other calls, and those of `OPEN`.
            invocations: the operations, or why they cannot be called here.
            door: whom to answer.
            s3: what takes notifications of S3, where they can be taken.
            urls: function URLs, which stand before the door; None when there are none here.
        """
        self._app = app
        app.router.redirect_slashes = False
        app.add_exception_handler(404, _unknown)
        app.add_exception_handler(405, _unknown)
        app.add_exception_handler(ClientDisconnect, _gone)
        app.add_exception_handler(ApiError, _refused)
        app.add_exception_handler(Exception, _fault)
        self._door = door or Door()
        self._s3 = s3
        self._urls = urls
        self._memory = Memory()
        self._refusal = invocations if isinstance(invocations, str) else ""
        self._invoke: dict[str, Callable[[Call, str], Awaitable[None]]] = {}
        self.direct: DirectInvoke | None = None
        """The short way of ordinary calls; signatures need the whole one."""
        if not isinstance(invocations, str):
            if not self._door.checks_signatures:
                self.direct = DirectInvoke(self._door.look_at_page, invocations, self._memory)
            self._invoke = {
                "invocations": invocations.invoke,
                "response-streaming-invocations": invocations.invoke_with_response_stream,
                "invoke-async": invocations.invoke_async,
            }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        is_http = scope["type"] == "http"
        url = asked(scope) if is_http and self._urls is not None else None
        if not is_http or (url is None and scope["path"] in OPEN):
            await self._app(scope, receive, send)
            return
        call = Call(scope, receive, send, new_request_id(), self._memory)
        try:
            if url is not None and self._urls is not None:
                await self._urls.answer(call, url)  # open to everybody, and leads nowhere but to a function
            elif self._s3 is not None and path_of(scope).rstrip("/") == S3_EVENTS:
                self._door.look_at_notification(call)
                await self._s3.answer(call)
            else:
                await self._door.look(call)
                await self._answer(call, scope)
        except ApiError as error:
            # Quoted: what a caller has sent shall not look like lines of this log.
            _log.info("refused: %s %r: %r", scope["method"], path_of(scope), str(error))
            await call.refuse(error)
        except ConnectionError:
            pass  # the client went away: there is nobody to answer
        except Exception:
            if call.begun:
                raise
            _log.exception("%s %r", scope["method"], path_of(scope))
            await call.refuse(internal())
        finally:
            call.close()

    async def _answer(self, call: Call, scope: Scope) -> None:
        found = _INVOKE.fullmatch(path_of(scope)) if scope["method"] == "POST" else None
        if found is None:
            await call.hand_on(self._app)
            return
        if self._refusal:
            raise invalid_parameter(self._refusal)
        name, operation = filter(None, found.groups())
        await self._invoke[operation](call, unquote(name))


@lru_cache(256)
def _is_ours(host: str) -> bool:
    """Whether no page of somebody else's can have this name: an address is nobody's name, and localhost is here."""
    name = host_name(host)
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _unknown(request: Request, _: Exception) -> Response:
    path = path_of(request.scope)
    operation = operation_of(request.method, path, request.scope["query_string"].decode("latin-1"))
    if operation is None:
        error = ApiError(404, "UnknownOperationException", f"No operation of Lambda's API: {request.method} {path}")
    elif operation in BUILT:  # what is percent-encoded in it can be in no name, such as a line's end
        error = ApiError(400, VALIDATION, f"1 validation error detected: a name in this path cannot be one: {path}")
    else:
        error = ApiError(501, "NotImplementedException", f"The operation {operation} of Lambda's API is not built.")
    return refusal(error)


async def _gone(_: Request, __: Exception) -> Response:
    """The client went away before it had sent all: nobody reads this."""
    text = "The request ended before its body did."
    return refusal(ApiError(400, "InvalidRequestContentException", text))


async def _refused(_: Request, error: Exception) -> Response:
    """Of a body that is still coming in: routes answer their own refusals themselves."""
    assert isinstance(error, ApiError)
    return refusal(error)


async def _fault(_: Request, __: Exception) -> Response:
    return refusal(internal())


def _beyond(limit: int, _: int | None) -> ApiError:
    text = f"Request must be smaller than {limit} bytes"
    return ApiError(413, "RequestEntityTooLargeException", text)
