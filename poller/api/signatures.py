"""Signatures of requests (AWS Signature Version 4): checked against the one that AWS's own signer computes.

They stand in the header Authorization or, presigned, in the query. The signer is botocore's (extra `aws`), imported
only where signatures are checked.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.concurrency import run_in_threadpool

from poller.api.call import Head
from poller.api_errors import ApiError

SKEW = 300.0
"""Seconds that a client's clock may differ."""

LONGEST_PRESIGNED = 604_800
"""Seconds for which a request may be presigned: seven days, as on AWS."""

_CREDENTIAL = r"(?P<key>[^/, ]+)/(?P<date>\d{8})/(?P<region>[^/, ]+)/(?P<service>[^/, ]+)/aws4_request"
_AUTHORIZATION = re.compile(
    rf"AWS4-HMAC-SHA256 +Credential={_CREDENTIAL}"
    r", *SignedHeaders=(?P<headers>[a-z0-9;-]+), *Signature=(?P<signature>[0-9a-f]{64})",
    re.ASCII,
)
_PRESIGNED = re.compile(rf"{_CREDENTIAL}\n(?P<headers>[a-z0-9;-]+)\n(?P<signature>[0-9a-f]{{64}})", re.ASCII)
"""Credential, SignedHeaders and Signature of a query, in lines."""
_DATE = "%Y%m%dT%H%M%SZ"
_ALGORITHM = b"X-Amz-Algorithm=AWS4-HMAC-SHA256"
_SIGNATURE = b"X-Amz-Signature="


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a request says of its own signature."""

    key: str
    day: str
    region: str
    service: str
    headers: tuple[str, ...]
    """That are signed."""
    signature: str
    date: str
    lifetime: int | None
    """Seconds from `date` on of a presigned one."""


def is_signed(head: Head) -> bool:
    """Whether the request says that it is signed."""
    return b"authorization" in head.headers or _is_presigned(head)


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

    async def checked(self, call: Head, body: bytes, read_here: int) -> str:
        """As `check`; the hashes of a body of more bytes than `read_here` let the loop go on."""
        if len(body) > read_here:
            return await run_in_threadpool(self.check, call, body)
        return self.check(call, body)

    def check(self, call: Head, body: bytes) -> str:
        """The id of the known key that the request was signed with, a moment ago or for this long, as it is.

        Raises:
            ApiError: 403, in AWS's words.
        """
        if not is_signed(call):
            raise ApiError(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
        claim = _of_header(call) if b"authorization" in call.headers else _of_query(call)
        signer = self._signers.get(claim.key)
        if signer is None:
            text = "The security token included in the request is invalid."
            raise ApiError(403, "UnrecognizedClientException", text)
        if (claim.service, claim.region) != ("lambda", self._region):
            raise _invalid(f"Credential should be scoped to a valid region ({self._region}) and to service lambda.")
        self._check_date(claim)
        digest = hashlib.sha256(body).hexdigest()
        if call.header(b"x-amz-content-sha256") not in {None, digest}:
            raise _invalid("The header X-Amz-Content-SHA256 is not the SHA-256 of the body.")
        if not hmac.compare_digest(self._expected(signer, call, claim, body), claim.signature):
            raise _invalid(
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
                "Access Key and signing method. Consult the service documentation for details."
            )
        return claim.key

    def presigned(self, url: str, lifetime: int) -> str:
        """The URL for whoever gets it to GET, for so many seconds, by the first of the keys. It has no query."""
        key, signer = next(iter(self._signers.items()))
        date = datetime.fromtimestamp(self._now(), UTC).strftime(_DATE)
        query = urlencode({
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{key}/{date[:8]}/{self._region}/lambda/aws4_request",
            "X-Amz-Date": date,
            "X-Amz-Expires": str(lifetime),
            "X-Amz-SignedHeaders": "host",
        })  # fmt: skip
        request = self._request(method="GET", url=f"{url}?{query}", headers={"host": urlsplit(url).netloc})
        return f"{url}?{query}&X-Amz-Signature={_signature(signer, request, date)}"

    def _check_date(self, claim: _Claim) -> None:
        date = claim.date
        try:
            signed = datetime.strptime(date, _DATE).replace(tzinfo=UTC).timestamp()
        except ValueError:
            raise _invalid(f"X-Amz-Date is not like 20251125T100000Z: {date[:20]!r}") from None
        if not date.startswith(claim.day):
            raise _invalid("Date in Credential scope does not match YYYYMMDD from X-Amz-Date.")
        now = self._now()
        here = datetime.fromtimestamp(now, UTC).strftime(_DATE)
        if signed - now > SKEW:
            raise _invalid(f"Signature not yet current: {date} is more than 5 min. from {here}")
        if claim.lifetime is None and now - signed > SKEW:
            raise _invalid(f"Signature expired: {date} is more than 5 min. from {here}")
        if claim.lifetime is not None and now - signed > claim.lifetime:
            raise _invalid(f"Signature expired: {here} is more than {claim.lifetime} s (X-Amz-Expires) after {date}")

    def _expected(self, signer: Any, call: Head, claim: _Claim, body: bytes) -> str:
        """What botocore makes of the same request."""
        scope = call.scope
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        url = f"http://host{raw.partition(b'?')[0].decode('latin-1')}"
        query: bytes = scope.get("query_string", b"")
        if claim.lifetime is not None:
            query = b"&".join(pair for pair in query.split(b"&") if not pair.startswith(_SIGNATURE))
        if query:
            url += f"?{query.decode('latin-1')}"
        headers = {name: call.header(name.encode()) or "" for name in claim.headers}
        request = self._request(method=scope["method"], url=url, headers=headers, data=body)
        return _signature(signer, request, claim.date)


def _signature(signer: Any, request: Any, date: str) -> str:
    """Botocore's, without what it logs on the way."""
    request.context["timestamp"] = date
    canonical = signer.canonical_request(request)
    signature: str = signer.signature(signer.string_to_sign(request, canonical), request)
    return signature


def _is_presigned(head: Head) -> bool:
    return _ALGORITHM in head.scope.get("query_string", b"").split(b"&")


def _of_header(head: Head) -> _Claim:
    found = _AUTHORIZATION.fullmatch((head.header(b"authorization") or "").strip())
    must = _must_be_signed(head, "x-amz-date")
    if not found or not must <= set(found["headers"].split(";")):
        text = f"Authorization requires Credential, SignedHeaders ({', '.join(sorted(must))}) and Signature."
        raise ApiError(403, "IncompleteSignatureException", text)
    return _claim(found, head.header(b"x-amz-date") or "", None)


def _of_query(head: Head) -> _Claim:
    given = dict(parse_qsl(head.scope["query_string"].decode("latin-1"), keep_blank_values=True))
    parts = (given.get(f"X-Amz-{name}", "") for name in ("Credential", "SignedHeaders", "Signature"))
    found = _PRESIGNED.fullmatch("\n".join(parts))
    must = _must_be_signed(head)
    if not found or not must <= set(found["headers"].split(";")):
        signed = ", ".join(sorted(must))
        text = f"A presigned query requires X-Amz-Credential, X-Amz-SignedHeaders ({signed}) and X-Amz-Signature."
        raise ApiError(403, "IncompleteSignatureException", text)
    expires = given.get("X-Amz-Expires", "")
    if not (expires.isascii() and expires.isdigit() and len(expires) <= 6 and int(expires) <= LONGEST_PRESIGNED):  # noqa: PLR2004
        raise _invalid(f"X-Amz-Expires is no number of seconds up to {LONGEST_PRESIGNED}.")
    return _claim(found, given.get("X-Amz-Date", ""), int(expires))


def _must_be_signed(head: Head, *names: str) -> set[str]:
    """Headers that a signature has to be about."""
    return {"host", *names, *(name.decode("latin-1") for name in head.headers if name.startswith(b"x-amz-"))}


def _claim(found: re.Match[str], date: str, lifetime: int | None) -> _Claim:
    return _Claim(
        key=found["key"],
        day=found["date"],
        region=found["region"],
        service=found["service"],
        headers=tuple(found["headers"].split(";")),
        signature=found["signature"],
        date=date,
        lifetime=lifetime,
    )


def _invalid(text: str) -> ApiError:
    return ApiError(403, "InvalidSignatureException", text)
