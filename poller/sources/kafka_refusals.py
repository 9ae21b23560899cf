"""What a Kafka cluster's refusals mean: reason and result of C.2, the same for both clients. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from poller.errors import SourceError, SourceRejected, SourceUnavailable
from poller.sources.kafka_oauth import TokenError


@dataclass(frozen=True, slots=True)
class Refusal:
    """What does not get better by itself."""

    code: str
    """StateTransitionReason."""
    result: str | None = None
    """LastProcessingResult, where there is one."""

    def rejected(self, text: str) -> SourceRejected:
        """The error that says so, with a text for a person."""
        return SourceRejected(text, code=self.code, last_processing_result=self.result)


SASL = Refusal("EVENT_SOURCE_AUTHN_ERROR", "PROBLEM: SASL authentication failed")
SERVER = Refusal("EVENT_SOURCE_AUTHN_ERROR", "PROBLEM: Lambda failed to authenticate server")
CLIENT = Refusal("EVENT_SOURCE_AUTHN_ERROR", "PROBLEM: Server failed to authenticate Lambda")
KEYS = Refusal("ESM_CONFIG_NOT_VALID", "PROBLEM: Provided certificate or private key is invalid")
ACCESS = Refusal("EVENT_SOURCE_AUTHZ_ERROR", "PROBLEM: Cluster failed to authorize Lambda")
CONFIGURATION = Refusal("ESM_CONFIG_NOT_VALID")

_OF_THE_SERVER = ("certificate verify failed", "certificate could not be verified", "hostname mismatch")
_OF_THE_CLIENT = (
    "certificate required",
    "alert bad certificate",
    "alert unknown ca",
    "alert unsupported certificate",
    "alert certificate",  # revoked, expired, unknown
    "alert access denied",
)


def tls_refusal(text: str) -> tuple[Refusal, str] | None:
    """What OpenSSL's words mean, in which both clients tell what went wrong, and a text for a person.

    None when they speak of a connection that was lost or is none of TLS.
    """
    words = text.lower().replace("_", " ")
    if any(sign in words for sign in _OF_THE_SERVER):
        return SERVER, "the certificate of the broker is signed by an unknown authority or is not for this address"
    if any(sign in words for sign in _OF_THE_CLIENT):
        return CLIENT, "the broker does not take the client certificate, or wants one"
    return None


def token_refusal(error: TokenError, addresses: str) -> SourceError:
    """What it means for a cluster that there is no token for it."""
    text = f"no token for Kafka at {addresses}: {error}"
    return SASL.rejected(text) if error.refused else SourceUnavailable(text)
