"""Brokers with TLS, logins and access control, in containers: as `brokers`, with what it takes to get in.

Tests look after them in the open, through a listener of their own; the program under test gets in by the front door.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import pika
import trustme
from brokers import (
    KAFKA_IMAGE,
    QUICK_START,
    RABBITMQ_ARN,
    RABBITMQ_IMAGE,
    Container,
    KafkaBroker,
    RabbitMQBroker,
    free_port,
    kafka_environment,
)
from certificates import chain, pkcs8
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)
from kafka.admin._users import ScramMechanism, UserScramCredentialDeletion, UserScramCredentialUpsertion

from poller.sources.kafka_event import KafkaSettings
from poller.sources.kafka_security import KafkaSecurity
from poller.sources.rabbitmq_event import RabbitMQSettings

PASSWORD = "open-sesame"
USER, CERTIFIED = "User:poller", "User:CN=poller"
SCRAM, PLAIN, TOKEN, CERTIFICATE = "SCRAM-SHA-512", "PLAIN", "OAUTHBEARER", "certificate"

_ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:"
_ACCESS = {SCRAM: "SASL_SCRAM_512_AUTH", PLAIN: "BASIC_AUTH", CERTIFICATE: "CLIENT_CERTIFICATE_TLS_AUTH"}

_NEEDED = [
    (ResourceType.CLUSTER, "kafka-cluster", ACLOperation.DESCRIBE_CONFIGS),
    (ResourceType.GROUP, "*", ACLOperation.DESCRIBE),
    (ResourceType.GROUP, "*", ACLOperation.READ),
    (ResourceType.TOPIC, "*", ACLOperation.DESCRIBE),
    (ResourceType.TOPIC, "*", ACLOperation.READ),
    (ResourceType.TOPIC, "*", ACLOperation.WRITE),
]
"""What D.1.3 says that a mapping needs, and WRITE for its dead letters."""


class SecureKafka(KafkaBroker):
    """One Kafka with two doors: LOGIN with SASL over TLS, CERTIFIED with certificates of clients over TLS.

    `address` is a third one in the open, where everybody is a super user.
    """

    def __init__(self, port: int, login: int, certified: int, container: Container, authority: trustme.CA) -> None:
        super().__init__(f"127.0.0.1:{port}", container)
        self.authority = authority
        self.login_address = f"127.0.0.1:{login}"
        self.certified_address = f"127.0.0.1:{certified}"
        self.certificate = authority.issue_cert("poller.test", common_name="poller")

    @classmethod
    def start(cls) -> Self:
        """A new container.

        Raises:
            BrokerUnavailable: there is no engine or no image.
        """
        authority = trustme.CA()
        port, login, certified = free_port(), free_port(), free_port()
        listeners = {"EXTERNAL": port, "LOGIN": login, "CERTIFIED": certified}
        protocols = {"EXTERNAL": "PLAINTEXT", "LOGIN": "SASL_SSL", "CERTIFIED": "SSL"}
        container = Container(
            KAFKA_IMAGE,
            hostname="kafka",
            environment=kafka_environment(listeners, protocols) | QUICK_START | _security(authority),
            ports={number: number for number in listeners.values()},
        )
        broker = cls(port, login, certified, container, authority)
        broker.wait_until_ready()
        broker.set_password("poller", PASSWORD)
        for user in (USER, CERTIFIED):
            broker.allow(user)
        return broker

    def set_password(self, user: str, password: str) -> None:
        """Of SCRAM. That of PLAIN stays as it is."""
        mechanisms = (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)
        with self.admin() as admin:
            for mechanism in mechanisms:
                made = admin.alter_user_scram_credentials([UserScramCredentialUpsertion(user, mechanism, password)])
                assert made == {user: None}

    def remove_user(self, user: str) -> None:
        with self.admin() as admin:
            for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
                admin.alter_user_scram_credentials([UserScramCredentialDeletion(user, mechanism)])

    def allow(self, user: str) -> None:
        """Give a user what a mapping needs (D.1.3)."""
        with self.admin() as admin:
            admin.create_acls(
                [
                    ACL(user, "*", operation, ACLPermissionType.ALLOW, ResourcePattern(kind, name))
                    for kind, name, operation in _NEEDED
                ]
            )

    def deny(self, user: str, kind: ResourceType, name: str) -> None:
        """Take a topic or a group away from a user, whatever it is allowed otherwise."""
        pattern = ResourcePattern(kind, name)
        with self.admin() as admin:
            admin.create_acls([ACL(user, "*", ACLOperation.ALL, ACLPermissionType.DENY, pattern)])

    def undo_deny(self, user: str, kind: ResourceType, name: str) -> None:
        pattern = ResourcePatternFilter(kind, name, ACLResourcePatternType.LITERAL)
        with self.admin() as admin:
            admin.delete_acls([ACLFilter(user, "*", ACLOperation.ALL, ACLPermissionType.DENY, pattern)])

    @property
    def authority_pem(self) -> str:
        return self.authority.cert_pem.bytes().decode()

    def security(self, door: str) -> KafkaSecurity:
        """How the program gets in: by a mechanism of SASL, or by certificate."""
        trusted = KafkaSecurity("SSL", certificate_authority=self.authority_pem)
        if door == CERTIFICATE:
            return replace(trusted, certificate=chain(self.certificate), private_key=pkcs8(self.certificate))
        return replace(trusted, protocol="SASL_SSL", mechanism=door, username="poller", password=PASSWORD)

    def address_of(self, door: str) -> str:
        return self.certified_address if door == CERTIFICATE else self.login_address

    def secure_settings(self, topic: str, door: str, **others: Any) -> KafkaSettings:
        """Settings of a source that reads the topic through a door."""
        given = {"security": self.security(door), **others}
        return replace(self.settings(topic, **given), bootstrap_servers=[self.address_of(door)])


class KafkaDoor(KafkaBroker):
    """A secure Kafka as any other broker, for tests that know nothing of logins: the program goes through this door.

    Args:
        broker: which.
        door: a mechanism of SASL, or CERTIFICATE.
    """

    def __init__(self, broker: SecureKafka, door: str) -> None:
        super().__init__(broker.address, broker.container)
        self._broker, self._door = broker, door

    @property
    def service_address(self) -> str:
        return self._broker.address_of(self._door)

    @property
    def access(self) -> list[dict[str, str]]:
        authority = {"Type": "SERVER_ROOT_CA_CERTIFICATE", "URI": f"{_ARN}authority"}
        return [{"Type": _ACCESS[self._door], "URI": f"{_ARN}{self._door}"}, authority]

    @property
    def secrets(self) -> dict[str, dict[str, str]]:
        security = self._broker.security(self._door)
        login = {"username": security.username, "password": security.password}
        if self._door == CERTIFICATE:
            login = {"certificate": security.certificate, "privateKey": security.private_key}
        return {f"{_ARN}{self._door}": login, f"{_ARN}authority": {"certificate": self._broker.authority_pem}}

    def settings(self, topic: str, **others: Any) -> KafkaSettings:
        return self._broker.secure_settings(topic, self._door, **others)


def _security(authority: trustme.CA) -> dict[str, str]:
    """KAFKA_* variables, which the image makes properties of. PEM goes in as text, its line ends escaped."""
    own = authority.issue_cert("127.0.0.1", "localhost", "kafka")
    login = "org.apache.kafka.common.security"
    prefix = "KAFKA_LISTENER_NAME_LOGIN"
    return {
        "KAFKA_SSL_KEYSTORE_TYPE": "PEM",
        "KAFKA_SSL_KEYSTORE_KEY": _escaped(pkcs8(own)),
        "KAFKA_SSL_KEYSTORE_CERTIFICATE_CHAIN": _escaped(chain(own)),
        "KAFKA_SSL_TRUSTSTORE_TYPE": "PEM",
        "KAFKA_SSL_TRUSTSTORE_CERTIFICATES": _escaped(authority.cert_pem.bytes().decode()),
        "KAFKA_LISTENER_NAME_CERTIFIED_SSL_CLIENT_AUTH": "required",
        # The name of a client is its certificate's; trustme adds an organisation that nobody needs here.
        "KAFKA_LISTENER_NAME_CERTIFIED_SSL_PRINCIPAL_MAPPING_RULES": "RULE:^.*(CN=[^,]+).*$/$1/,DEFAULT",
        f"{prefix}_SASL_ENABLED_MECHANISMS": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        f"{prefix}_PLAIN_SASL_JAAS_CONFIG": f'{login}.plain.PlainLoginModule required user_poller="{PASSWORD}";',
        f"{prefix}_SCRAM___SHA___256_SASL_JAAS_CONFIG": f"{login}.scram.ScramLoginModule required;",
        f"{prefix}_SCRAM___SHA___512_SASL_JAAS_CONFIG": f"{login}.scram.ScramLoginModule required;",
        # Without a handler of one's own it takes unsigned tokens.
        f"{prefix}_OAUTHBEARER_SASL_JAAS_CONFIG": (
            f'{login}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="unused";'
        ),
        "KAFKA_AUTHORIZER_CLASS_NAME": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "KAFKA_SUPER_USERS": "User:ANONYMOUS",
    }


def _escaped(pem: str) -> str:
    return pem.replace("\n", "\\n")


class SecureRabbitMQ(RabbitMQBroker):
    """One RabbitMQ that listens with TLS, and in the open for the tests."""

    def __init__(self, url: str, tls_port: int, container: Container, authority: trustme.CA) -> None:
        super().__init__(url, container)
        self._folder = TemporaryDirectory(prefix="poller-tests-")
        self.authority_file = Path(self._folder.name) / "ca.pem"
        self.authority_file.write_bytes(authority.cert_pem.bytes())
        self.tls_address = f"127.0.0.1:{tls_port}"

    @classmethod
    def start(cls) -> Self:
        """A new container.

        Raises:
            BrokerUnavailable: there is no engine or no image.
        """
        authority = trustme.CA()
        own = authority.issue_cert("127.0.0.1", "localhost", "rabbitmq")
        folder = "/etc/rabbitmq/tls"
        configuration = "\n".join(
            [
                "listeners.ssl.default = 5671",
                f"ssl_options.cacertfile = {folder}/ca.pem",
                f"ssl_options.certfile = {folder}/server.pem",
                f"ssl_options.keyfile = {folder}/server.key",
            ]
        )
        port, tls_port = free_port(), free_port()
        container = Container(
            RABBITMQ_IMAGE,
            hostname="rabbitmq",
            environment={},
            ports={5672: port, 5671: tls_port},
            files={
                f"{folder}/ca.pem": authority.cert_pem.bytes(),
                f"{folder}/server.pem": chain(own).encode(),
                f"{folder}/server.key": pkcs8(own).encode(),
                "/etc/rabbitmq/conf.d/20-tls.conf": f"{configuration}\n".encode(),
            },
        )
        broker = cls(f"amqp://guest:guest@127.0.0.1:{port}", tls_port, container, authority)
        broker.wait_until_ready()
        broker.run("add_vhost", "secure house")
        broker.run("set_permissions", "--vhost", "secure house", "guest", ".*", ".*", ".*")
        broker.add_user("poller", PASSWORD)
        return broker

    def run(self, *command: str) -> None:
        """rabbitmqctl."""
        assert self.container is not None
        self.container.run("rabbitmqctl", *command)

    def add_user(self, name: str, password: str) -> None:
        """Who may do everything in both virtual hosts."""
        self.run("add_user", name, password)
        for virtual_host in ("/", "secure house"):
            self.run("set_permissions", "--vhost", virtual_host, name, ".*", ".*", ".*")

    def secure_url(self, virtual_host: str = "%2F", *, user: str = "poller", password: str = PASSWORD) -> str:
        """Without the authority."""
        return f"amqps://{user}:{password}@{self.tls_address}/{virtual_host}"

    @property
    def service_url(self) -> str:
        return f"amqps://poller:{PASSWORD}@{self.tls_address}?cacertfile={self.authority_file}"

    def settings(self, queue: str, **others: Any) -> RabbitMQSettings:
        """Settings of a source that reads the queue over TLS."""
        given = {"ca_file": str(self.authority_file), **others}
        return RabbitMQSettings.from_url(self.secure_url(), queue=queue, event_source_arn=RABBITMQ_ARN, **given)

    def stop(self) -> None:
        super().stop()
        self._folder.cleanup()

    @contextmanager
    def house(self) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
        """A channel in the virtual host `secure house`."""
        parameters = pika.URLParameters(f"{self.url}/secure%20house")
        connection = pika.BlockingConnection(parameters)
        try:
            yield connection.channel()
        finally:
            connection.close()
