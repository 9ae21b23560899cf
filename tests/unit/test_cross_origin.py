"""What web pages of other origins may do: preflights, and headers of answers (A.5, A.6)."""

from __future__ import annotations

import pytest
from front_requests import front_request
from pydantic import ValidationError

from poller.fronts.cross_origin import Cors, RestCors, is_preflight, preflight, rest_preflight, shared
from poller.fronts.replies import Reply

PAGE = "https://page.example"
OK = Reply(200, (("content-type", "text/plain"), ("access-control-allow-origin", "the function's own")), b"x")


def asked_by(origin: str | None, method: str = "GET") -> dict[str, str]:
    """The headers of an answer to a page of that origin, without the type and what is always there."""
    headers = [] if origin is None else [("Origin", origin)]
    cors = Cors(AllowOrigins=(PAGE, "http://*"), ExposeHeaders=("x-a", "x-b"), AllowCredentials=True)
    reply = shared(cors, front_request(method, headers=headers), OK)
    assert reply.body == b"x"
    assert reply.headers[-1] == ("vary", "Origin")
    return dict(reply.headers[1:-1])


def test_an_allowed_page_reads_the_answer_and_the_function_s_own_headers_do_not_count() -> None:
    assert asked_by(PAGE) == {
        "access-control-allow-origin": PAGE,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "x-a,x-b",
    }
    assert asked_by("http://anything.example")["access-control-allow-origin"] == "http://anything.example"
    assert asked_by("HTTPS://PAGE.example")["access-control-allow-origin"] == "HTTPS://PAGE.example"


@pytest.mark.parametrize("origin", ["https://other.example", "https://page.example.evil", "null", "", None])
def test_another_page_and_no_page_get_no_permission(origin: str | None) -> None:
    assert asked_by(origin) == {}


def test_all_pages_are_named_by_a_star_never_with_their_logins() -> None:
    request = front_request(headers=[("origin", PAGE)])
    assert dict(shared(Cors(AllowOrigins=("*",)), request, Reply(200)).headers) == {"access-control-allow-origin": "*"}
    both = dict(shared(Cors(AllowOrigins=("*",), AllowCredentials=True), request, Reply(200)).headers)
    assert both["access-control-allow-origin"] == "*"  # which no browser accepts with logins


def test_a_preflight_is_told_methods_headers_and_age() -> None:
    headers = [("Origin", PAGE), ("Access-Control-Request-Method", "PUT")]
    request = front_request("OPTIONS", headers=headers)
    assert is_preflight(request)
    cors = Cors(AllowOrigins=(PAGE,), AllowMethods=("GET", "PUT"), AllowHeaders=("x-a",), MaxAge=0)
    assert preflight(cors, request, 204) == Reply(
        204,
        (
            ("access-control-allow-origin", PAGE),
            ("access-control-allow-methods", "GET,PUT"),
            ("access-control-allow-headers", "x-a"),
            ("access-control-max-age", "0"),
            ("vary", "Origin"),
        ),
    )
    assert preflight(Cors(AllowOrigins=("https://other.example",)), request, 200) == Reply(200, (("vary", "Origin"),))


@pytest.mark.parametrize(
    ("method", "headers"),
    [("GET", ["origin", "access-control-request-method"]), ("OPTIONS", ["origin"]), ("OPTIONS", ["access-control-request-method"])],
)  # fmt: skip
def test_other_requests_are_no_preflights(method: str, headers: list[str]) -> None:
    assert not is_preflight(front_request(method, headers=[(name, "x") for name in headers]))


@pytest.mark.parametrize(
    ("cors", "methods", "given"),
    [
        (RestCors(), ["GET"], {"allow-methods": "GET,OPTIONS", "allow-origin": "*"}),
        (RestCors(), ["ANY"], {"allow-methods": "DELETE,GET,HEAD,OPTIONS,PATCH,POST,PUT", "allow-origin": "*"}),
        (
            RestCors(AllowMethods="'GET'", AllowHeaders="'x-a,x-b'", AllowOrigin=f"'{PAGE}'", MaxAge="'600'", AllowCredentials=True),
            ["GET"],
            {"allow-methods": "GET", "allow-headers": "x-a,x-b", "allow-origin": PAGE, "max-age": "600", "allow-credentials": "true"},
        ),
    ],
)  # fmt: skip
def test_a_rest_api_answers_options_with_what_its_template_says(
    cors: RestCors, methods: list[str], given: dict[str, str]
) -> None:
    reply = rest_preflight(cors, methods)
    assert reply.status == 200
    assert dict(reply.headers[1:]) == {f"access-control-{name}": value for name, value in given.items()}


@pytest.mark.parametrize(
    "wrong",
    [{"AllowOrigins": ["a\r\nb"]}, {"AllowMethods": ["GETTING"]}, {"AllowMethods": ["GET"] * 7}, {"MaxAge": 86401},
     {"MaxAge": -1}, {"AllowHeaders": ["x"] * 101}, {"ExposeHeaders": ["x\n"]}, {"AllowOrigin": "*"}],
)  # fmt: skip
def test_a_configuration_out_of_range_is_refused(wrong: dict[str, object]) -> None:  # A.5
    with pytest.raises(ValidationError):
        Cors.model_validate(wrong)
