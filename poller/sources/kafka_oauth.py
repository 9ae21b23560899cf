"""Tokens for SASL/OAUTHBEARER: OAuth 2.0's client credentials grant (D.1.3), with the standard library.

librdkafka could do it itself, but without an audience; kafka-python cannot. So both take their tokens from here.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote_plus, urlencode
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

_TIMEOUT = 5.0
"""Seconds for the answer of the identity provider."""
_LARGEST_ANSWER = 1 << 20
_USED = 0.8
"""Part of a token's life after which a new one is asked for."""
_LIFE = 300.0
"""Seconds that a token lives whose answer does not say it."""


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """Who asks whom for tokens, and for which."""

    token_endpoint: str
    client_id: str
    client_secret: str = field(repr=False)
    certificate_authority: str = field(default="", repr=False)
    """PEM; what the identity provider's certificate is checked with. Without it, what the machine trusts."""
    scope: str = ""
    audience: str = ""
    extensions: tuple[tuple[str, str], ...] = ()
    """What the broker is told beside the token."""


class TokenError(Exception):
    """No token. The text is for a person and never repeats a secret."""

    def __init__(self, message: str, *, refused: bool) -> None:
        super().__init__(message)
        self.refused = refused
        """The identity provider answered, and said no; else it cannot be reached."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token. Times are those of the clock, in seconds since the epoch."""

    text: str = field(repr=False)
    expires: float
    renew: float


class TokenSource:
    """The present token of one client, renewed before it ends. For any thread; blocks while a new one is asked for."""

    def __init__(self, client: OAuthClient, clock: Callable[[], float] = time.time) -> None:
        self.client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._token: Token | None = None

    def token(self) -> Token:
        """A token with some life before it.

        Raises:
            TokenError: the identity provider cannot be reached, or refuses.
        """
        with self._lock:
            if self._token is None or self._clock() >= self._token.renew:
                now = self._clock()
                text, life = request_token(self.client)
                self._token = Token(text, now + life, now + life * _USED)
            return self._token


def request_token(client: OAuthClient) -> tuple[str, float]:
    """Ask for a token; gives it and the seconds that it lives.

    Raises:
        TokenError: the identity provider cannot be reached, or refuses.
    """
    wanted = {"grant_type": "client_credentials", "scope": client.scope, "audience": client.audience}
    login = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"  # RFC 6749, 2.3.1
    request = Request(  # noqa: S310 - https, see below
        client.token_endpoint,
        urlencode({name: value for name, value in wanted.items() if value}).encode(),
        {"Authorization": f"Basic {b64encode(login.encode()).decode()}", "Accept": "application/json"},
    )
    where = f"the token endpoint {client.token_endpoint}"
    try:
        context = ssl.create_default_context(cadata=client.certificate_authority or None)
        # With this handler only, no other scheme can be meant, and a redirection cannot lead to one.
        opener = build_opener(ProxyHandler(), HTTPSHandler(context=context))
        with opener.open(request, timeout=_TIMEOUT) as answer:
            body = answer.read(_LARGEST_ANSWER)
    except HTTPError as error:
        with error:
            raise TokenError(f"{where} refuses: {_reason(error)}", refused=error.code < 500) from None  # noqa: PLR2004
    except OSError as error:
        untrusted = "CERTIFICATE_VERIFY_FAILED" in str(error)
        text = "has a certificate that is not trusted" if untrusted else f"does not answer: {error}"
        raise TokenError(f"{where} {text}", refused=untrusted) from None
    return _read(body, where)


def _reason(error: HTTPError) -> str:
    """The error code of RFC 6749, 5.2. Nothing else of the answer is shown: it may repeat what it was asked."""
    try:
        code = json.loads(error.read(_LARGEST_ANSWER))["error"]
    except (OSError, ValueError, LookupError, TypeError):
        code = None
    known = ("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "invalid_scope")
    return f"{code} (status {error.code})" if code in known else f"status {error.code}"


def _read(body: bytes, where: str) -> tuple[str, float]:
    answer: Any
    try:
        answer = json.loads(body)
        text, life = answer["access_token"], float(answer.get("expires_in", _LIFE))
        good = isinstance(text, str) and text.isascii() and text.isprintable()
    except (ValueError, LookupError, TypeError, AttributeError):
        good = False
    if not good:
        raise TokenError(f"{where} gives no answer with an access_token", refused=True)
    return text, max(1.0, life)
