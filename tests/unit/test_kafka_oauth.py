"""Tokens of an identity provider (D.1.3): asked for over TLS, used until most of their life is over, renewed."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace

import pytest
import trustme
from identity_provider import IdentityProvider

from poller.errors import SourceRejected, SourceUnavailable
from poller.sources.kafka_oauth import OAuthClient, TokenError, TokenSource
from poller.sources.kafka_refusals import token_refusal
from poller.sources.kafka_security import KafkaSecurity, kafka_python_options, librdkafka_options

CA = trustme.CA()
TRUSTED = CA.cert_pem.bytes().decode()


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with IdentityProvider(CA) as running:
        yield running


def client(provider: IdentityProvider) -> OAuthClient:
    return OAuthClient(
        provider.url,
        "the client",
        "top:secret",
        certificate_authority=TRUSTED,
        scope="read write",
        audience="kafka",
        extensions=(("logicalCluster", "lkc-1"),),
    )


def test_the_request_has_grant_scope_audience_and_the_client_s_login(provider: IdentityProvider) -> None:
    assert TokenSource(client(provider)).token().text == provider.tokens[0]
    (request,) = provider.requests
    assert request.form == {"grant_type": "client_credentials", "scope": "read write", "audience": "kafka"}
    assert request.login == "the+client:top%3Asecret"  # RFC 6749, 2.3.1


def test_a_token_is_renewed_when_four_fifths_of_its_life_are_over(provider: IdentityProvider) -> None:
    provider.life = 100
    now = [1000.0]
    tokens = TokenSource(client(provider), lambda: now[0])
    first = tokens.token()
    assert first.expires == 1100
    now[0] = 1079
    assert tokens.token() is first
    now[0] = 1080
    assert tokens.token().text == provider.tokens[1] != first.text


def test_both_clients_get_token_and_extensions(provider: IdentityProvider) -> None:
    security = KafkaSecurity("SASL_SSL", "OAUTHBEARER", oauth=client(provider))
    python = kafka_python_options(security, security.token_source())
    assert python["sasl_mechanism"] == "OAUTHBEARER"
    assert python["sasl_oauth_token_provider"].token() == provider.tokens[0]
    assert python["sasl_oauth_token_provider"].extensions() == {"logicalCluster": "lkc-1"}
    other = librdkafka_options(security, security.token_source())
    text, expires, principal, extensions = other["oauth_cb"]("")
    assert (text, principal, extensions) == (provider.tokens[1], "the client", {"logicalCluster": "lkc-1"})
    assert expires > 1e9  # seconds since the epoch


def test_a_client_that_is_refused_is_told_with_the_standard_s_word_only(provider: IdentityProvider) -> None:
    provider.refusal = 401, '{"error": "invalid_client", "error_description": "top:secret is wrong"}'
    with pytest.raises(TokenError) as caught:
        TokenSource(client(provider)).token()
    assert str(caught.value) == f"the token endpoint {provider.url} refuses: invalid_client (status 401)"
    refused = token_refusal(caught.value, "b:1")
    assert isinstance(refused, SourceRejected)
    assert refused.code == "EVENT_SOURCE_AUTHN_ERROR"  # C.2
    assert refused.last_processing_result == "PROBLEM: SASL authentication failed"


@pytest.mark.parametrize("body", ["no JSON", "[]", "{}", '{"access_token": 5}', '{"access_token": "a\\u0001b"}'])
def test_an_answer_without_a_token_is_a_refusal(provider: IdentityProvider, body: str) -> None:
    provider.answer = body
    with pytest.raises(TokenError, match="gives no answer with an access_token") as caught:
        TokenSource(client(provider)).token()
    assert caught.value.refused


def test_trouble_of_the_provider_is_no_refusal_and_the_next_try_may_do(provider: IdentityProvider) -> None:
    provider.refusal = 503, "busy"
    tokens = TokenSource(client(provider))
    with pytest.raises(TokenError, match="status 503") as caught:
        tokens.token()
    assert isinstance(token_refusal(caught.value, "b:1"), SourceUnavailable)
    provider.refusal = None
    assert tokens.token().text == provider.tokens[0]


def test_a_provider_that_is_not_trusted_or_not_there_is_told(provider: IdentityProvider) -> None:
    stranger = replace(client(provider), certificate_authority=trustme.CA().cert_pem.bytes().decode())
    with pytest.raises(TokenError, match="has a certificate that is not trusted") as caught:
        TokenSource(stranger).token()
    assert caught.value.refused
    assert provider.requests == []
    absent = replace(client(provider), token_endpoint="https://127.0.0.1:1/token")
    with pytest.raises(TokenError, match="does not answer") as caught:
        TokenSource(absent).token()
    assert not caught.value.refused


def test_no_secret_shows_and_a_login_can_be_sent_to_a_worker(provider: IdentityProvider) -> None:
    security = KafkaSecurity("SASL_SSL", "OAUTHBEARER", oauth=client(provider))
    assert "top:secret" not in repr(security)
    assert provider.url in repr(security)
    assert pickle.loads(pickle.dumps(security)) == security
    token = TokenSource(client(provider)).token()
    assert token.text not in repr(token)
