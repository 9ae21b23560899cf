"""How a Kafka cluster is logged in to, in no client's own terms, and the translation into each client's options.

Pure, save that OpenSSL reads a client certificate from nothing but a file.
"""

from __future__ import annotations

import ssl
import tempfile
from dataclasses import dataclass, field
from typing import Any, Literal

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """TLS and login of one cluster (D.1.3). Certificates and keys are PEM texts, as AWS's secrets hold them."""

    protocol: Protocol = "PLAINTEXT"
    mechanism: Mechanism = "SCRAM-SHA-512"
    """Read with SASL only."""
    username: str = ""
    password: str = field(default="", repr=False)
    certificate_authority: str = ""
    """What the brokers' certificates are checked with; without it, the authorities that the machine trusts."""
    certificate: str = ""
    """The client's own with its chain, for mutual TLS; wants the key."""
    private_key: str = field(default="", repr=False)
    private_key_password: str = field(default="", repr=False)

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.protocol in {"SSL", "SASL_SSL"}

    @property
    def sasl(self) -> bool:
        """Whether there is a login by name."""
        return self.protocol in {"SASL_PLAINTEXT", "SASL_SSL"}


def kafka_python_options(security: KafkaSecurity) -> dict[str, Any]:
    """The options of kafka-python. It has none for PEM texts, so TLS is a context made here."""
    options: dict[str, Any] = {"security_protocol": security.protocol}
    if security.sasl:
        options |= {
            "sasl_mechanism": security.mechanism,
            "sasl_plain_username": security.username,
            "sasl_plain_password": security.password,
        }
    if security.tls:
        options["ssl_context"] = tls_context(security)
    return options


def librdkafka_options(security: KafkaSecurity) -> dict[str, str]:
    """The properties of librdkafka. Those that are not set keep its defaults, which check certificate and host name."""
    options: dict[str, str] = {"security.protocol": security.protocol}
    if security.sasl:
        options |= {
            "sasl.mechanism": security.mechanism,
            "sasl.username": security.username,
            "sasl.password": security.password,
        }
    if security.tls:
        given = {
            "ssl.ca.pem": security.certificate_authority,
            "ssl.certificate.pem": security.certificate,
            "ssl.key.pem": security.private_key,
            "ssl.key.password": security.private_key_password,
        }
        options |= {name: value for name, value in given.items() if value}
    return options


def tls_context(security: KafkaSecurity) -> ssl.SSLContext:
    """For a client that checks the broker's certificate and host name.

    Raises:
        ssl.SSLError: what is given is no certificate, no key, or they do not belong together.
    """
    context = ssl.create_default_context(cadata=security.certificate_authority or None)
    if security.certificate:
        # Readable by this user only, and gone again once OpenSSL has read it.
        with tempfile.NamedTemporaryFile("w", prefix="poller-", suffix=".pem") as file:
            file.write(f"{security.certificate}\n{security.private_key}\n")
            file.flush()
            # A text even if empty: with none, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(file.name, password=security.private_key_password)
    return context
