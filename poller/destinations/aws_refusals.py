"""What errors of SQS, SNS, EventBridge and S3 mean for whoever sends: try again, log in anew, or give up. Pure."""

from __future__ import annotations

from poller.errors import DestinationError, DestinationLoginRefused, DestinationRefused

LOGIN = {
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "MissingAuthenticationToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
}
"""Codes for credentials that are wrong or no longer good. Others may come in their place."""

DENIED = {
    "AccessDenied",
    "AccessDeniedException",
    "AuthorizationError",
    "AuthorizationErrorException",
    "KMSAccessDeniedException",
    "KmsAccessDenied",
    "NotAuthorizedForDetailTypeException",
    "NotAuthorizedForSourceException",
}

MISSING = {
    "AWS.SimpleQueueService.NonExistentQueue",
    "NoSuchBucket",
    "NotFound",
    "NotFoundException",
    "QueueDoesNotExist",
    "ResourceNotFoundException",
}

AGAIN = {
    "InternalException",
    "InternalFailure",
    "InternalServerError",
    "KMSThrottlingException",
    "KmsThrottled",
    "OverLimit",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestTimeTooSkewed",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttled",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}

FORBIDDEN, NOT_THERE, TOO_MANY, SERVER_ERROR = 403, 404, 429, 500


def refusal(text: str, code: str, status: int) -> DestinationError:
    """The error to raise.

    Args:
        text: for a person.
        code: of the answer, with or without what its protocol puts around it.
        status: of HTTP; 0 where there is none, as for one entry of several.
    """
    code = code.rpartition("#")[2].removesuffix("Fault")
    if code in LOGIN:
        return DestinationLoginRefused(text)
    if code in AGAIN or status == TOO_MANY or status >= SERVER_ERROR:
        return DestinationError(text)
    if code in MISSING or status == NOT_THERE:
        return DestinationRefused(text, "Missing")
    if code in DENIED or status == FORBIDDEN:
        return DestinationRefused(text, "Denied")
    return DestinationRefused(text, "Record")
