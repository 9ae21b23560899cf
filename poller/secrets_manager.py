"""Secrets from AWS Secrets Manager through AWS's own client, or from what answers at its address in its stead.

Needs the extra `aws`. Credentials, region and address come from where AWS's client looks for them: variables such as
AWS_ENDPOINT_URL_SECRETS_MANAGER, the profile, the machine's role.
"""

from __future__ import annotations

import re
from typing import Any

_ARN = re.compile(r"arn:aws[a-z-]*:secretsmanager:([a-z0-9-]+):.+")
_TIMEOUT = 5
"""Seconds to connect, and again for the answer; it is asked three times."""
_REFUSALS = {
    "ResourceNotFoundException": "there is no such secret",
    "AccessDeniedException": "these credentials may not read it",
    "DecryptionFailure": "it cannot be decrypted with its key",
    "UnrecognizedClientException": "these credentials are not valid",
    "InvalidSignatureException": "these credentials are not valid",
    "InvalidClientTokenId": "these credentials are not valid",
    "ExpiredTokenException": "these credentials have expired",
    "InvalidRequestException": "it is marked for deletion, or has no value",
    "ValidationException": "that is no name of a secret",
}


def secret_value(secret_id: str, region: str) -> str:
    """The text of a secret. Blocks for half a minute at most.

    Args:
        secret_id: name or ARN, as GetSecretValue takes it.
        region: for a name where AWS's own variables and profile say none; an ARN says it itself.

    Raises:
        ValueError: for a person; with none of the secret in it.
    """
    try:
        import boto3  # noqa: PLC0415 - an extra, and half a second to import
        from botocore.config import Config  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    except ImportError:
        raise ValueError("boto3 is not installed (pip install 'poller[aws]')") from None
    config = Config(connect_timeout=_TIMEOUT, read_timeout=_TIMEOUT, retries={"total_max_attempts": 3})
    arn = _ARN.fullmatch(secret_id)
    answer: dict[str, Any]
    try:
        session = boto3.Session()
        client = session.client(
            "secretsmanager", region_name=arn[1] if arn else session.region_name or region, config=config
        )
        answer = client.get_secret_value(SecretId=secret_id)
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "unknown error"))
        raise ValueError(f"Secrets Manager refuses: {_REFUSALS.get(code, code)}") from None
    except (BotoCoreError, ValueError) as error:  # no credentials, no answer, no such profile, no URL
        raise ValueError(f"Secrets Manager cannot be asked: {error}") from None
    if "SecretString" in answer:
        return str(answer["SecretString"])
    try:
        return bytes(answer.get("SecretBinary", b"")).decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
