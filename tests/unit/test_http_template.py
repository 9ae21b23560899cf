"""What a template says of function URLs and APIs, and what is refused of it (A.5, A.6)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from templates import _transform_in_process, document, load, problems, write  # noqa: F401 - a fixture

from poller import supported_http
from poller.cli import main
from poller.fronts.apis import Api
from poller.fronts.cross_origin import Cors, RestCors
from poller.fronts.routes import Route

HTTP_API = "AWS::Serverless::HttpApi"
REST_API = "AWS::Serverless::Api"
URL = "AWS::Lambda::Url"
EVENTS_AT = "Resources.Telemetry.Properties.Events"


def whole(*, events: dict[str, tuple[str, Any]] | None = None, **parts: Any) -> dict[str, Any]:
    """A template whose Telemetry has these events besides: by name, each a type and properties."""
    content = document(**parts)
    for name, (kind, properties) in (events or {}).items():
        content["Resources"]["Telemetry"]["Properties"]["Events"][name] = {"Type": kind, "Properties": properties}
    return content


def events(**given: tuple[str, Any]) -> dict[str, Any]:
    return {"events": given}


def apis_of(folder: Path, **parts: Any) -> dict[str, Api]:
    return {api.api_id: api for api in load(folder, whole(**parts)).apis}


def wrong(folder: Path, **parts: Any) -> list[str]:
    return problems(folder, whole(**parts))


# --- function URLs -------------------------------------------------------------------------------------------------


def test_a_function_url_config_is_read_with_globals_below_it(tmp_path: Path) -> None:
    cors = {"AllowOrigins": ["*"]}
    loaded = load(
        tmp_path,
        document(
            function={"FunctionUrlConfig": {"AuthType": "NONE", "InvokeMode": "RESPONSE_STREAM"}},
            Globals={"Function": {"FunctionUrlConfig": {"AuthType": "NONE", "Cors": cors}}},
        ),
    )
    urls = {url.function_name: url for url in loaded.function_urls}
    assert urls.keys() == {"Telemetry", "Tasks"}
    assert urls["Telemetry"].config.InvokeMode == "RESPONSE_STREAM"
    assert urls["Telemetry"].config.Cors == urls["Tasks"].config.Cors == Cors(AllowOrigins=("*",))
    assert urls["Telemetry"].declared


def test_plain_cloudformation_has_a_resource_and_the_same_id(tmp_path: Path) -> None:
    values = {"AuthType": "NONE", "TargetFunctionArn": {"Fn::GetAtt": ["Telemetry", "Arn"]}}
    plain = load(tmp_path, document(resources={"U": {"Type": URL, "Properties": values}})).function_urls
    own = load(tmp_path, document(function={"FunctionUrlConfig": {"AuthType": "NONE"}})).function_urls
    assert plain == own
    assert plain[0].function_name == "Telemetry"


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"function": {"FunctionUrlConfig": {}}}, "Resources.Telemetry.Properties.FunctionUrlConfig.AuthType: is missing"),
        ({"function": {"FunctionUrlConfig": 5}}, "Resources.Telemetry.Properties.FunctionUrlConfig: 5 is not a mapping"),
        ({"function": {"FunctionUrlConfig": {"AuthType": "IAM"}}},
         'Resources.Telemetry.Properties.FunctionUrlConfig.AuthType: "IAM" is not NONE or AWS_IAM'),
        ({"function": {"FunctionUrlConfig": {"AuthType": "AWS_IAM"}}},
         ("Resources.Telemetry.Properties.FunctionUrlConfig.AuthType: AWS_IAM: there is no key in SignatureKeys to check "
         "signatures with (NONE lets everybody call)")),
        ({"function": {"FunctionUrlConfig": {"AuthType": "NONE", "Cors": {"MaxAge": -1}}}},
         "Resources.Telemetry.Properties.FunctionUrlConfig.Cors.MaxAge: -1 is below 0"),
        ({"Globals": {"Function": {"FunctionUrlConfig": {"AuthTyp": "NONE"}}}},
         "Globals.Function.FunctionUrlConfig.AuthTyp: unknown property (did you mean AuthType?)"),
        ({"resources": {"U": {"Type": URL, "Properties": {"AuthType": "NONE"}}}},
         "Resources.U.Properties.TargetFunctionArn: is missing"),
        ({"resources": {"U": {"Type": URL, "Properties": {"AuthType": "NONE", "TargetFunctionArn": "Telemetri"}}}},
         "Resources.U.Properties.TargetFunctionArn: Function does not exist (did you mean Telemetry?)"),
        ({"resources": {"U": {"Type": URL, "Properties": {"AuthType": "NONE", "TargetFunctionArn": "Tasks", "Qualifier": "live"}}}},
         'Resources.U.Properties.Qualifier: not supported: versions and aliases ("live") (leave it out)'),
        ({"function": {"FunctionUrlConfig": {"AuthType": "NONE"}},
          "resources": {"U": {"Type": URL, "Properties": {"AuthType": "NONE", "TargetFunctionArn": "Telemetry"}}}},
         ("Resources.U.Properties: function Telemetry has a URL already (the first one is "
         "Resources.Telemetry.Properties.FunctionUrlConfig)")),
        ({"function": {"FunctionUrlConfig": {"AuthType": "NONE"}}, "settings": {"Workers": 2}},
         ("Metadata.Poller.Workers: is 2, and function URLs and APIs need one process (set Workers to 1, or take "
         "FunctionUrlConfig and HTTP events out)")),
    ],
)  # fmt: skip
def test_a_url_that_makes_no_sense_is_refused(tmp_path: Path, parts: dict[str, Any], told: str) -> None:
    assert told in wrong(tmp_path, **parts)


def test_with_keys_a_url_may_ask_for_signatures(tmp_path: Path) -> None:
    settings = {"SignatureKeys": {"AKIDEXAMPLE": "secret"}}
    content = document(function={"FunctionUrlConfig": {"AuthType": "AWS_IAM"}}, settings=settings)
    assert load(tmp_path, content).function_urls[0].config.AuthType == "AWS_IAM"


# --- APIs ----------------------------------------------------------------------------------------------------------


def test_http_events_make_the_implicit_http_api(tmp_path: Path) -> None:
    given = events(
        A=("HttpApi", {}),
        B=("HttpApi", {"Path": "/a/{id}", "Method": "get", "PayloadFormatVersion": 1.0, "TimeoutInMillis": "50"}),
        C=("HttpApi", {"Path": "/{proxy+}", "Method": "any"}),
    )
    assert apis_of(tmp_path, **given) == {
        "serverlesshttpapi": Api(
            "serverlesshttpapi",
            "HTTP",
            (
                Route("ANY", "$default", "Telemetry", "2.0", 30.0),
                Route("GET", "/a/{id}", "Telemetry", "1.0", 0.05),
                Route("ANY", "/{proxy+}", "Telemetry", "2.0", 30.0),
            ),
        )
    }


def test_api_events_make_the_implicit_rest_api_with_the_stage_prod_and_globals(tmp_path: Path) -> None:
    given = events(A=("Api", {"Path": "/a", "Method": "POST"}))
    below = {"Api": {"BinaryMediaTypes": ["image/*"], "Cors": "'*'", "Variables": {"k": 1}}}
    assert apis_of(tmp_path, Globals=below, **given) == {
        "serverlessrestapi": Api(
            "serverlessrestapi",
            "REST",
            (Route("POST", "/a", "Telemetry", "1.0", 29.0),),
            "Prod",
            {"k": "1"},
            rest_cors=RestCors(AllowOrigin="'*'"),
            binary_media_types=("image/*",),
        )
    }


def test_apis_of_their_own_have_stages_variables_and_cors(tmp_path: Path) -> None:
    resources = {
        "Web": {"Type": HTTP_API, "Properties": {"Name": "a name", "StageName": "dev", "StageVariables": {"k": "v"}, "CorsConfiguration": True}},
        "Shop": {"Type": REST_API, "Properties": {"StageName": "v1", "BinaryMediaTypes": ["b/b"], "Cors": {"AllowMethods": "'GET'"}}},
        "Empty": {"Type": HTTP_API},
    }  # fmt: skip
    given = events(
        A=("HttpApi", {"ApiId": {"Ref": "Web"}, "Path": "/a", "Method": "GET"}),
        B=("Api", {"RestApiId": {"Ref": "Shop"}, "Path": "/a", "Method": "GET"}),
    )
    below = {"Api": {"BinaryMediaTypes": ["a/a"]}, "HttpApi": {"StageVariables": {"k": "below", "l": "m"}}}
    found = apis_of(tmp_path, resources=resources, Globals=below, **given)
    web, shop, empty = found["web"], found["shop"], found["empty"]
    assert (web.stage, web.stage_variables, web.cors) == ("dev", {"k": "v", "l": "m"}, Cors(AllowOrigins=("*",)))
    assert (shop.stage, shop.binary_media_types) == ("v1", ("a/a", "b/b"))
    assert shop.rest_cors == RestCors(AllowMethods="'GET'")
    assert [len(api.routes) for api in (web, shop, empty)] == [1, 1, 0]
    assert empty.stage == "$default"


def test_other_events_of_the_function_are_read_as_before(tmp_path: Path) -> None:
    loaded = load(tmp_path, whole(events={"A": ("HttpApi", {})}))
    assert {mapping.name for mapping in loaded.mappings} == {"Telemetry.Readings", "Tasks.Queue"}
    assert len(loaded.apis) == 1


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (("HttpApi", {"Path": "a", "Method": "GET"}), 'E.Path: "a" does not start with a slash'),
        (("HttpApi", {"Path": "/{a+}/b", "Method": "GET"}), 'E.Path: "/{a+}/b" goes on after {a+}, which takes all the rest'),
        (("HttpApi", {"Path": "/a", "Method": "GETT"}), 'E.Method: "GETT" is not one of GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS, ANY'),
        (("HttpApi", {"Path": "/a"}), "E.Method: is missing (Path and Method stand together, or neither does)"),
        (("HttpApi", {"Method": "GET"}), "E.Path: is missing (Path and Method stand together, or neither does)"),
        (("HttpApi", {"PayloadFormatVersion": "3.0"}), 'E.PayloadFormatVersion: "3.0" is not 1.0 or 2.0'),
        (("HttpApi", {"TimeoutInMillis": 30001}), "E.TimeoutInMillis: 30001 is above 30000"),
        (("HttpApi", {"Auth": {}}), "E.Auth: not supported: there are no authorizers here: let the function look at who calls"),
        (("HttpApi", {"RouteSettings": {}}), ("E.RouteSettings: not supported: requests are not counted here; "
         "ReservedConcurrentExecutions of the function is a bound")),
        (("HttpApi", {"Pathe": "/"}), "E.Pathe: unknown property (did you mean Path?)"),
        (("HttpApi", {"ApiId": "Webb"}), "E.ApiId: Webb is no AWS::Serverless::HttpApi of this template (did you mean Web?)"),
        (("HttpApi", {"ApiId": "Shop"}), "E.ApiId: Shop is no AWS::Serverless::HttpApi of this template"),
        (("HttpApi", 5), "E.Properties: 5 is not a mapping"),
        (("Api", {"Method": "GET"}), "E.Path: is missing"),
        (("Api", {"Path": "/", "Method": "GET", "TimeoutInMillis": 29001}), "E.TimeoutInMillis: 29001 is above 29000"),
        (("Api", {"Path": "/", "Method": "GET", "RestApiId": "Web"}), "E.RestApiId: Web is no AWS::Serverless::Api of this template"),
        (("Api", {"Path": "/", "Method": "GET", "RequestModel": {}}), "E.RequestModel: not supported: requests are not validated here"),
        (("Api", {"Path": "/old", "Method": "GET", "RestApiId": "Shop"}), "E: Shop has a route GET /old already, to function Telemetry"),
    ],
)  # fmt: skip
def test_an_event_that_makes_no_sense_is_refused(tmp_path: Path, event: tuple[str, Any], told: str) -> None:
    resources = {"Web": {"Type": HTTP_API}, "Shop": {"Type": REST_API, "Properties": {"StageName": "v1"}}}
    given = events(D=("Api", {"Path": "/old", "Method": "GET", "RestApiId": "Shop"}), E=event)
    found = wrong(tmp_path, resources=resources, **given)
    assert any(f"{EVENTS_AT}.{told}" in problem for problem in found), found
    assert len(found) == 1, found


@pytest.mark.parametrize(
    ("kind", "properties", "told"),
    [
        (HTTP_API, {"StageName": "a b"}, 'StageName: "a b" is no name of a stage: letters, digits, \'-\' and \'_\''),
        (HTTP_API, {"CorsConfiguration": {"AllowOrigins": ["*"], "AllowCredentials": True}},
         "CorsConfiguration: AllowCredentials and all origins (*) do not go together: name the origins"),
        (HTTP_API, {"CorsConfiguration": {"AllowOrigin": "*"}}, "CorsConfiguration.AllowOrigin: unknown property (did you mean AllowOrigins?)"),
        (HTTP_API, {"DefinitionBody": {}}, "DefinitionBody: not supported: routes are the functions' events here, no OpenAPI document"),
        (HTTP_API, {"Auth": {}}, "Auth: not supported: there are no authorizers here: let the function look at who calls"),
        (REST_API, {}, "StageName: is missing"),
        (REST_API, {"StageName": "p", "CacheClusterEnabled": True}, "CacheClusterEnabled: not supported: answers are not kept here"),
        (REST_API, {"StageName": "p", "Cors": {"AllowOrigins": "'*'"}}, "Cors.AllowOrigins: unknown property (did you mean AllowOrigin?)"),
    ],
)  # fmt: skip
def test_an_api_that_makes_no_sense_is_refused(
    tmp_path: Path, kind: str, properties: dict[str, Any], told: str
) -> None:
    found = wrong(tmp_path, resources={"A": {"Type": kind, "Properties": properties}})
    assert found == [f"Resources.A.Properties.{told}"]


def test_events_of_an_api_that_is_wrong_are_not_told_a_second_time(tmp_path: Path) -> None:
    given = events(E=("Api", {"Path": "/", "Method": "GET", "RestApiId": {"Ref": "A"}}))
    assert len(wrong(tmp_path, resources={"A": {"Type": REST_API}}, **given)) == 1


def test_what_cannot_be_resolved_is_told_once(tmp_path: Path) -> None:
    given = events(E=("Api", {"Path": {"Ref": "Nowhere"}, "Method": "GET"}))
    found = wrong(tmp_path, **given)
    assert len(found) == 1
    assert found[0].startswith(f"{EVENTS_AT}.E.Path: ")


def test_two_apis_whose_ids_would_be_one_are_refused(tmp_path: Path) -> None:
    found = wrong(tmp_path, resources={"Web": {"Type": HTTP_API}, "WEB": {"Type": HTTP_API}})
    assert found[0] == "Resources.Web: another API has the id web, too (rename one of them)"


@pytest.mark.parametrize(
    ("below", "told"),
    [
        ({"HttpApi": 5}, "Globals.HttpApi: 5 is not a mapping"),
        ({"Api": {"StageName": "x"}}, "Globals.Api.StageName: not supported: AWS takes it in an API, not in Globals"),
        ({"Api": {"Cors": {"AllowOrigins": "x"}}}, "Globals.Api.Cors.AllowOrigins: unknown property (did you mean AllowOrigin?)"),
    ],
)  # fmt: skip
def test_globals_that_make_no_sense_are_refused_where_they_stand(
    tmp_path: Path, below: dict[str, Any], told: str
) -> None:
    assert wrong(tmp_path, Globals=below, **events(E=("Api", {"Path": "/", "Method": "GET"}))) == [told]


def test_every_property_of_the_apis_and_events_is_known_here() -> None:
    from samtranslator.internal.schema_source import aws_serverless_api, aws_serverless_function, aws_serverless_httpapi

    from poller.template_http import _EVENTS, _MODELS

    theirs = {HTTP_API: aws_serverless_httpapi.Properties, REST_API: aws_serverless_api.Properties}
    for kind, model in theirs.items():
        known = {
            *_MODELS[kind].model_fields,
            *supported_http.APIS_REFUSED[kind],
            *supported_http.APIS_WITHOUT_EFFECT[kind],
        }
        assert set(model.__fields__) == known
    for kind in supported_http.EVENTS:
        known = {*_EVENTS[kind].model_fields, *supported_http.EVENTS_REFUSED[kind]}
        assert set(getattr(aws_serverless_function, f"{kind}EventProperties").__fields__) == known


def test_an_api_needs_the_transform(tmp_path: Path) -> None:
    content = document(Transform=..., resources={"Web": {"Type": HTTP_API}})
    assert f"Transform: is missing ({HTTP_API} needs Transform: AWS::Serverless-2016-10-31)" in problems(
        tmp_path, content
    )


def test_outputs_may_speak_of_what_aws_s_transform_would_make(tmp_path: Path) -> None:
    outputs = {
        "Url": {"Value": {"Fn::GetAtt": ["TelemetryUrl", "FunctionUrl"]}},
        "Api": {"Value": {"Fn::Sub": "https://${ServerlessRestApi}.execute-api.${AWS::Region}.amazonaws.com/Prod/"}},
    }
    content = whole(
        function={"FunctionUrlConfig": {"AuthType": "NONE"}},
        events={"A": ("Api", {"Path": "/", "Method": "GET"})},
        Outputs=outputs,
    )
    assert len(load(tmp_path, content).apis) == 1


def test_validate_tells_urls_and_routes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = whole(function={"FunctionUrlConfig": {"AuthType": "NONE"}}, events={"A": ("HttpApi", {})})
    path = str(write(tmp_path, content))
    assert main(["validate", path]) == 0
    said = capsys.readouterr().out
    assert "function URL of Telemetry: AuthType NONE, id " in said
    assert "route $default of HTTP API serverlesshttpapi to Telemetry" in said
    assert main(["validate", path, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["urls"][0]["AuthType"] == "NONE"
    assert told["routes"] == [
        {"Api": "serverlesshttpapi", "Kind": "HTTP", "Route": "$default", "FunctionName": "Telemetry"}
    ]
