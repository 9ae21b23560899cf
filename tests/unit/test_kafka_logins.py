"""Logins to Kafka as a template gives them (D.1.3): what comes of SourceAccessConfigurations and secrets, and what is refused."""

from __future__ import annotations

import os
import ssl
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from certificates import chain, encrypted, pkcs1, pkcs8
from templates import BROKER, NO_LOGIN, PROVISIONED, SECRET, SETTINGS, document, load, problems

from poller.endpoints import KafkaTarget
from poller.resources import EventSourceMapping
from poller.sources.kafka_oauth import OAuthClient
from poller.sources.kafka_security import InvalidKeys, KafkaSecurity, tls_context, trusting

LOGIN = "arn:aws:secretsmanager:us-east-1:000000000000:secret:login"
CA = "arn:aws:secretsmanager:us-east-1:000000000000:secret:ca"
CLUSTER = "arn:aws:kafka:us-east-1:000000000000:cluster/c/1"
ACCESS = "Resources.Telemetry.Properties.Events.Readings.SourceAccessConfigurations"
SECRETS = "Metadata.Poller.Secrets"
NO_LOGIN_HINT = "(for a cluster without login give one VPC_SUBNET and one VPC_SECURITY_GROUP)"
PASSWORD = {"username": "u", "password": "top-secret"}
TOKENS = {
    "oauthTokenEndpointUrl": "https://idp.example/token",
    "oauthClientId": "client",
    "oauthClientSecret": "top-secret",
}

AUTHORITY = trustme.CA()
CERTIFICATE = AUTHORITY.cert_pem.bytes().decode()
OWN = AUTHORITY.issue_cert("poller")
CHAIN = chain(OWN)
KEY = pkcs8(OWN)


def access(*types: str, **uris: str) -> list[dict[str, str]]:
    """Items of these types; a type's URI is a secret unless it is given."""
    known = {"SERVER_ROOT_CA_CERTIFICATE": CA, "VPC_SUBNET": "subnet:s-0", "VPC_SECURITY_GROUP": "security_group:sg-0"}
    return [{"Type": name, "URI": uris.get(name, known.get(name, LOGIN))} for name in types]


def template(items: Any, secrets: Any = None, **properties: Any) -> dict[str, Any]:
    settings = {"Secrets": {**SETTINGS["Secrets"], **(secrets or {})}}
    return document(readings={"SourceAccessConfigurations": items, **properties}, settings=settings)


def loaded(folder: Path, *args: Any, **properties: Any) -> EventSourceMapping:
    found = load(folder, template(*args, **properties))
    return next(mapping for mapping in found.mappings if mapping.name == "Telemetry.Readings")


TRUSTING = {CA: {"certificate": CERTIFICATE}}


@pytest.mark.parametrize(
    ("items", "secrets", "expected"),
    [
        (NO_LOGIN, {}, KafkaSecurity()),
        (access("BASIC_AUTH"), {LOGIN: PASSWORD}, KafkaSecurity("SASL_SSL", "PLAIN", "u", "top-secret")),
        (
            access("SASL_SCRAM_256_AUTH"),
            {LOGIN: PASSWORD},
            KafkaSecurity("SASL_SSL", "SCRAM-SHA-256", "u", "top-secret"),
        ),
        (
            access("SASL_SCRAM_512_AUTH", "SERVER_ROOT_CA_CERTIFICATE", "VPC_SUBNET", "VPC_SECURITY_GROUP"),
            {LOGIN: PASSWORD, **TRUSTING},
            KafkaSecurity("SASL_SSL", "SCRAM-SHA-512", "u", "top-secret", certificate_authority=CERTIFICATE),
        ),
        (
            access("CLIENT_CERTIFICATE_TLS_AUTH", "SERVER_ROOT_CA_CERTIFICATE"),
            {LOGIN: {"certificate": CHAIN, "privateKey": KEY}, **TRUSTING},
            KafkaSecurity("SSL", certificate_authority=CERTIFICATE, certificate=CHAIN, private_key=KEY),
        ),
        (
            [*NO_LOGIN, *access("SERVER_ROOT_CA_CERTIFICATE")],
            TRUSTING,
            KafkaSecurity("SSL", certificate_authority=CERTIFICATE),
        ),
        (
            access(
                "OAUTHBEARER_AUTH",
                "OAUTHBEARER_SCOPE",
                "OAUTHBEARER_AUDIENCE",
                "OAUTHBEARER_LOGICAL_CLUSTER",
                "OAUTHBEARER_IDENTITY_POOL",
                OAUTHBEARER_SCOPE="read",
                OAUTHBEARER_AUDIENCE="kafka",
                OAUTHBEARER_LOGICAL_CLUSTER="lkc-1",
                OAUTHBEARER_IDENTITY_POOL="pool-1",
            ),
            {LOGIN: TOKENS},
            KafkaSecurity(
                "SASL_SSL",
                "OAUTHBEARER",
                oauth=OAuthClient(
                    "https://idp.example/token",
                    "client",
                    "top-secret",
                    scope="read",
                    audience="kafka",
                    extensions=(("logicalCluster", "lkc-1"), ("identityPoolId", "pool-1")),
                ),
            ),
        ),
    ],
    ids=["none", "plain", "scram-256", "scram-512 and authority", "certificate", "authority only", "token"],
)
def test_a_login_is_what_source_access_configurations_and_their_secrets_say(
    tmp_path: Path, items: Any, secrets: Any, expected: KafkaSecurity
) -> None:
    mapping = loaded(tmp_path, items, secrets)
    assert mapping.security == expected
    for text in (repr(mapping), repr(mapping.security)):
        assert "top-secret" not in text
        assert "PRIVATE KEY" not in text


@pytest.mark.parametrize("algorithm", ["PBES2", "PBES1"])
def test_an_encrypted_key_is_opened_with_its_password(tmp_path: Path, algorithm: str) -> None:
    held = {"certificate": CHAIN, "privateKey": encrypted(OWN, "hush", algorithm), "privateKeyPassword": "hush"}
    mapping = loaded(tmp_path, access("CLIENT_CERTIFICATE_TLS_AUTH"), {LOGIN: held})
    assert mapping.security.private_key_password == "hush"
    assert "hush" not in repr(mapping)


def test_dead_letters_on_the_same_cluster_log_in_as_the_mapping_does(tmp_path: Path) -> None:  # D.1.4
    mapping = loaded(
        tmp_path,
        access("BASIC_AUTH"),
        {LOGIN: PASSWORD},
        ProvisionedPollerConfig=PROVISIONED,
        DestinationConfig={"OnFailure": {"Destination": "kafka://dead"}},
    )
    assert mapping.on_failure == KafkaTarget(("127.0.0.1:19092",), "dead", mapping.security)


def test_an_msk_cluster_s_authority_stands_in_its_address(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    event = {
        "Type": "MSK",
        "Properties": {
            "Stream": CLUSTER,
            "Topics": ["orders"],
            "StartingPosition": "LATEST",
            "SourceAccessConfigurations": access("SASL_SCRAM_512_AUTH"),
        },
    }
    content = template(NO_LOGIN, {LOGIN: PASSWORD})
    content["Metadata"]["Poller"]["Endpoints"][CLUSTER] = "kafka://h:9096?cacertfile=ca.pem"
    content["Resources"]["Telemetry"]["Properties"]["Events"]["Orders"] = event
    found = {mapping.name: mapping for mapping in load(tmp_path, content).mappings}["Telemetry.Orders"]
    assert found.bootstrap_servers == ("h:9096",)
    assert found.security == KafkaSecurity(
        "SASL_SSL", "SCRAM-SHA-512", "u", "top-secret", certificate_authority=CERTIFICATE
    )
    event["Properties"]["SourceAccessConfigurations"] = access("BASIC_AUTH", "SERVER_ROOT_CA_CERTIFICATE")
    path = "Resources.Telemetry.Properties.Events.Orders.SourceAccessConfigurations"
    assert problems(tmp_path, content) == [
        (
            f"{path}[0].Type: BASIC_AUTH is for self-managed Kafka only, as on AWS "
            "(MSK takes SASL_SCRAM_512_AUTH or CLIENT_CERTIFICATE_TLS_AUTH)"
        ),
        (
            f"{path}[1].Type: SERVER_ROOT_CA_CERTIFICATE is for self-managed Kafka only, as on AWS (an authority of "
            "your own is cacertfile of the cluster's address: kafka://host:9094?cacertfile=ca.pem)"
        ),
    ]


WRONG: dict[str, tuple[Any, Any, list[str]]] = {
    "no secret": (
        access("SASL_SCRAM_512_AUTH"),
        {},
        [(f"{ACCESS}: no secret is known for {LOGIN} (add under {SECRETS}: {LOGIN}: {{username: …, password: …}})")],
    ),
    "misspelt key": (
        access("BASIC_AUTH"),
        {LOGIN: {"username": "u", "passwort": "top-secret"}},
        [(f"{SECRETS}.{LOGIN}: has no password (expected for BASIC_AUTH: username, password; did you mean password?)")],
    ),
    "certificate without key": (
        access("CLIENT_CERTIFICATE_TLS_AUTH"),
        {LOGIN: {"certificate": CHAIN}},
        [(f"{SECRETS}.{LOGIN}: has no privateKey (expected for CLIENT_CERTIFICATE_TLS_AUTH: certificate, privateKey)")],
    ),
    "password for a certificate": (
        access("CLIENT_CERTIFICATE_TLS_AUTH"),
        {LOGIN: PASSWORD},
        [
            (
                f"{SECRETS}.{LOGIN}: has no certificate and no privateKey "
                "(expected for CLIENT_CERTIFICATE_TLS_AUTH: certificate, privateKey)"
            )
        ],
    ),
    "two logins": (
        access("BASIC_AUTH", "SASL_SCRAM_256_AUTH"),
        {LOGIN: PASSWORD},
        [f"{ACCESS}: a mapping logs in one way, here are BASIC_AUTH and SASL_SCRAM_256_AUTH"],
    ),
    "one login twice": (
        access("BASIC_AUTH", "BASIC_AUTH"),
        {LOGIN: PASSWORD},
        [f"{ACCESS}: BASIC_AUTH stands 2 times, 1 is allowed"],
    ),
    "misspelt type": (
        access("SASL_SCRAM_521_AUTH"),
        {},
        [f"{ACCESS}[0].Type: SASL_SCRAM_521_AUTH is no way to log in to Kafka (did you mean SASL_SCRAM_512_AUTH?)"],
    ),
    "IAM": (
        access("IAM_AUTH"),
        {},
        [f"{ACCESS}[0].Type: IAM_AUTH is not supported: there is no IAM here (use another way to log in)"],
    ),
    "virtual host": (
        [*NO_LOGIN, *access("VIRTUAL_HOST", VIRTUAL_HOST="v")],
        {},
        [f"{ACCESS}[2].Type: VIRTUAL_HOST belongs to MQ"],
    ),
    "a name instead of an ARN": (
        access("BASIC_AUTH", BASIC_AUTH="login"),
        {"login": PASSWORD},
        [f'{ACCESS}[0].URI: "login" is not the ARN of a secret (arn:aws:secretsmanager:…)'],
    ),
    "authority alone": (
        access("SERVER_ROOT_CA_CERTIFICATE"),
        TRUSTING,
        [f"{ACCESS}: names an authority and no login {NO_LOGIN_HINT}"],
    ),
    "half of the network beside a login": (
        access("BASIC_AUTH", "VPC_SUBNET"),
        {LOGIN: PASSWORD},
        [f"{ACCESS}: VPC_SUBNET and VPC_SECURITY_GROUP must both be there {NO_LOGIN_HINT}"],
    ),
    "scope without token": (
        access("BASIC_AUTH", "OAUTHBEARER_SCOPE", OAUTHBEARER_SCOPE="read"),
        {LOGIN: PASSWORD},
        [f"{ACCESS}[1].Type: OAUTHBEARER_SCOPE needs OAUTHBEARER_AUTH, as on AWS"],
    ),
    "token by signature": (
        access("OAUTHBEARER_AUTH"),
        {LOGIN: {**TOKENS, "oauthPrivateKey": KEY}},
        [
            (
                f"{SECRETS}.{LOGIN}: holds oauthPrivateKey: the grant JWT bearer is not supported, client credentials is "
                "(expected for OAUTHBEARER_AUTH: oauthTokenEndpointUrl, oauthClientId, oauthClientSecret)"
            )
        ],
    ),
    "token endpoint in the open": (
        access("OAUTHBEARER_AUTH"),
        {LOGIN: {**TOKENS, "oauthTokenEndpointUrl": "http://idp/token"}},
        [f"{SECRETS}.{LOGIN}.oauthTokenEndpointUrl: must have the form https://host/path"],
    ),
    "authority that is none": (
        access("BASIC_AUTH", "SERVER_ROOT_CA_CERTIFICATE"),
        {LOGIN: PASSWORD, CA: {"certificate": "top-secret"}},
        [
            (
                f"{SECRETS}.{CA}: Provided certificate or private key is invalid: "
                "certificate is not in PEM format (-----BEGIN CERTIFICATE-----)"
            )
        ],
    ),
}


@pytest.mark.parametrize(("items", "secrets", "expected"), WRONG.values(), ids=WRONG)
def test_a_login_that_cannot_work_is_refused(tmp_path: Path, items: Any, secrets: Any, expected: list[str]) -> None:
    found = problems(tmp_path, template(items, secrets))
    assert found == expected
    assert "top-secret" not in "".join(found)


OTHER_KEY = pkcs8(AUTHORITY.issue_cert("other"))
GOOD_KEYS = {"certificate": CHAIN, "privateKey": KEY}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"certificate": "none"}, "certificate is not in PEM format (-----BEGIN CERTIFICATE-----)"),
        (
            {"privateKey": pkcs1(OWN)},
            (
                "privateKey is not in PKCS#8 PEM format (-----BEGIN PRIVATE KEY-----); "
                "openssl pkcs8 -topk8 brings it into this format"
            ),
        ),
        ({"privateKey": OTHER_KEY}, "certificate and privateKey do not belong together"),
        ({"privateKey": KEY.replace("\n", " ")}, "privateKey is not in PKCS#8 PEM format: it is damaged"),
        (
            {"privateKey": encrypted(OWN, "hush", "PBES2")},
            "privateKey is encrypted, and there is no privateKeyPassword",
        ),
        (
            {"privateKey": encrypted(OWN, "hush", "PBES2"), "privateKeyPassword": "wrong"},
            "privateKeyPassword does not open privateKey",
        ),
    ],
)
def test_a_client_certificate_that_cannot_work_is_refused_with_the_words_of_aws(  # C.2
    tmp_path: Path, changed: dict[str, str], expected: str
) -> None:
    found = problems(tmp_path, template(access("CLIENT_CERTIFICATE_TLS_AUTH"), {LOGIN: GOOD_KEYS | changed}))
    assert found == [f"{SECRETS}.{LOGIN}: Provided certificate or private key is invalid: {expected}"]


def test_remarks_around_certificates_do_no_harm(tmp_path: Path) -> None:
    held = {"certificate": f"friendlyName: Zoë\n{CHAIN}", "privateKey": KEY}
    authority = {"certificate": f"subject=Ünïcode\n{CERTIFICATE}"}
    items = access("CLIENT_CERTIFICATE_TLS_AUTH", "SERVER_ROOT_CA_CERTIFICATE")
    assert loaded(tmp_path, items, {LOGIN: held, CA: authority}).security.protocol == "SSL"


@pytest.mark.parametrize("certificate", ["\u00eb", "\udcff", "\0", " ", "-----BEGIN CERTIFICATE-----\n"])
def test_a_text_that_is_no_certificate_is_never_taken_for_none(certificate: str) -> None:
    with pytest.raises(InvalidKeys, match="certificate is not in PEM format"):
        trusting(certificate)


@pytest.mark.parametrize("rest", ["\ud800", "\0", "Zo\u00eb"])
def test_a_damaged_key_is_told_and_not_shown(rest: str) -> None:
    key = f"-----BEGIN PRIVATE KEY-----\n{rest}"
    with pytest.raises(InvalidKeys, match="privateKey is not in PKCS#8 PEM format: it is damaged"):
        tls_context(KafkaSecurity("SSL", certificate=CHAIN, private_key=key))


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="Linux has files in memory")
def test_a_private_key_reaches_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    keys = KafkaSecurity("SSL", certificate=CHAIN, private_key=KEY)
    assert tls_context(keys).verify_mode is ssl.CERT_REQUIRED


def test_a_system_without_files_in_memory_has_the_key_on_a_disk_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    keys = KafkaSecurity("SSL", certificate=CHAIN, private_key=KEY)
    assert tls_context(keys).verify_mode is ssl.CERT_REQUIRED
    assert [*tmp_path.iterdir()] == []
    with pytest.raises(InvalidKeys):
        tls_context(replace(keys, private_key=f"{KEY}\ud800"))
    assert [*tmp_path.iterdir()] == []


def test_what_is_wrong_with_a_secret_that_two_mappings_name_is_said_once(tmp_path: Path) -> None:
    content = template(access("BASIC_AUTH", BASIC_AUTH=SECRET))
    content["Metadata"]["Poller"]["Secrets"] = {SECRET: {"username": "u"}}
    assert problems(tmp_path, content) == [
        f"{SECRETS}.{SECRET}: has no password (expected for BASIC_AUTH: username, password)"
    ]


def test_mq_names_its_own_way_to_an_authority(tmp_path: Path) -> None:  # D.2
    items = access("BASIC_AUTH", "SERVER_ROOT_CA_CERTIFICATE", BASIC_AUTH=SECRET)
    assert problems(tmp_path, document(queue={"SourceAccessConfigurations": items})) == [
        (
            "Resources.Tasks.Properties.Events.Queue.SourceAccessConfigurations[1].Type: SERVER_ROOT_CA_CERTIFICATE is "
            "not BASIC_AUTH or VIRTUAL_HOST (an authority of your own is cacertfile of the broker's address: "
            "amqps://host:5671?cacertfile=ca.pem)"
        )
    ]
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    content = document(settings={"Endpoints": {BROKER: "amqps://rabbit?cacertfile=ca.pem"}})
    (mapping,) = [one for one in load(tmp_path, content).mappings if one.name == "Tasks.Queue"]
    assert mapping.broker_url is not None
    assert mapping.broker_url.get_secret_value().startswith("amqps://guest:top-secret@rabbit:5671/%2F?cacertfile=")


def test_securities_are_equal_by_value() -> None:  # what the tests above lean on
    assert KafkaSecurity("SSL") != replace(KafkaSecurity("SSL"), certificate="c")
