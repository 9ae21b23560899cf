"""An OAuth 2.0 identity provider for tests: gives unsigned tokens over TLS, which a Kafka without configuration takes."""

from __future__ import annotations

import json
import ssl
import threading
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl

import trustme


class TokenRequest(NamedTuple):
    form: Mapping[str, str]
    login: str


class IdentityProvider:
    """Listens on a free port of 127.0.0.1 while it is entered."""

    def __init__(self, authority: trustme.CA, *, subject: str = "poller") -> None:
        self.subject = subject
        self.life = 3600
        self.requests: list[TokenRequest] = []
        self.tokens: list[str] = []
        """What was given, in order."""
        self.refusal: tuple[int, str] | None = None
        """Status and body of every answer instead."""
        self.answer: str | None = None
        """Body of a good answer instead."""
        self._server = HTTPServer(("127.0.0.1", 0), self._handler())
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, name="identity provider")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._server.server_port}/token"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
                login = b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
                provider.requests.append(TokenRequest(form, login))
                status, body = provider.refusal or (200, provider.answer or provider._token())
                self.send_response(status)
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def _token(self) -> str:
        now = time.time()
        claims = {"sub": self.subject, "iat": now, "exp": now + self.life, "scope": "", "jti": len(self.tokens)}
        token = f"{_part({'alg': 'none'})}.{_part(claims)}."
        self.tokens.append(token)
        return json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": self.life})


def _part(value: Mapping[str, Any]) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
