"""How the broker of asynchronous events is connected to, and what its client says when that does not work."""

# mypy: allow-untyped-calls
# pika's annotations have gaps.

from __future__ import annotations

import ssl
from urllib.parse import parse_qs, urlsplit

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectionWorkflowFailed

from poller.destinations.rabbitmq import reason

HEARTBEAT = 10
"""Seconds. A broker that goes silent is given up after two of them."""

CONNECT_TIMEOUT = 5.0
"""Seconds for the TCP connection, and again for the AMQP handshake."""


def parameters_of(url: str) -> pika.URLParameters:
    """How to connect to a complete URL, as `endpoints.rabbitmq_url` gives it. Reads the authority's file.

    Raises:
        OSError: that cannot be read, or holds no certificate.
    """
    parts = urlsplit(url)
    parameters = pika.URLParameters(parts._replace(query="").geturl())
    parameters.heartbeat = HEARTBEAT
    parameters.socket_timeout = CONNECT_TIMEOUT
    parameters.stack_timeout = CONNECT_TIMEOUT
    parameters.connection_attempts = 1
    if parts.scheme == "amqps":
        authority = next(iter(parse_qs(parts.query).get("cacertfile", [])), None)
        parameters.ssl_options = pika.SSLOptions(ssl.create_default_context(cafile=authority), parameters.host)
    return parameters


def connection_reason(error: BaseException) -> str:
    """An error of pika's in words; of an attempt to connect, those of the last address that was tried."""
    for failed in (error, *error.args):
        if isinstance(failed, AMQPConnectionWorkflowFailed):
            error = failed.exceptions[-1]
    return reason(error) if isinstance(error, Exception) else str(error)
