"""AWS's own Powertools read the events of requests, and what its resolvers answer is read as a response (A.5, A.6)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_lambda_powertools.event_handler import (
    APIGatewayHttpResolver,
    APIGatewayRestResolver,
    CORSConfig,
    LambdaFunctionUrlResolver,
    Response,
)
from aws_lambda_powertools.shared.cookies import Cookie
from aws_lambda_powertools.utilities.parser.models import (
    APIGatewayProxyEventModel,
    APIGatewayProxyEventV2Model,
    LambdaFunctionUrlModel,
)
from front_requests import front_request

from poller.fronts.events import Target, payload_1, payload_2, rest_event
from poller.fronts.replies import inferred, proxied

URL = Target("anonymous", "abc", "abc.lambda-url.us-east-1.on.aws")
ROUTE = Target(
    "123456789012",
    "web",
    "web.execute-api.us-east-1.amazonaws.com",
    route_key="POST /orders/{id}",
    resource="/orders/{id}",
    path_parameters={"id": "7"},
    decoded=True,
)
REST = Target(
    "123456789012",
    "shop",
    "shop.execute-api.us-east-1.amazonaws.com",
    stage="Prod",
    resource="/orders/{id}",
    route_key="POST /orders/{id}",
    path_parameters={"id": "7"},
    staged_path="/Prod/orders/7",
)
REQUEST = front_request(
    "POST",
    "/orders/7",
    query="dry=1&dry=2",
    headers=[("Content-Type", "application/json"), ("Cookie", "a=1; b=2"), ("User-Agent", "curl/8"), ("X-Many", "1"), ("X-Many", "2")],
    body=b'{"quantity":2}',
)  # fmt: skip


class Context:
    aws_request_id = "the-id"
    function_name = "f"
    memory_limit_in_mb = 128
    invoked_function_arn = "arn"


def test_powertools_models_parse_the_events() -> None:
    url = LambdaFunctionUrlModel.model_validate(payload_2(REQUEST, URL))
    assert (url.rawPath, url.cookies, url.requestContext.http.method) == ("/orders/7", ["a=1", "b=2"], "POST")
    http = APIGatewayProxyEventV2Model.model_validate(payload_2(REQUEST, ROUTE))
    assert (http.pathParameters, http.routeKey) == ({"id": "7"}, "POST /orders/{id}")
    for event in (payload_1(REQUEST, ROUTE), rest_event(REQUEST, REST)):
        parsed = APIGatewayProxyEventModel.model_validate(event)
        assert (parsed.path, parsed.pathParameters, parsed.httpMethod) == ("/orders/7", {"id": "7"}, "POST")
        assert parsed.multiValueQueryStringParameters == {"dry": ["1", "2"]}


def app_of(resolver: Any) -> Any:
    app = resolver(cors=CORSConfig(allow_origin="https://page.example"))

    @app.post("/orders/<number>")
    def order(number: str) -> Any:
        event = app.current_event
        body = {"number": number, "quantity": event.json_body["quantity"], "dry": event.get_query_string_value("dry")}
        cookies = [Cookie(name="seen", value="1"), Cookie(name="also", value="2")]
        return Response(status_code=201, content_type="application/json", body=json.dumps(body), cookies=cookies)

    @app.get("/image")
    def image() -> Any:
        return Response(status_code=200, content_type="image/png", body=b"\x89PNG\xff")

    return app


@pytest.mark.parametrize(
    ("resolver", "build", "read"),
    [
        (LambdaFunctionUrlResolver, lambda request: payload_2(request, URL), inferred),
        (APIGatewayHttpResolver, lambda request: payload_2(request, ROUTE), inferred),
        (APIGatewayRestResolver, lambda request: rest_event(request, REST), proxied),
    ],
)
def test_a_powertools_resolver_routes_a_request_and_its_answer_is_a_response(
    resolver: Any, build: Any, read: Any
) -> None:
    app = app_of(resolver)

    def answered(request: Any) -> Any:
        return read(json.dumps(app.resolve(json.loads(json.dumps(build(request))), Context())).encode())

    reply = answered(REQUEST)
    assert reply.status == 201
    assert json.loads(reply.body) == {"number": "7", "quantity": 2, "dry": "1,2" if read is inferred else "2"}
    cookies = [value.partition(";")[0] for name, value in reply.headers if name == "set-cookie"]
    assert cookies == ["seen=1", "also=2"]
    picture = answered(front_request(path="/image"))
    assert (picture.body, ("content-type", "image/png") in picture.headers) == (b"\x89PNG\xff", True)
    assert answered(front_request(path="/nowhere")).status == 404
