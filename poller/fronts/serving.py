"""The fronts of one service: made of its template and settings, started and stopped with it."""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from collections.abc import Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry

from poller.account.directory import Directory
from poller.account.documents import Documents
from poller.api.invocations import Functions
from poller.api.server import HttpServer, bind
from poller.api.signatures import Signatures
from poller.exposure import is_loopback
from poller.fronts.api_front import ApiFront, front_of
from poller.fronts.apis import Api, Apis
from poller.fronts.front_metrics import URL, FrontMetrics
from poller.fronts.function_urls import FunctionUrls
from poller.fronts.http_protocol import NamingHttpProtocol
from poller.fronts.url_config import address
from poller.fronts.url_front import UrlFront
from poller.settings import Settings
from poller.template import Template
from poller.template_http import unchecked
from poller.validation import plural

_log = logging.getLogger(__name__)


class Account(Functions, Directory, Protocol):
    """The functions, which are looked for and invoked."""


class Fronts:
    """Function URLs, which the endpoint answers, and the port of the template's APIs, if it has some."""

    def __init__(
        self,
        template: Template,
        account: Account,
        documents: Documents,
        registry: CollectorRegistry,
        changing: threading.RLock | None = None,
    ) -> None:
        """Open the port of the APIs; `changing` as of `FunctionUrls`.

        Raises:
            PortInUse: it is taken.
            StateError: what calls have made cannot be read.
        """
        settings = template.settings
        self._apis = template.apis
        self._bind = settings.Bind
        self.urls = FunctionUrls(
            template.function_urls,
            documents,
            account,
            allow_drift=settings.AllowDrift,
            now=time.time,
            changing=changing,
        )
        metrics = FrontMetrics(registry)
        for url in template.function_urls:
            metrics.show(URL, url.function_name)
        for api in self._apis:
            metrics.show(front_of(api), api.api_id)
        signatures = unchecked(settings) or (lambda: _signatures(settings))
        self.url_front = UrlFront(self.urls, account, signatures, metrics)
        self._server: HttpServer | None = None
        if self._apis:
            listener = bind(settings.Bind, settings.ApiPort, "ApiPort")
            app = ApiFront(Apis(self._apis), account, metrics)
            self._server = HttpServer(app, listener, "apis", NamingHttpProtocol)

    @property
    def api_address(self) -> str | None:
        """`host:port` of the APIs, as bound; None when there are none."""
        return None if self._server is None else self._server.address

    def start(self, endpoint: str) -> None:
        """Serve from now on, and say where; returns at once.

        Args:
            endpoint: `host:port` of Lambda's API.
        """
        if self._server is not None:
            self._server.start()
        for url in self.urls.all():
            _log.info("function URL of %s: %s", url.key, address(base_of(endpoint), url.url_id))
        for api, where in self._places():
            _log.info("%s API %s with %s: %s", api.kind, api.api_id, plural(len(api.routes), "route"), where)

        public = bool(self._apis) or any(url.config.AuthType == "NONE" for url in self.urls.all())
        if public and not is_loopback(self._bind):
            text = "function URLs of AuthType NONE and APIs are open to everybody who reaches %s, signed or not"
            _log.warning(text, self._bind)

    def stop(self) -> None:
        """Answer what is being answered, then close the port. Blocks at most about a second."""
        if self._server is not None:
            self._server.stop()

    def _places(self) -> Iterator[tuple[Api, str]]:
        for api in self._apis:
            named = "" if len(self._apis) == 1 else f"/_api/{api.api_id}"
            yield api, f"{base_of(self.api_address or '')}{named}{api.path()}"


def base_of(bound: str) -> str:
    """A URL under which this machine reaches what is bound to `host:port`."""
    host, _, port = bound.rpartition(":")
    if ipaddress.ip_address(host).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _signatures(settings: Settings) -> Signatures:
    keys = {key: secret.get_secret_value() for key, secret in settings.SignatureKeys.items()}
    return Signatures(keys, settings.Region)
