"""User and password of a request (HTTP's Basic), for those who cannot sign: S3 servers that send notifications."""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode
from collections.abc import Mapping

from poller.api.call import Call
from poller.api_errors import ApiError


def check_password(call: Call, passwords: Mapping[str, str]) -> None:
    """Return when the request has a known user and its password.

    Raises:
        ApiError: 403; the text does not say which of them is wrong.
    """
    scheme, _, login = (call.header(b"authorization") or "").strip().partition(" ")
    try:
        user, colon, password = b64decode(login.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        user, colon, password = b"", b"", b""
    expected = passwords.get(user.decode(errors="replace"), "")
    if scheme.lower() != "basic" or not colon or not expected or not hmac.compare_digest(password, expected.encode()):
        text = "A notification needs the login of a key of SignatureKeys: http://ACCESS_KEY_ID:SECRET@host:port/…"
        raise ApiError(403, "AccessDeniedException", text)
