"""Which SourceAccessConfigurations go with which source, and with one another (D.1.3, D.2). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from poller.api_errors import ACCESS_MISSING
from poller.validation import closest, describe

Broken = tuple[str, str, str]
"""Property, what is wrong with it, what would be right."""

NETWORK = ("VPC_SUBNET", "VPC_SECURITY_GROUP")
LOGINS = (
    "BASIC_AUTH",
    "SASL_SCRAM_256_AUTH",
    "SASL_SCRAM_512_AUTH",
    "CLIENT_CERTIFICATE_TLS_AUTH",
    "OAUTHBEARER_AUTH",
)
"""Of Kafka. Their URIs are secrets."""
AUTHORITY = "SERVER_ROOT_CA_CERTIFICATE"
OAUTH_VALUES = (
    "OAUTHBEARER_SCOPE",
    "OAUTHBEARER_AUDIENCE",
    "OAUTHBEARER_LOGICAL_CLUSTER",
    "OAUTHBEARER_IDENTITY_POOL",
)
"""Their URIs are the values themselves."""
IAM = ("IAM_AUTH", "IAM_OAUTHBEARER_AUTH")
KAFKA = (*NETWORK, *LOGINS, AUTHORITY, *OAUTH_VALUES)
MSK = ("SASL_SCRAM_512_AUTH", "CLIENT_CERTIFICATE_TLS_AUTH")
MQ = ("BASIC_AUTH", "VIRTUAL_HOST")

_FIELD = "SourceAccessConfigurations"
_NO_LOGIN = "for a cluster without login give one VPC_SUBNET and one VPC_SECURITY_GROUP"
_MQ_LOGIN = "give Type: BASIC_AUTH and, as URI, the ARN of a secret"
_MQ_AUTHORITY = "an authority of your own is cacertfile of the broker's address: amqps://host:5671?cacertfile=ca.pem"
_MSK_AUTHORITY = "an authority of your own is cacertfile of the cluster's address: kafka://host:9094?cacertfile=ca.pem"
_SECRET = re.compile(r"arn:aws[a-z-]*:secretsmanager:.+")


def broken_access(values: Mapping[str, Any], kind: Literal["SelfManagedKafka", "MSK", "MQ"]) -> Iterator[Broken]:
    """Every rule that SourceAccessConfigurations of a mapping break."""
    access = values.get(_FIELD)
    if not access:
        if kind != "MSK":
            yield _FIELD, ACCESS_MISSING, _MQ_LOGIN if kind == "MQ" else _NO_LOGIN
        return
    items = list(access) if isinstance(access, list | tuple) else []
    types = [_type(item) for item in items]
    for index, (access_type, item) in enumerate(zip(types, items, strict=True)):
        yield from _one(f"{_FIELD}[{index}]", access_type, item, kind)
    if kind == "MQ":
        if types and "BASIC_AUTH" not in types and set(types) <= {"VIRTUAL_HOST"}:
            yield _FIELD, "BASIC_AUTH is missing", _MQ_LOGIN
        yield from _once(types, MQ)
    else:
        yield from _kafka(types, kind)


def _type(item: Any) -> str | None:
    value = item.get("Type") if isinstance(item, Mapping) else None
    return value if isinstance(value, str) else None


def _one(path: str, access_type: str | None, item: Any, kind: str) -> Iterator[Broken]:
    if access_type is None:
        return  # not there, or no text: the model says so
    allowed = {"MQ": MQ, "MSK": MSK}.get(kind, KAFKA)
    place = f"{path}.Type"
    if access_type in allowed:
        uri = item.get("URI")
        is_secret = access_type in LOGINS or access_type == AUTHORITY
        if is_secret and isinstance(uri, str) and uri and not _SECRET.fullmatch(uri):
            yield f"{path}.URI", f"{describe(uri)} is not the ARN of a secret (arn:aws:secretsmanager:…)", ""
    elif access_type in IAM:
        yield place, f"{access_type} is not supported: there is no IAM here", "use another way to log in"
    elif kind == "MQ":
        hint = _MQ_AUTHORITY if access_type == AUTHORITY else closest(access_type, MQ)
        yield place, f"{access_type} is not BASIC_AUTH or VIRTUAL_HOST", hint
    elif access_type == "VIRTUAL_HOST":
        yield place, "VIRTUAL_HOST belongs to MQ", ""
    elif access_type in KAFKA:
        hint = _MSK_AUTHORITY if access_type == AUTHORITY else f"MSK takes {' or '.join(MSK)}"
        yield place, f"{access_type} is for self-managed Kafka only, as on AWS", hint
    else:
        yield place, f"{access_type} is no way to log in to Kafka", closest(access_type, allowed)


def _kafka(types: list[str | None], kind: str) -> Iterator[Broken]:
    logins = [item for item in types if item in LOGINS]
    if len(set(logins)) > 1:
        yield _FIELD, f"a mapping logs in one way, here are {' and '.join(sorted(set(map(str, logins))))}", ""
    yield from _once(types, (*LOGINS, AUTHORITY, *OAUTH_VALUES))
    network = set(types).intersection(NETWORK)
    if len(network) == 1:
        yield _FIELD, "VPC_SUBNET and VPC_SECURITY_GROUP must both be there", _NO_LOGIN
    elif not network and not logins and kind == "SelfManagedKafka" and set(types) <= {AUTHORITY}:
        yield _FIELD, "names an authority and no login", _NO_LOGIN
    if "OAUTHBEARER_AUTH" not in types:
        for index, access_type in enumerate(types):
            if access_type in OAUTH_VALUES and kind == "SelfManagedKafka":
                yield f"{_FIELD}[{index}].Type", f"{access_type} needs OAUTHBEARER_AUTH, as on AWS", ""


def _once(types: list[str | None], limited: tuple[str, ...]) -> Iterator[Broken]:
    for name in limited:
        if types.count(name) > 1:
            yield _FIELD, f"{name} stands {types.count(name)} times, 1 is allowed", ""
