"""From SourceAccessConfigurations and the secrets they name to a login (D.1.3, D.2), or to what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import urlsplit

from pydantic import SecretStr

from poller.access_rules import AUTHORITY, LOGINS
from poller.errors import Problem
from poller.sources.kafka_oauth import OAuthClient
from poller.sources.kafka_security import InvalidKeys, KafkaSecurity, Mechanism, tls_context, trusting
from poller.validation import closest

_PASSWORD = ("username", "password")
KEYS: Mapping[str, Sequence[str]] = {
    "BASIC_AUTH": _PASSWORD,
    "SASL_SCRAM_256_AUTH": _PASSWORD,
    "SASL_SCRAM_512_AUTH": _PASSWORD,
    "CLIENT_CERTIFICATE_TLS_AUTH": ("certificate", "privateKey"),
    "SERVER_ROOT_CA_CERTIFICATE": ("certificate",),
    "OAUTHBEARER_AUTH": ("oauthTokenEndpointUrl", "oauthClientId", "oauthClientSecret"),
}
"""What the secret of each type has to hold."""
_JWT_BEARER = ("oauthClientEmail", "oauthPrivateKey", "oauthTokenExpirationSeconds")

_MECHANISMS: Mapping[str, Mechanism] = {
    "BASIC_AUTH": "PLAIN",
    "SASL_SCRAM_256_AUTH": "SCRAM-SHA-256",
    "SASL_SCRAM_512_AUTH": "SCRAM-SHA-512",
    "OAUTHBEARER_AUTH": "OAUTHBEARER",
}
_EXTENSIONS = {"OAUTHBEARER_LOGICAL_CLUSTER": "logicalCluster", "OAUTHBEARER_IDENTITY_POOL": "identityPoolId"}
"""SASL extensions, by the names that Confluent's brokers know."""


class Access(Protocol):
    """An item of SourceAccessConfigurations, as `poller.resources` has it."""

    @property
    def Type(self) -> str:  # noqa: N802 - AWS's name
        """One of those that `poller.access_rules` lets pass."""

    @property
    def URI(self) -> str:  # noqa: N802
        """An ARN or a value, by the type."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """Secrets by ARN, and where they and a mapping's access stand, for errors."""

    values: Mapping[str, Mapping[str, SecretStr]]
    path: str
    """Of the setting."""
    where: Callable[[str], str]
    """Path of a property of the mapping."""
    report: Callable[[Problem], None]

    def of(self, access_type: str, arn: str, *, instead: str = "") -> dict[str, str] | None:
        """What the secret holds; None after a problem. `instead` is said of another way to give it."""
        keys, place = KEYS[access_type], f"{self.path}.{arn}"
        if arn not in self.values:
            form = ", ".join(f"{name}: …" for name in keys)
            hint = f"add under {self.path}: {arn}: {{{form}}}{instead}"
            self.report(Problem(self.where("SourceAccessConfigurations"), f"no secret is known for {arn}", hint))
            return None
        held = {name: value.get_secret_value() for name, value in self.values[arn].items()}
        missing = [name for name in keys if not held.get(name)]
        if access_type == "OAUTHBEARER_AUTH" and (found := [name for name in _JWT_BEARER if name in held]):
            reason = f"holds {found[0]}: the grant JWT bearer is not supported, client credentials is"
            self.report(Problem(place, reason, f"expected for {access_type}: {', '.join(keys)}"))
            return None
        if missing:
            near = [hint for name in held if name not in keys and (hint := closest(name, missing))]
            hint = "; ".join([f"expected for {access_type}: {', '.join(keys)}", *near[:1]])
            self.report(Problem(place, f"has no {' and no '.join(missing)}", hint))
            return None
        return held


def kafka_security(access: Sequence[Access], secrets: Secrets, certificate_authority: str = "") -> KafkaSecurity:
    """How a mapping's cluster is logged in to. What is wrong is reported; then the result means nothing.

    Args:
        access: SourceAccessConfigurations, let pass by `poller.access_rules`.
        secrets: of the settings.
        certificate_authority: PEM, from the cluster's address.
    """
    given = {item.Type: item.URI for item in access}
    authority = certificate_authority
    if AUTHORITY in given and (held := secrets.of(AUTHORITY, given[AUTHORITY])):
        authority = held["certificate"]
        _checked(lambda: trusting(authority), secrets, given[AUTHORITY])
    security = KafkaSecurity("SSL" if authority else "PLAINTEXT", certificate_authority=authority)
    login = next((name for name in LOGINS if name in given), None)
    if login is None or (held := secrets.of(login, given[login])) is None:
        return security
    arn = given[login]
    if login == "CLIENT_CERTIFICATE_TLS_AUTH":
        security = replace(
            security,
            protocol="SSL",
            certificate=held["certificate"],
            private_key=held["privateKey"],
            private_key_password=held.get("privateKeyPassword", ""),
        )
        _checked(lambda: tls_context(replace(security, certificate_authority="")), secrets, arn)
        return security
    security = replace(security, protocol="SASL_SSL", mechanism=_MECHANISMS[login])
    if login == "OAUTHBEARER_AUTH":
        return replace(security, oauth=_oauth(given, held, secrets))
    return replace(security, username=held["username"], password=held["password"])


def _oauth(given: Mapping[str, str], held: Mapping[str, str], secrets: Secrets) -> OAuthClient:
    arn = given["OAUTHBEARER_AUTH"]
    endpoint, authority = held["oauthTokenEndpointUrl"], held.get("oauthIdpCaCertificate", "")
    try:
        parts = urlsplit(endpoint)
        good = parts.scheme == "https" and bool(parts.hostname) and parts.username is None
        _ = parts.port
    except ValueError:
        good = False
    if not good:
        secrets.report(Problem(f"{secrets.path}.{arn}.oauthTokenEndpointUrl", "must have the form https://host/path"))
    _checked(lambda: trusting(authority, "oauthIdpCaCertificate"), secrets, arn)
    return OAuthClient(
        endpoint,
        held["oauthClientId"],
        held["oauthClientSecret"],
        certificate_authority=authority,
        scope=given.get("OAUTHBEARER_SCOPE", ""),
        audience=given.get("OAUTHBEARER_AUDIENCE", ""),
        extensions=tuple((name, given[key]) for key, name in _EXTENSIONS.items() if key in given),
    )


def _checked(check: Callable[[], object], secrets: Secrets, arn: str) -> None:
    try:
        check()
    except InvalidKeys as error:
        reason = f"Provided certificate or private key is invalid: {error}"  # C.2
        secrets.report(Problem(f"{secrets.path}.{arn}", reason))
