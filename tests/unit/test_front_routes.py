"""Which route a request takes, and which API it means (A.6)."""

from __future__ import annotations

import pytest

from poller.fronts.apis import Api, Apis
from poller.fronts.routes import Match, Route, Routes, path_problem


def routes_of(*keys: str, path_first: bool = False) -> Routes:
    made = []
    for key in keys:
        method, _, path = key.partition(" ")
        made.append(Route(method if path else "ANY", path or key, key))
    return Routes(made, path_first=path_first)


EVERY = ("GET /a", "POST /a", "ANY /a", "GET /a/{id}", "GET /a/b", "ANY /a/{proxy+}", "GET /{x}/c", "$default", "GET /")


@pytest.mark.parametrize(
    ("method", "path", "route", "parameters"),
    [
        ("GET", "/a", "GET /a", {}),
        ("PATCH", "/a", "ANY /a", {}),
        ("GET", "/a/b", "GET /a/b", {}),
        ("GET", "/a/7", "GET /a/{id}", {"id": "7"}),
        ("GET", "/a/%20%2F", "GET /a/{id}", {"id": "%20%2F"}),
        ("GET", "/a/c", "GET /a/{id}", {"id": "c"}),
        ("GET", "/z/c", "GET /{x}/c", {"x": "z"}),
        ("GET", "/a/b/c/", "ANY /a/{proxy+}", {"proxy": "b/c/"}),
        ("POST", "/a/b", "ANY /a/{proxy+}", {"proxy": "b"}),
        ("GET", "/", "GET /", {}),
        ("POST", "/", "$default", {}),
        ("GET", "/a/", "$default", {}),
        ("GET", "/%61", "GET /a", {}),
    ],
)
def test_exact_before_parameters_before_greedy_before_default(
    method: str, path: str, route: str, parameters: dict[str, str]
) -> None:
    found = routes_of(*EVERY).match(method, path)
    assert found is not None
    assert (found.route.function_name, found.parameters) == (route, parameters)


def test_the_order_of_the_template_does_not_count() -> None:
    for keys in (EVERY, tuple(reversed(EVERY))):
        found = routes_of(*keys).match("GET", "/a/b")
        assert found is not None
        assert found.route.function_name == "GET /a/b"


@pytest.mark.parametrize("path", ["/b", "/a/", "//a", "/", "/a/b/c/d"])
def test_a_path_that_no_route_has_is_not_found(path: str) -> None:
    assert routes_of("GET /a", "GET /a/{id}", "GET /{x}/b/c").match("GET", path) is None


def test_a_greedy_parameter_takes_one_part_at_least() -> None:
    routes = routes_of("ANY /{proxy+}")
    assert routes.match("GET", "/") is None
    assert routes.match("GET", "/a") == Match(routes.all[0], {"proxy": "a"})


def test_a_rest_api_chooses_the_path_whatever_the_method_and_an_http_api_does_not() -> None:
    keys = ("GET /a/b", "ANY /a/{proxy+}")
    assert routes_of(*keys, path_first=True).match("POST", "/a/b") is None
    found = routes_of(*keys).match("POST", "/a/b")
    assert found is not None
    assert found.route.function_name == "ANY /a/{proxy+}"


def test_parameters_are_decoded_for_http_apis() -> None:
    found = routes_of("GET /{a}/{rest+}").match("GET", "/x%20y/a%2Fb/%FF")
    assert found is not None
    assert found.decoded() == {"a": "x y", "rest": "a/b/\N{REPLACEMENT CHARACTER}"}


def test_the_methods_of_a_path_are_those_of_its_best_route() -> None:
    routes = routes_of(*EVERY, path_first=True)
    assert routes.methods("/a") == ["ANY", "GET", "POST"]
    assert routes.methods("/nowhere/at/all") is None


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/", ""), ("$default", ""), ("/a/{id}/b/{rest+}", ""), ("a", "does not start with a slash"),
        ("/a/{b", "has {b, where a parameter is the whole part"), ("/a/x{b}", "where a parameter is the whole part"),
        ("/{proxy+}/a", "goes on after {proxy+}"), ("/{a}/{a}", "has a parameter twice"), ("/{}", "where a parameter"),
    ],
)  # fmt: skip
def test_paths_of_routes_are_checked(path: str, problem: str) -> None:
    assert problem in path_problem(path)
    assert bool(problem) == bool(path_problem(path))


ONE = Api("one", "HTTP", ())
TWO = Api("two", "REST", (), stage="Prod")


@pytest.mark.parametrize(
    ("host", "path", "api"),
    [
        ("one.execute-api.localhost", "/", ONE),
        ("two.execute-api.us-east-1.amazonaws.com", "/_api/one/", TWO),
        ("one.execute-api", "/", ONE),
        ("three.execute-api.localhost", "/_api/one/", None),
        ("localhost", "/_api/two/Prod/a", TWO),
        ("localhost", "/_api/one", ONE),
        ("localhost", "/_api/three/", None),
        ("localhost", "/", None),
    ],
)
def test_an_api_is_named_by_host_or_path(host: str, path: str, api: Api | None) -> None:
    assert Apis([ONE, TWO]).find(host, path) is api


def test_the_only_api_needs_no_name() -> None:
    assert Apis([TWO]).find("anything", "/x") is TWO
    assert Apis([]).find("anything", "/x") is None


@pytest.mark.parametrize(
    ("api", "path", "found"),
    [
        (ONE, "/a/b", ("/a/b", "/a/b")),
        (ONE, "/_api/one/a", ("/a", "/a")),
        (ONE, "/_api/one", ("/", "/")),
        (ONE, "/_api/oneself", ("/_api/oneself", "/_api/oneself")),
        (TWO, "/Prod/a", ("/a", "/Prod/a")),
        (TWO, "/Prod", ("/", "/Prod")),
        (TWO, "/Prod/", ("/", "/Prod/")),
        (TWO, "/Production", None),
        (TWO, "/a", None),
        (TWO, "/_api/two/Prod/a", ("/a", "/Prod/a")),
    ],
)
def test_a_stage_is_the_first_part_of_a_path(api: Api, path: str, found: tuple[str, str] | None) -> None:
    arrival = Apis([ONE, TWO]).arrival(api, path)
    assert (None if arrival is None else arrival[1:]) == found
