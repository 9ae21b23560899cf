"""How a Kafka cluster is logged in to, in no client's own terms, and the translation into each client's options.

Pure, save that OpenSSL reads a client certificate from nothing but a file.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from poller.sources.kafka_oauth import OAuthClient, TokenSource

Protocol = Literal["PLAINTEXT", "SSL", "SASL_SSL"]
"""SASL without TLS would show the password to everybody on the way, so it does not exist here, as on AWS."""
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """TLS and login of one cluster (D.1.3). Certificates and keys are PEM texts, as AWS's secrets hold them."""

    protocol: Protocol = "PLAINTEXT"
    mechanism: Mechanism = "SCRAM-SHA-512"
    """Read with SASL only."""
    username: str = ""
    password: str = field(default="", repr=False)
    oauth: OAuthClient | None = None
    """With the mechanism OAUTHBEARER."""
    certificate_authority: str = field(default="", repr=False)
    """What the brokers' certificates are checked with; without it, the authorities that the machine trusts."""
    certificate: str = field(default="", repr=False)
    """The client's own with its chain, for mutual TLS; wants the key."""
    private_key: str = field(default="", repr=False)
    private_key_password: str = field(default="", repr=False)

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.protocol != "PLAINTEXT"

    @property
    def sasl(self) -> bool:
        """Whether there is a login by name or token."""
        return self.protocol == "SASL_SSL"

    def token_source(self) -> TokenSource | None:
        """What the tokens of one client come from, if it logs in with such."""
        return TokenSource(self.oauth) if self.oauth is not None else None


def kafka_python_options(security: KafkaSecurity, tokens: TokenSource | None = None) -> dict[str, Any]:
    """The options of kafka-python. It has none for PEM texts, so TLS is a context made here.

    Raises:
        InvalidKeys: certificate or key cannot be used.
    """
    options: dict[str, Any] = {"security_protocol": security.protocol}
    if security.sasl:
        options["sasl_mechanism"] = security.mechanism
    if security.sasl and tokens is not None:
        options["sasl_oauth_token_provider"] = _token_provider(tokens)
    elif security.sasl:
        options |= {"sasl_plain_username": security.username, "sasl_plain_password": security.password}
    if security.tls:
        options["ssl_context"] = tls_context(security)
    return options


def _token_provider(tokens: TokenSource) -> object:
    from kafka.net.sasl.oauth import AbstractTokenProvider  # noqa: PLC0415 - the other client does without

    class Provider(AbstractTokenProvider):
        def token(self) -> str:
            return tokens.token().text

        def extensions(self) -> dict[str, str]:
            return dict(tokens.client.extensions)

    return Provider()  # type: ignore[no-untyped-call]  # the client has no annotations


def librdkafka_options(security: KafkaSecurity, tokens: TokenSource | None = None) -> dict[str, Any]:
    """The properties of librdkafka. Those that are not set keep its defaults, which check certificate and host name."""
    options: dict[str, Any] = {"security.protocol": security.protocol}
    if security.sasl:
        options["sasl.mechanism"] = security.mechanism
    if security.sasl and tokens is not None:
        options["oauth_cb"] = _token_callback(tokens)
    elif security.sasl:
        options |= {"sasl.username": security.username, "sasl.password": security.password}
    if security.tls:
        given = {
            "ssl.ca.pem": security.certificate_authority,
            "ssl.certificate.pem": security.certificate,
            "ssl.key.pem": security.private_key,
            "ssl.key.password": security.private_key_password,
        }
        options |= {name: value for name, value in given.items() if value}
    return options


def _token_callback(tokens: TokenSource) -> Callable[[str], tuple[str, float, str, dict[str, str]]]:
    def give(_: str) -> tuple[str, float, str, dict[str, str]]:
        token = tokens.token()
        return token.text, token.expires, tokens.client.client_id, dict(tokens.client.extensions)

    return give


class InvalidKeys(ValueError):  # noqa: N818 - reads as what it says
    """A certificate, an authority or a private key that cannot be used. The text never repeats it."""


def tls_context(security: KafkaSecurity) -> ssl.SSLContext:
    """For a client that checks the broker's certificate and host name.

    Raises:
        InvalidKeys: what is given is no certificate, no key, or they do not belong together.
    """
    context = trusting(security.certificate_authority, "the authority's certificate")
    if security.certificate:
        _check(security)
        try:
            with _as_file(f"{security.certificate}\n{security.private_key}\n") as path:
                # A text even if empty: with none, OpenSSL would ask for one on the terminal.
                context.load_cert_chain(path, password=security.private_key_password)
        except (ssl.SSLError, ValueError) as error:
            raise InvalidKeys(_what_is_wrong(str(error), security)) from None
    return context


@contextmanager
def _as_file(text: str) -> Iterator[str]:
    """The path of a file that has this text for a moment: OpenSSL reads keys from files only.

    On Linux it is in memory, so that a key reaches no disk, where `kill -9` could leave it.
    """
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("key"), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="poller-", suffix=".pem") as on_disk:
            on_disk.write(text)
            on_disk.flush()
            yield on_disk.name


def trusting(certificate_authority: str, name: str = "certificate") -> ssl.SSLContext:
    """A context that checks certificates with this authority, a PEM text, or with those the machine trusts.

    Raises:
        InvalidKeys: it is no certificate; the text begins with `name`.
    """
    # People's files have remarks around the certificates, in any language; OpenSSL passes over them, but wants ASCII.
    text = certificate_authority.encode("ascii", "ignore").decode()
    try:
        context = ssl.create_default_context(cadata=text or None)
    except (ssl.SSLError, ValueError):
        context = None
    if context is None or (certificate_authority and "-----BEGIN CERTIFICATE-----" not in text):
        raise InvalidKeys(f"{name} is not in PEM format (-----BEGIN CERTIFICATE-----)")
    return context


def _check(security: KafkaSecurity) -> None:
    """What OpenSSL would say less clearly, or would take though AWS does not."""
    trusting(security.certificate)
    encrypted = _is_encrypted(security)
    if not encrypted and "-----BEGIN PRIVATE KEY-----" not in security.private_key:
        raise InvalidKeys(
            "privateKey is not in PKCS#8 PEM format (-----BEGIN PRIVATE KEY-----); "
            "openssl pkcs8 -topk8 brings it into this format"
        )
    if encrypted and not security.private_key_password:
        raise InvalidKeys("privateKey is encrypted, and there is no privateKeyPassword")


def _is_encrypted(security: KafkaSecurity) -> bool:
    return "-----BEGIN ENCRYPTED PRIVATE KEY-----" in security.private_key


def _what_is_wrong(text: str, security: KafkaSecurity) -> str:
    if "KEY_VALUES_MISMATCH" in text or "KEY_TYPE_MISMATCH" in text:
        return "certificate and privateKey do not belong together"
    if _is_encrypted(security):
        return "privateKeyPassword does not open privateKey"
    return "privateKey is not in PKCS#8 PEM format: it is damaged"
