"""Signatures of requests (AWS Signature Version 4): checked against the one that AWS's own signer computes.

The signer is botocore's (extra `aws`), imported only where signatures are checked.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.concurrency import run_in_threadpool

from poller.api.call import Call
from poller.api_errors import ApiError

SKEW = 300.0
"""Seconds that a client's clock may differ."""

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=(?P<key>[^/, ]+)/(?P<date>\d{8})/(?P<region>[^/, ]+)/(?P<service>[^/, ]+)"
    r"/aws4_request, *SignedHeaders=(?P<headers>[a-z0-9;-]+), *Signature=(?P<signature>[0-9a-f]{64})",
    re.ASCII,
)
_DATE = "%Y%m%dT%H%M%SZ"
_MUST_BE_SIGNED = {"host", "x-amz-date"}


class Signatures:
    """Checks requests with the keys that it knows. Any thread.

    Args:
        keys: secret access keys by access key id.
        region: in which requests have to be signed.
        now: seconds since the epoch.
    """

    def __init__(self, keys: Mapping[str, str], region: str, now: Callable[[], float] = time.time) -> None:
        from botocore.auth import SigV4Auth  # noqa: PLC0415 - half a second, for those who want it
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.credentials import Credentials  # noqa: PLC0415

        self._request: Any = AWSRequest
        self._signers = {key: SigV4Auth(Credentials(key, secret), "lambda", region) for key, secret in keys.items()}
        self._region = region
        self._now = now

    async def checked(self, call: Call, body: bytes, read_here: int) -> str:
        """As `check`; the hashes of a body of more bytes than `read_here` let the loop go on."""
        if len(body) > read_here:
            return await run_in_threadpool(self.check, call, body)
        return self.check(call, body)

    def check(self, call: Call, body: bytes) -> str:
        """The id of the known key that the request was signed with, a moment ago, as it is.

        Raises:
            ApiError: 403, in AWS's words.
        """
        given = call.header(b"authorization")
        if given is None:
            raise ApiError(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
        found = _AUTHORIZATION.fullmatch(given.strip())
        date = call.header(b"x-amz-date") or ""
        must = _MUST_BE_SIGNED | {name.decode("latin-1") for name in call.headers if name.startswith(b"x-amz-")}
        if not found or not must <= set(found["headers"].split(";")):
            text = f"Authorization requires Credential, SignedHeaders ({', '.join(sorted(must))}) and Signature."
            raise ApiError(403, "IncompleteSignatureException", text)
        signer = self._signers.get(found["key"])
        if signer is None:
            text = "The security token included in the request is invalid."
            raise ApiError(403, "UnrecognizedClientException", text)
        if (found["service"], found["region"]) != ("lambda", self._region):
            raise _invalid(f"Credential should be scoped to a valid region ({self._region}) and to service lambda.")
        self._check_date(date, found["date"])
        digest = hashlib.sha256(body).hexdigest()
        if call.header(b"x-amz-content-sha256") not in {None, digest}:
            raise _invalid("The header X-Amz-Content-SHA256 is not the SHA-256 of the body.")
        expected = self._expected(signer, call, found["headers"].split(";"), body, date)
        if not hmac.compare_digest(expected, found["signature"]):
            raise _invalid(
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
                "Access Key and signing method. Consult the service documentation for details."
            )
        return found["key"]

    def _check_date(self, date: str, day: str) -> None:
        try:
            signed = datetime.strptime(date, _DATE).replace(tzinfo=UTC).timestamp()
        except ValueError:
            raise _invalid(f"Date in the header X-Amz-Date is not like 20251125T100000Z: {date[:20]!r}") from None
        if not date.startswith(day):
            raise _invalid("Date in Credential scope does not match YYYYMMDD from X-Amz-Date.")
        now = self._now()
        if abs(now - signed) > SKEW:
            here = datetime.fromtimestamp(now, UTC).strftime(_DATE)
            what = "expired" if signed < now else "not yet current"
            raise _invalid(f"Signature {what}: {date} is more than 5 min. from {here}")

    def _expected(self, signer: Any, call: Call, signed: list[str], body: bytes, date: str) -> str:
        """What botocore makes of the same request."""
        scope = call.scope
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        url = f"http://host{raw.partition(b'?')[0].decode('latin-1')}"
        query: bytes = scope.get("query_string", b"")
        if query:
            url += f"?{query.decode('latin-1')}"
        headers = {name: call.header(name.encode()) or "" for name in signed}
        request = self._request(method=scope["method"], url=url, headers=headers, data=body)
        request.context["timestamp"] = date
        canonical = signer.canonical_request(request)
        expected: str = signer.signature(signer.string_to_sign(request, canonical), request)
        return expected


def _invalid(text: str) -> ApiError:
    return ApiError(403, "InvalidSignatureException", text)
