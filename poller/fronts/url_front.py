"""Function URLs over HTTP (A.5): everybody may call them, from any web page and under any name.

Only a function can be reached here: what is no URL's id ends as 403, whatever its path would mean elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from time import monotonic
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool

from poller.api.call import JSON, Call, Scope, host_name, path_of
from poller.api.invocations import READ_HERE, RETRY_AFTER, Functions
from poller.api.signatures import Signatures, is_signed
from poller.api.streamed_response import StreamedResponse, StreamFailed
from poller.api_errors import ApiError
from poller.fronts.cross_origin import is_preflight, preflight, shared
from poller.fronts.events import Target, payload_2
from poller.fronts.exchange import Exchange, one_piece, read, send, send_in_pieces
from poller.fronts.front_metrics import URL, FrontMetrics
from poller.fronts.function_urls import FunctionUrls
from poller.fronts.replies import NoResponse, Reply, inferred
from poller.fronts.request import FrontRequest
from poller.fronts.streaming import has_prelude, names_prelude
from poller.fronts.url_config import FunctionUrl
from poller.model import InvocationResult
from poller.runtime.answers import compact

PREFIX = "/_url/"
HOST = ".lambda-url"

FORBIDDEN = (
    "Forbidden. For troubleshooting Function URL authorization issues, see: "
    "https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"
)
FAILED = Reply(502, (("content-type", "application/json"),), b"Internal Server Error")
"""The function failed, or what it returned cannot be sent."""

_ACCESS_DENIED = (b"x-amzn-errortype", b"AccessDeniedException")

_log = logging.getLogger(__name__)


class Asked(NamedTuple):
    """Which URL a request means, and the path below it."""

    url_id: str
    path: str


def asked(scope: Scope) -> Asked | None:
    """The URL that a request means, by its path or its Host header; None when it means none."""
    path = path_of(scope)
    if path.startswith(PREFIX):
        url_id, _, rest = path.removeprefix(PREFIX).partition("/")
        return Asked(url_id, f"/{rest}")
    host = next((value for name, value in scope["headers"] if name == b"host"), b"")
    if HOST.encode() not in host.lower():
        return None
    url_id, found, rest = host_name(host.decode("latin-1")).lower().partition(HOST)
    return Asked(url_id, path) if found and (not rest or rest.startswith(".")) else None


class UrlFront:
    """Answers requests to function URLs. For the loop's thread only.

    Args:
        urls: all there are.
        functions: whose URLs they are.
        signatures: makes what checks requests to URLs of AuthType AWS_IAM, when there is the first one; a text says why
            nothing can.
        metrics: counts requests.
    """

    def __init__(
        self,
        urls: FunctionUrls,
        functions: Functions,
        signatures: Callable[[], Signatures] | str,
        metrics: FrontMetrics,
    ) -> None:
        self._urls = urls
        self._exchange = Exchange(functions)
        self._metrics = metrics
        self._signatures = signatures if isinstance(signatures, str) else cache(signatures)

    async def answer(self, call: Call, asked: Asked) -> None:
        """Answer a request.

        Raises:
            ConnectionError: the client went away.
        """
        url = self._urls.find(asked.url_id)
        if url is None:
            await call.answer(403, [JSON, _ACCESS_DENIED], b'{"Message":null}')
            return
        began = monotonic()
        try:
            await self._answer(call, url, asked)
        finally:
            self._metrics.answered(URL, url.function_name, call.status, monotonic() - began)

    async def _answer(self, call: Call, url: FunctionUrl, asked: Asked) -> None:
        request = self._exchange.head(call, asked.path)
        cors = url.config.Cors
        if cors is not None and is_preflight(request):
            await send(call, preflight(cors, request, 200))
            return
        signed = url.config.AuthType == "AWS_IAM"
        if signed and (isinstance(self._signatures, str) or not is_signed(call)):
            await self._forbid(call)
            return
        try:
            request = await self._exchange.complete(call, request)
            await self._function_s(call, url, request)
        except ApiError as error:
            _log.info("refused: %s %r: %r", request.method, request.path, str(error))
            allowed = Reply(error.status) if cors is None else shared(cors, request, Reply(error.status))
            await call.refuse(error, [(name.encode(), value.encode()) for name, value in allowed.headers])

    async def _function_s(self, call: Call, url: FunctionUrl, request: FrontRequest) -> None:
        """What the function answers.

        Raises:
            ApiError: 403, the signature is wrong; 413, the event is too large; 409, the function cannot run now.
        """
        key = None
        if url.config.AuthType == "AWS_IAM":
            assert not isinstance(self._signatures, str)
            signatures = await run_in_threadpool(self._signatures)  # the first time, AWS's signer is loaded
            key = await signatures.checked(call, request.body, READ_HERE)
        target = self._target(url, key)
        asked = (request, url.function_name, url.qualifier, lambda: payload_2(request, target))
        response = result = None
        try:
            if url.config.InvokeMode == "RESPONSE_STREAM":
                response = await self._exchange.stream(*asked)
            else:
                result = await self._exchange.invoke(*asked)
        except LookupError:  # deleted a moment ago
            await call.answer(403, [JSON, _ACCESS_DENIED], b'{"Message":null}')
            return
        if response is not None:
            await self._stream(call, url, request, response)
            return
        assert result is not None  # it was waited for as long as it took
        await self._send(call, url, request, result)

    async def _stream(self, call: Call, url: FunctionUrl, request: FrontRequest, response: StreamedResponse) -> None:
        """Send what comes while the function still runs.

        Raises:
            ConnectionError: the function failed when part of its response was on its way, which ends there.
        """
        try:
            if not await response.begun():
                await self._send(call, url, request, await response.result())
                return
            kind = (("content-type", response.content_type or "application/octet-stream"),)
            head = None if names_prelude(response.content_type) else Reply(200, kind)
            trace = (b"x-amzn-trace-id", request.trace_id.encode())
            await send_in_pieces(call, response.pieces(), _finish(url, request), [trace], head=head)
        except NoResponse as error:
            await self._send_failed(call, url, request, error)
        except StreamFailed as failed:
            if call.begun:
                _log.info("function %s failed in the middle of its response", url.function_name)
                raise ConnectionError from None  # not its last chunk: the client sees that there is more missing
            await self._send(call, url, request, failed.result)
        finally:
            response.leave()

    async def _send(self, call: Call, url: FunctionUrl, request: FrontRequest, result: InvocationResult) -> None:
        finished = _finish(url, request)
        trace = (b"x-amzn-trace-id", request.trace_id.encode())
        if result.status != 200:  # noqa: PLR2004
            await _refuse(call, finished(Reply(result.status, (("content-type", "application/json"),), result.payload)))
            return
        if result.function_error is not None:
            await send(call, finished(FAILED), [trace])
            return
        try:
            if url.config.InvokeMode == "BUFFERED":
                await send(call, finished(await read(result, inferred)), [trace])
            elif has_prelude(result.payload):
                await send_in_pieces(call, one_piece(result.payload), finished, [trace])
            else:
                head = await read(result, inferred)
                pieces = one_piece(head.body)
                await send_in_pieces(call, pieces, finished, [trace], head=Reply(head.status, head.headers))
        except NoResponse as error:
            await self._send_failed(call, url, request, error)

    async def _send_failed(self, call: Call, url: FunctionUrl, request: FrontRequest, error: NoResponse) -> None:
        _log.warning("function %s returned what is no HTTP response: %s", url.function_name, error)
        trace = (b"x-amzn-trace-id", request.trace_id.encode())
        await send(call, _finish(url, request)(FAILED), [trace])

    async def _forbid(self, call: Call) -> None:
        """403: it is not signed, or cannot be checked."""
        told = {"Message": FORBIDDEN}
        if isinstance(self._signatures, str):
            told["Explanation"] = self._signatures
        await call.answer(403, [JSON, _ACCESS_DENIED], compact(**told))

    def _target(self, url: FunctionUrl, key: str | None) -> Target:
        functions = self._exchange.functions
        return Target(
            account_id="anonymous" if key is None else functions.account_id,
            api_id=url.url_id,
            domain_name=f"{url.url_id}.lambda-url.{functions.region}.on.aws",
            authorizer=None if key is None else {"iam": _identity(key, functions.account_id)},
        )


def _identity(key: str, account_id: str) -> dict[str, str | None]:
    """Who signed: of a key there is no user here but the one of its name."""
    return {
        "accessKey": key,
        "accountId": account_id,
        "callerId": key,
        "cognitoIdentity": None,
        "principalOrgId": None,
        "userArn": f"arn:aws:iam::{account_id}:user/{key}",
        "userId": key,
    }


async def _refuse(call: Call, reply: Reply) -> None:
    """The function was not run; the payload is A.3's body already."""
    if reply.status == 429:  # noqa: PLR2004
        await send(call, reply, [(b"x-amzn-errortype", b"TooManyRequestsException"), RETRY_AFTER])
    else:
        await send(call, reply, [(b"x-amzn-errortype", b"ServiceException")])


def _finish(url: FunctionUrl, request: FrontRequest) -> Callable[[Reply], Reply]:
    """Adds to a reply what pages of other origins may see of it."""
    cors = url.config.Cors
    return (lambda reply: reply) if cors is None else (lambda reply: shared(cors, request, reply))
