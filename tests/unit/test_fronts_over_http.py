"""Function URLs and APIs with ordinary clients: curl, a browser's requests, boto3, and many connections at once."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from api_service import aws_client, served_with_apis
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from handlers.rig import HANDLERS
from waiting import eventually

from poller.api.server import PortInUse, bind
from poller.template import Template, load

PAGE = "https://page.example"
MANY = 100
KEY, SECRET = "AKIDEXAMPLE", "example"

TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Metadata: {Poller: {ApiPort: 0, SignatureKeys: {AKIDEXAMPLE: example}}}
Globals:
  Function: {CodeUri: HANDLERS, Runtime: python3.11, Timeout: 30}
  Api: {BinaryMediaTypes: ["image/*"], Cors: "'*'"}
Resources:
  Slowly: {Type: AWS::Serverless::HttpApi, Properties: {StageVariables: {folder: FOLDER}}}
  Event:
    Type: AWS::Serverless::Function
    Properties:
      Handler: web.event
      FunctionUrlConfig: {AuthType: NONE, Cors: {AllowOrigins: ["https://page.example"], AllowMethods: ["*"], MaxAge: 60}}
      Events:
        All: {Type: HttpApi}
        One: {Type: HttpApi, Properties: {Path: "/orders/{id}", Method: GET}}
  Told: {Type: AWS::Serverless::Function, Properties: {Handler: web.told, FunctionUrlConfig: {AuthType: NONE}}}
  Raises:
    Type: AWS::Serverless::Function
    Properties:
      Handler: web.raises
      FunctionUrlConfig: {AuthType: NONE}
      Events: {Raises: {Type: Api, Properties: {Path: /raises, Method: ANY}}}
  Proxied:
    Type: AWS::Serverless::Function
    Properties:
      Handler: web.proxied
      Events: {All: {Type: Api, Properties: {Path: "/files/{proxy+}", Method: ANY}}}
  Image:
    Type: AWS::Serverless::Function
    Properties:
      Handler: web.image
      FunctionUrlConfig: {AuthType: NONE}
      Events: {Image: {Type: Api, Properties: {Path: /image, Method: GET}}}
  Streamed:
    Type: AWS::Serverless::Function
    Properties: {Handler: web.streamed, FunctionUrlConfig: {AuthType: NONE, InvokeMode: RESPONSE_STREAM}}
  Large: {Type: AWS::Serverless::Function, Properties: {Handler: web.large, FunctionUrlConfig: {AuthType: NONE}}}
  Few:
    Type: AWS::Serverless::Function
    Properties: {Handler: web.event, ReservedConcurrentExecutions: 2, FunctionUrlConfig: {AuthType: NONE}}
  Signed:
    Type: AWS::Serverless::Function
    Properties: {Handler: web.event, FunctionUrlConfig: {AuthType: AWS_IAM}}
  Slow:
    Type: AWS::Serverless::Function
    Properties:
      Handler: web.slow
      Events: {Slow: {Type: HttpApi, Properties: {ApiId: !Ref Slowly, Path: /, Method: GET, TimeoutInMillis: 50}}}
"""


class Service(NamedTuple):
    url: str
    apis: str
    template: Template
    folder: Path

    def of(self, name: str) -> str:
        """A function's URL, without the slash at its end."""
        url_id = next(url.url_id for url in self.template.function_urls if url.function_name == name)
        return f"{self.url}/_url/{url_id}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    path = folder / "template.yaml"
    path.write_text(TEMPLATE.replace("HANDLERS", str(HANDLERS)).replace("FOLDER", str(folder)))
    template = load(path, environment={})
    with served_with_apis(template) as (url, apis):
        yield Service(url, apis, template, folder)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def curl(*arguments: str) -> Answer:
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--include", "--max-time", "60", *arguments],
        capture_output=True,
        check=True,
    )
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        head, _, body = body.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = [line.split(": ", 1) for line in lines]
    return Answer(int(first.split()[1]), dict(headers), body)


# --- function URLs -------------------------------------------------------------------------------------------------


@pytest.mark.statement(16)
@pytest.mark.parametrize(
    ("returned", "body"),
    [('{"hello": "world"}', b'{"hello":"world"}'), ('["hello", 3, true]', b'["hello",3,true]'), ("3.1", b"3.1"),
     ("true", b"true"), ('"hello"', b"hello")],
)  # fmt: skip
def test_a_result_without_a_status_is_200_and_compact_json(service: Service, returned: str, body: bytes) -> None:
    """G 16."""
    answer = curl("--header", "content-type: application/json", "--data", returned, f"{service.of('Told')}/")
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, "application/json", body)


@pytest.mark.statement(17)
def test_a_handler_that_raises_is_502(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """G 17."""
    with caplog.at_level(logging.INFO):
        answer = curl(f"{service.of('Raises')}/")
    assert (answer.status, answer.body) == (502, b"Internal Server Error")
    assert f"END RequestId: {answer.headers['x-amzn-requestid']}" in caplog.text  # A.5: it is the one of the log


@pytest.mark.statement(18)
def test_a_form_with_a_file_arrives_as_base64(service: Service, tmp_path: Path) -> None:
    """G 18."""
    file = tmp_path / "file.bin"
    file.write_bytes(bytes(range(256)))
    answer = curl("--form", "name=value", "--form", f"file=@{file}", f"{service.of('Event')}/upload?a=1")
    event = json.loads(answer.body)
    assert event["isBase64Encoded"] is True
    assert bytes(range(256)) in base64.b64decode(event["body"])
    assert event["headers"]["content-type"].startswith("multipart/form-data; boundary=")
    assert (event["rawPath"], event["queryStringParameters"]) == ("/upload", {"a": "1"})


def test_a_url_is_reached_by_its_host_too(service: Service) -> None:
    url_id, port = service.of("Event").rpartition("/")[2], service.url.rpartition(":")[2]
    answer = curl(f"http://{url_id}.lambda-url.localhost:{port}/a/b")
    assert json.loads(answer.body)["rawPath"] == "/a/b"


def test_an_image_comes_out_as_it_is(service: Service) -> None:
    answer = curl(f"{service.of('Image')}/")
    assert (answer.headers["content-type"], answer.body) == ("image/png", b"\x89PNG\x00\xff")
    asked = curl("--header", "Accept: image/png", f"{service.apis}/_api/serverlessrestapi/Prod/image")
    assert asked.body == b"\x89PNG\x00\xff"
    text = curl("--header", "Accept: text/html", f"{service.apis}/_api/serverlessrestapi/Prod/image")
    assert text.body == base64.b64encode(b"\x89PNG\x00\xff")


def test_a_streamed_answer_has_its_own_head_and_comes_in_chunks(service: Service) -> None:
    answer = httpx.get(f"{service.of('Streamed')}/")
    assert (answer.status_code, answer.headers["x-kind"]) == (418, "teapot")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert answer.content == b"short " + b"and stout" * 20_000


@pytest.mark.parametrize("name", ["Event", "Streamed"])
def test_head_has_no_body(service: Service, name: str) -> None:
    with httpx.Client() as client:
        assert client.head(f"{service.of(name)}/").content == b""
        assert client.get(f"{service.of('Event')}/").status_code == 200  # the connection goes on


def test_a_browser_asks_first_and_then_reads_the_answer(service: Service) -> None:
    url = f"{service.of('Event')}/data"
    with httpx.Client() as browser:
        asked = {"Origin": PAGE, "Access-Control-Request-Method": "PUT", "Sec-Fetch-Site": "cross-site"}
        preflight = browser.options(url, headers=asked)
        assert (preflight.status_code, preflight.content) == (200, b"")
        assert preflight.headers["access-control-allow-origin"] == PAGE
        assert preflight.headers["access-control-allow-methods"] == "*"
        assert preflight.headers["access-control-max-age"] == "60"
        answer = browser.put(url, json={"a": 1}, headers={"Origin": PAGE, "Sec-Fetch-Site": "cross-site"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
        assert answer.json()["body"] == '{"a":1}'
        # The same page may not drive the control plane behind the same port.
        refused = browser.get(f"{service.url}/2021-10-31/functions/Event/url", headers={"Origin": PAGE})
        assert refused.status_code == 403


def signed(url: str, method: str = "POST", body: bytes = b"{}", secret: str = SECRET) -> dict[str, str]:
    request = AWSRequest(method=method, url=url, data=body, headers={"content-type": "application/json"})
    SigV4Auth(Credentials(KEY, secret), "lambda", "us-east-1").add_auth(request)
    return dict(request.headers)


def test_a_url_that_wants_signatures_knows_who_calls(service: Service) -> None:  # A.5
    url = f"{service.of('Signed')}/a%20b?x=1"
    answer = httpx.post(url, content=b"{}", headers=signed(url))
    assert answer.status_code == 200
    context = answer.json()["requestContext"]
    assert context["accountId"] == "123456789012"
    assert context["authorizer"]["iam"] == {
        "accessKey": KEY,
        "accountId": "123456789012",
        "callerId": KEY,
        "cognitoIdentity": None,
        "principalOrgId": None,
        "userArn": f"arn:aws:iam::123456789012:user/{KEY}",
        "userId": KEY,
    }
    wrong = httpx.post(url, content=b"{}", headers=signed(url, secret="another"))
    assert (wrong.status_code, wrong.headers["x-amzn-errortype"]) == (403, "InvalidSignatureException")
    assert httpx.post(url, content=b"{ }", headers=signed(url)).status_code == 403
    presigned = AWSRequest("GET", url)
    SigV4QueryAuth(Credentials(KEY, SECRET), "lambda", "us-east-1").add_auth(presigned)
    answer = httpx.get(presigned.url)
    assert (answer.status_code, answer.json()["requestContext"]["authorizer"]["iam"]["userId"]) == (200, KEY)
    assert httpx.get(presigned.url.replace("x=1", "x=2")).status_code == 403
    assert httpx.post(url).json()["Message"].startswith("Forbidden. For troubleshooting")


def test_the_function_url_that_the_api_answers_works_as_it_is(service: Service) -> None:
    client = aws_client(service.url)
    made = client.create_function_url_config(FunctionName="Proxied", AuthType="NONE")
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert made["FunctionUrl"].startswith(f"{service.url}/_url/")
    assert httpx.get(made["FunctionUrl"]).json()["rawPath"] == "/"
    with pytest.raises(ClientError) as error:
        client.create_function_url_config(FunctionName="Proxied", AuthType="NONE")
    assert error.value.response["Error"]["Code"] == "ResourceConflictException"
    shown = client.get_function_url_config(FunctionName="Proxied")
    assert (shown["FunctionUrl"], shown["InvokeMode"]) == (made["FunctionUrl"], "BUFFERED")
    cors = {"AllowOrigins": [PAGE]}
    client.update_function_url_config(FunctionName="Proxied", AuthType="AWS_IAM", Cors=cors)
    listed = client.list_function_url_configs(FunctionName="Proxied")["FunctionUrlConfigs"]
    assert [(item["AuthType"], item["Cors"]) for item in listed] == [("AWS_IAM", cors)]
    assert httpx.get(made["FunctionUrl"]).status_code == 403
    gone = client.delete_function_url_config(FunctionName="Proxied")
    assert gone["ResponseMetadata"]["HTTPStatusCode"] == 204
    after = httpx.get(made["FunctionUrl"])
    assert (after.status_code, after.text) == (403, '{"Message":null}')
    with pytest.raises(ClientError) as error:
        client.get_function_url_config(FunctionName="Proxied")
    assert error.value.response["Message"] == "The resource you requested does not exist."


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [("POST", "/2021-10-31/functions/Event/url", b"[]", 400), ("POST", "/2021-10-31/functions/Event/url", b"{", 400),
     ("POST", "/2021-10-31/functions/Event/url", b" " * 1_048_577, 413), ("GET", "/2021-10-31/functions/Event/urls?MaxItems=x", b"", 400),
     ("DELETE", "/2021-10-31/functions/Event/url", b"", 409), ("PATCH", "/2021-10-31/functions/Event/url", b"", 404),
     ("GET", "/2021-10-31/functions/a%2Fb/url", b"", 400), ("GET", "/2021-10-31/functions/a/b/url", b"", 404), ("GET", "/2021-10-31/functions/%20/url", b"", 400)],
)  # fmt: skip
def test_odd_calls_are_refused(service: Service, method: str, path: str, content: bytes, status: int) -> None:
    answer = httpx.request(method, service.url + path, content=content)
    assert answer.status_code == status
    assert answer.headers["x-amzn-RequestId"]


# --- APIs ----------------------------------------------------------------------------------------------------------


def test_an_http_api_has_routes_and_their_parameters(service: Service) -> None:  # A.6
    event = json.loads(curl(f"{service.apis}/_api/serverlesshttpapi/orders/7?q=1&q=2").body)
    assert (event["version"], event["routeKey"], event["pathParameters"]) == ("2.0", "GET /orders/{id}", {"id": "7"})
    assert event["queryStringParameters"] == {"q": "1,2"}
    port = service.apis.rpartition(":")[2]
    other = curl("--request", "DELETE", f"http://serverlesshttpapi.execute-api.localhost:{port}/orders/7")
    assert json.loads(other.body)["routeKey"] == "$default"


def test_a_rest_api_keeps_the_case_and_repeats_of_headers(service: Service) -> None:  # A.6
    headers = ("--header", "X-H: first", "--header", "X-H: last")
    url = f"{service.apis}/_api/serverlessrestapi/Prod/files/a/b%20c?q=1&q=2"
    event = json.loads(curl(*headers, "--data", "a=1", url).body)
    assert (event["headers"]["X-H"], event["multiValueHeaders"]["X-H"]) == ("last", ["first", "last"])
    assert (event["path"], event["pathParameters"]) == ("/files/a/b%20c", {"proxy": "a/b%20c"})
    assert (event["body"], event["isBase64Encoded"]) == ("a=1", False)
    assert event["multiValueQueryStringParameters"] == {"q": ["1", "2"]}
    assert event["requestContext"]["path"] == "/Prod/files/a/b%20c"


def test_names_of_headers_belong_to_their_own_request(service: Service) -> None:
    url = f"{service.apis}/_api/serverlessrestapi/Prod/files/a"
    with httpx.Client() as client:
        for name in ("X-One", "x-TWO"):
            assert name in client.get(url, headers={name: "1"}).json()["headers"]


def test_a_rest_api_s_failures_are_aws_s(service: Service) -> None:  # A.6
    answer = curl(f"{service.apis}/_api/serverlessrestapi/Prod/raises")
    assert (answer.status, answer.body) == (502, b'{"message":"Internal server error"}')
    answer = curl(f"{service.apis}/_api/serverlessrestapi/Prod/nowhere")
    assert (answer.status, answer.body) == (403, b'{"message":"Missing Authentication Token"}')
    answer = curl("--request", "OPTIONS", f"{service.apis}/_api/serverlessrestapi/Prod/raises")
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")


def test_a_function_that_takes_too_long_is_given_up_by_the_client_only(service: Service) -> None:  # A.6
    answer = curl(f"{service.apis}/_api/slowly/")
    assert (answer.status, answer.body) == (503, b'{"message":"Service Unavailable"}')
    (service.folder / "end").touch()
    eventually((service.folder / "ended").exists)


# --- many, large, slow ---------------------------------------------------------------------------------------------


def test_a_hundred_connections_at_once_are_answered(service: Service) -> None:
    url = f"{service.of('Few')}/"

    async def run() -> list[int]:
        limits = httpx.Limits(max_connections=MANY)
        async with httpx.AsyncClient(limits=limits, timeout=60) as client:
            answers = await asyncio.gather(*(client.post(url, content=b"x" * 1000) for _ in range(MANY)))
        return [answer.status_code for answer in answers]

    statuses = asyncio.run(run())
    assert set(statuses) <= {200, 429}
    assert statuses.count(200) >= 1


def connect(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition("/")[0].partition(":")
    return socket.create_connection((host, int(port)), timeout=30)


@pytest.mark.parametrize("front", ["url", "api"])
def test_a_large_body_is_refused_before_it_has_come_in(service: Service, front: str) -> None:
    path = service.of("Event").removeprefix(service.url) if front == "url" else "/_api/serverlesshttpapi"
    with connect(service.url if front == "url" else service.apis) as client:
        client.sendall(f"POST {path}/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7000000\r\n\r\n".encode())
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_who_reads_slowly_holds_up_nobody(service: Service) -> None:
    with connect(service.url) as slow:
        slow.sendall(
            f"GET {service.of('Large').removeprefix(service.url)}/ HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        assert slow.recv(1)
        assert curl(f"{service.of('Event')}/").status == 200


@pytest.mark.parametrize(
    "request_",
    [b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", b"GET http://x.example/a HTTP/1.1\r\nHost: a\r\n\r\n",
     b"GET / HTTP/1.0\r\n\r\n", b"GET /2021-10-31/functions/x/url?\x80 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /%zz?%zz HTTP/1.1\r\nHost: \xff\r\nX: \xff\r\n\r\n",
     b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: web.execute-api\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"],
)  # fmt: skip
def test_odd_requests_are_answered_or_refused_never_a_fault(
    service: Service, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for address in (service.url, service.apis):
        with connect(address) as client:
            client.sendall(request_)
            client.shutdown(socket.SHUT_WR)
            answer = client.recv(65536)
        assert not re.match(rb"HTTP/1.1 5", answer), answer
    assert "Traceback" not in caplog.text


def test_a_port_that_is_taken_is_told_with_its_own_setting() -> None:
    with bind("127.0.0.1", 0) as taken, pytest.raises(PortInUse, match="--api-port or POLLER_API_PORT"):
        bind("127.0.0.1", taken.getsockname()[1], "ApiPort")
