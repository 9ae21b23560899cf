"""What of AWS's HTTP events, APIs and function URLs works here, has no effect here or is refused, and why.

The template's reader and the documentation take their lists from this file.
"""

from __future__ import annotations

HTTP_API = "AWS::Serverless::HttpApi"
REST_API = "AWS::Serverless::Api"
FUNCTION_URL = "AWS::Lambda::Url"

_NO_AUTHORIZERS = "there are no authorizers here: let the function look at who calls"
_NO_THROTTLING = "requests are not counted here; ReservedConcurrentExecutions of the function is a bound"
_NO_DEFINITIONS = "routes are the functions' events here, no OpenAPI document"
_NO_DOMAINS = "an API is reached by /_api/<id>/ and <id>.execute-api.localhost here"
_NO_CACHE = "answers are not kept here"
_ONE_VERSION = "there is one deployment here"
_A_REMARK = "a remark"
_TAGS = "tags are for AWS's bill and console"

EVENTS = ("HttpApi", "Api")
"""Types of events of a SAM function that make routes."""

EVENTS_REFUSED = {
    "HttpApi": {"Auth": _NO_AUTHORIZERS, "RouteSettings": _NO_THROTTLING},
    "Api": {
        "Auth": _NO_AUTHORIZERS,
        "RequestModel": "requests are not validated here",
        "RequestParameters": "requests are not validated here",
        "ResponseTransferMode": "answers of REST APIs are sent in one piece here; function URLs stream",
    },
}

APIS_REFUSED = {
    HTTP_API: {
        "Auth": _NO_AUTHORIZERS,
        "DefaultRouteSettings": _NO_THROTTLING,
        "DefinitionBody": _NO_DEFINITIONS,
        "DefinitionUri": _NO_DEFINITIONS,
        "DisableExecuteApiEndpoint": _NO_DOMAINS,
        "Domain": _NO_DOMAINS,
        "RouteSettings": _NO_THROTTLING,
    },
    REST_API: {
        "Auth": _NO_AUTHORIZERS,
        "CacheClusterEnabled": _NO_CACHE,
        "CacheClusterSize": _NO_CACHE,
        "CanarySetting": _ONE_VERSION,
        "DefinitionBody": _NO_DEFINITIONS,
        "DefinitionUri": _NO_DEFINITIONS,
        "DisableExecuteApiEndpoint": _NO_DOMAINS,
        "Domain": _NO_DOMAINS,
        "GatewayResponses": "errors of the API itself have AWS's texts here",
        "MergeDefinitions": _NO_DEFINITIONS,
        "MethodSettings": _NO_THROTTLING,
        "MinimumCompressionSize": "answers are sent as the function gave them",
        "Models": "requests are not validated here",
        "Policy": "there is no IAM here: everybody who reaches the port may call",
    },
}

APIS_WITHOUT_EFFECT = {
    HTTP_API: {
        "AccessLogSettings": "the log is the service's own",
        "Description": _A_REMARK,
        "FailOnWarnings": "there is no import that could warn",
        "Name": _A_REMARK,
        "PropagateTags": _TAGS,
        "Tags": _TAGS,
    },
    REST_API: {
        "AccessLogSetting": "the log is the service's own",
        "AlwaysDeploy": _ONE_VERSION,
        "ApiKeySourceType": "there are no API keys here",
        "Description": _A_REMARK,
        "EndpointAccessMode": "TLS is for a proxy before this service",
        "EndpointConfiguration": "there is one machine",
        "FailOnWarnings": "there is no import that could warn",
        "Mode": "it says how AWS updates an API",
        "Name": _A_REMARK,
        "OpenApiVersion": "no OpenAPI document is made",
        "PropagateTags": _TAGS,
        "SecurityPolicy": "TLS is for a proxy before this service",
        "Tags": _TAGS,
        "TracingEnabled": "there is no X-Ray here",
    },
}
