"""Layers that calls publish, through AWS's own client (boto3) on the real service, and what functions have of them (A.7)."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import sys
import urllib.request
import zipfile
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from api_service import ACCOUNT, RUNTIME, aws_client, served, template_of
from botocore.exceptions import ClientError
from packages import ROLE, linked, zip_of

from poller.account import function_layers
from poller.account.documents import Change, ForgettingDocuments
from poller.account.function_requests import LOCAL_FOLDER
from poller.account.layer_shelf import LayerShelf
from poller.account.store import StoredDocuments

LAYER = f"arn:aws:lambda:us-east-1:{ACCOUNT}:layer"
SAYS = """
import os
def handler(event, context):
    import greeting
    return [greeting.TEXT, open(os.path.join(os.path.dirname(greeting.__file__), "note")).read()]
"""
INVALID, MISSING, CONFLICT, DENIED = (
    "InvalidParameterValueException",
    "ResourceNotFoundException",
    "ResourceConflictException",
    "AccessDeniedException",
)
GONE = "The resource you requested does not exist."


class Service:
    """What outlives a service, and a client of one that runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.template = template_of(folder, {"declared": {"Handler": "basic.echo"}})
        self.client: Any = None
        self._stop: Callable[[], None] = lambda: None

    def start(self) -> None:
        documents = StoredDocuments(self.folder / ".poller")
        running = served(self.template, documents)
        self.client = aws_client(running.__enter__())

        def stop() -> None:
            self.client.close()
            running.__exit__(None, None, None)
            documents.close()

        self._stop = stop

    def restart(self) -> None:
        self.stop()
        self.start()

    def stop(self) -> None:
        self._stop()

    def publish(self, name: str, text: str = "hello", note: str = "n", **more: Any) -> Any:
        content = zip_of(("python/greeting.py", f"TEXT = {text!r}"), ("python/note", note))
        return self.client.publish_layer_version(LayerName=name, Content={"ZipFile": content}, **more)

    def create(self, name: str, layers: list[str], code: str = SAYS) -> Any:
        return self.client.create_function(
            FunctionName=name,
            Role=ROLE,
            Runtime=RUNTIME,
            Handler="app.handler",
            Code={"ZipFile": zip_of(("app.py", code))},
            Layers=layers,
        )

    def told(self, name: str, qualifier: str = "$LATEST") -> Any:
        return json.loads(self.client.invoke(FunctionName=name, Qualifier=qualifier)["Payload"].read())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("service"))
    made.start()
    yield made
    made.stop()


def refused(call: Any, **arguments: Any) -> tuple[int, str, str]:
    """Status, type and text; the call must be refused."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]


def test_a_version_is_shown_as_it_was_published_and_its_content_can_be_had(service: Service) -> None:
    client = service.client
    properties = {
        "Description": "words",
        "CompatibleRuntimes": ["python3.12", "python3.13"],
        "CompatibleArchitectures": ["arm64"],
        "LicenseInfo": "MIT",
    }
    made = service.publish("shown", **properties)
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    arn = f"{LAYER}:shown"
    assert (made["LayerArn"], made["LayerVersionArn"], made["Version"]) == (arn, f"{arn}:1", 1)
    assert {name: made[name] for name in properties} == properties
    for found in (
        client.get_layer_version(LayerName="shown", VersionNumber=1),
        client.get_layer_version(LayerName=arn, VersionNumber=1),
        client.get_layer_version_by_arn(Arn=f"{arn}:1"),
    ):
        assert {**found, "ResponseMetadata": 0} == {**made, "ResponseMetadata": 0}
    with urllib.request.urlopen(made["Content"]["Location"]) as answer:
        content = answer.read()
    assert len(content) == made["Content"]["CodeSize"]
    assert hashlib.sha256(content).digest() == b64decode(made["Content"]["CodeSha256"])
    assert service.publish("shown")["Version"] == 2


def test_layers_and_versions_are_listed_by_what_they_are_for_in_pages(service: Service) -> None:
    client = service.client
    for runtimes in (["python3.12"], ["nodejs22.x"], ["python3.12", "nodejs22.x"]):
        service.publish("listed", CompatibleRuntimes=runtimes)
    service.publish("unspecific")

    def versions(**filters: Any) -> list[int]:
        return [item["Version"] for item in client.list_layer_versions(LayerName="listed", **filters)["LayerVersions"]]

    assert versions() == [3, 2, 1]
    assert versions(CompatibleRuntime="python3.12") == [3, 1]
    assert versions(CompatibleArchitecture="arm64") == []
    first = client.list_layer_versions(LayerName="listed", MaxItems=2)
    assert versions(Marker=first["NextMarker"]) == [1]
    assert client.list_layer_versions(LayerName="nobody")["LayerVersions"] == []
    [node] = client.list_layers(CompatibleRuntime="nodejs22.x")["Layers"]
    assert (node["LayerName"], node["LayerArn"]) == ("listed", f"{LAYER}:listed")
    assert node["LatestMatchingVersion"]["LayerVersionArn"] == f"{LAYER}:listed:3"
    pages = [client.list_layers(MaxItems=1)]
    while "NextMarker" in pages[-1]:
        pages.append(client.list_layers(MaxItems=1, Marker=pages[-1]["NextMarker"]))
    names = [item["LayerName"] for page in pages for item in page["Layers"]]
    assert names == sorted(names)
    assert {"listed", "unspecific"} <= set(names)
    assert refused(client.list_layers, MaxItems=51)[1] == "ValidationException"
    assert refused(client.list_layers, CompatibleRuntime="cobol")[1] == "ValidationException"


def test_an_arn_names_a_layer_as_every_arn_does_that_follows_the_pattern(service: Service) -> None:
    """A.7: the pattern lets an ARN have no partition."""
    made = service.publish(f"arn::lambda:us-east-1:{ACCOUNT}:layer:partless")
    assert made["LayerArn"] == f"{LAYER}:partless"
    found = service.client.get_layer_version_by_arn(Arn=f"arn::lambda:us-east-1:{ACCOUNT}:layer:partless:1")
    assert found["LayerVersionArn"] == f"{LAYER}:partless:1"


def test_what_is_not_there_or_not_ours_is_told(service: Service) -> None:
    client = service.client
    assert refused(client.get_layer_version, LayerName="nobody", VersionNumber=1) == (404, MISSING, GONE)
    assert refused(client.get_layer_version_by_arn, Arn=f"{LAYER}:nobody:1") == (404, MISSING, GONE)
    below = "Layer Version Cannot be less than 1."
    assert refused(client.get_layer_version, LayerName="nobody", VersionNumber=0) == (400, INVALID, below)
    for foreign in (
        f"arn:aws:lambda:us-east-1:210987654321:layer:l:{1}",
        f"arn:aws:lambda:eu-west-1:{ACCOUNT}:layer:l:1",
    ):
        status, kind, text = refused(client.get_layer_version_by_arn, Arn=foreign)
        assert (status, kind) == (403, DENIED)
        assert f"is not authorized to perform: lambda:GetLayerVersion on resource: {foreign}" in text
    assert client.delete_layer_version(LayerName="nobody", VersionNumber=1)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert refused(client.get_layer_version_by_arn, Arn="arn:aws:lambda:l")[1] == "ValidationException"


@pytest.mark.parametrize(
    "content",
    [zip_of(("../out", "x")), zip_of(("/etc/out", "x")), linked("out", "/etc/passwd"), b"no zip"],
    ids=["parent", "absolute", "link", "none"],
)
def test_content_that_cannot_be_unpacked_makes_no_version(service: Service, content: bytes) -> None:
    broken = "Could not unzip uploaded file. Please check your file, then try to upload again."
    call = service.client.publish_layer_version
    assert refused(call, LayerName="broken", Content={"ZipFile": content}) == (400, INVALID, broken)
    assert service.client.list_layer_versions(LayerName="broken")["LayerVersions"] == []


def test_content_in_s3_is_refused_and_a_local_folder_is_copied(service: Service, tmp_path: Path) -> None:
    call = service.client.publish_layer_version
    status, kind, text = refused(call, LayerName="far", Content={"S3Bucket": "bucket", "S3Key": "k"})
    assert (status, kind, "NoSuchBucket" in text) == (400, INVALID, True)
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "greeting.py").write_text("TEXT = 'local'")
    (tmp_path / "python" / "note").write_text("as published")
    made = call(LayerName="near", Content={"S3Bucket": LOCAL_FOLDER, "S3Key": str(tmp_path)})
    (tmp_path / "python" / "note").write_text("later")
    service.create("near", [made["LayerVersionArn"]])
    assert service.told("near") == ["local", "as published"]


def test_a_function_finds_its_layers_and_the_later_one_wins(service: Service) -> None:  # E.2
    first = service.publish("first", "first", "1")["LayerVersionArn"]
    only = service.client.publish_layer_version(
        LayerName="second", Content={"ZipFile": zip_of(("python/greeting.py", "TEXT = 'second'"))}
    )
    second, size = only["LayerVersionArn"], only["Content"]["CodeSize"]
    created = service.create("both", [first, second])
    assert created["Layers"][1] == {"Arn": second, "CodeSize": size}
    assert service.told("both") == ["second", "1"]
    update = service.client.update_function_configuration
    assert [layer["Arn"] for layer in update(FunctionName="both", Layers=[second, first])["Layers"]] == [second, first]
    assert service.told("both") == ["first", "1"]
    update(FunctionName="both", Timeout=9)  # what is left out stays
    assert service.told("both") == ["first", "1"]
    assert "Layers" not in update(FunctionName="both", Layers=[])
    assert service.told("both")["errorType"] == "ModuleNotFoundError"


def test_links_of_several_layers_lead_out_of_their_folder_no_more_than_those_of_one(service: Service) -> None:
    contents = {
        "deep": linked("a", "b/c/../.."),
        "up": linked("b/c", "../top", ("top/x", "x")),
        "through": zip_of(("a/outside", "x"), ("python/greeting.py", "TEXT = 'in'"), ("python/note", "n")),
    }
    publish = service.client.publish_layer_version
    arns = [
        publish(LayerName=name, Content={"ZipFile": zipped})["LayerVersionArn"] for name, zipped in contents.items()
    ]
    service.create("through", arns)
    assert service.told("through") == ["in", "n"]
    found = [path.relative_to(service.folder / ".poller" / "code") for path in service.folder.rglob("outside")]
    assert {path.parts[1:] for path in found} == {("a", "outside")}, "in the layer, and where all are brought together"
    assert len(found) == 2


def test_a_deleted_version_stays_with_those_that_have_it_also_after_a_restart(service: Service) -> None:
    client = service.client
    arn = service.publish("going", "old", "kept")["LayerVersionArn"]
    service.create("keeps", [arn])
    other = service.publish("going-too", "newer", "kept")["LayerVersionArn"]
    service.create("keeps-both", [arn, other])
    assert client.publish_version(FunctionName="keeps")["Layers"][0]["Arn"] == arn
    client.delete_layer_version(LayerName="going", VersionNumber=1)
    client.delete_layer_version(LayerName="going-too", VersionNumber=1)
    assert refused(client.get_layer_version, LayerName="going", VersionNumber=1) == (404, MISSING, GONE)
    update = client.update_function_configuration
    gone = f"Layer version {arn} does not exist."
    assert refused(update, FunctionName="keeps", Layers=[arn]) == (400, INVALID, gone)
    update(FunctionName="keeps", Timeout=9)
    assert service.told("keeps") == ["old", "kept"]
    service.restart()
    client = service.client
    assert service.told("keeps") == service.told("keeps", "1") == ["old", "kept"]
    assert service.told("keeps-both") == ["newer", "kept"]
    count = len(client.update_function_configuration(FunctionName="keeps-both", Timeout=9)["Layers"])
    assert (count, service.told("keeps-both")) == (2, ["newer", "kept"])
    assert client.get_function(FunctionName="keeps")["Configuration"]["Layers"][0]["Arn"] == arn
    assert client.list_layer_versions(LayerName="going")["LayerVersions"] == []
    assert service.publish("going", "new")["Version"] == 2, "numbers are never used again"


def test_a_package_that_nobody_has_is_removed_and_a_layer_s_stays(service: Service) -> None:
    folder = service.folder / ".poller" / "code"

    def packages() -> set[str]:
        return {path.name for path in folder.iterdir() if path.is_dir()}

    before = packages()
    service.publish("lonely", "nobody else has this", "at all")
    [made] = packages() - before
    service.restart()
    assert made in packages()
    service.client.delete_layer_version(LayerName="lonely", VersionNumber=1)
    assert packages() == before


def test_layers_that_cannot_be_together_are_refused(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("one", "two"):
        service.publish("twice", text)
    arns = [f"{LAYER}:twice:{number}" for number in (1, 2)]
    told = (
        "Two different versions of the same layer are not allowed to be referenced in the same function. "
        f"{arns[0]} and {arns[1]} are versions of the same layer."
    )
    assert refused(lambda: service.create("no", arns)) == (400, INVALID, told)
    six = [f"{LAYER}:l{number}:1" for number in range(6)]
    assert refused(lambda: service.create("no", six)) == (400, INVALID, "Cannot reference more than 5 layers.")
    there = [f"arn:aws:lambda:eu-west-1:{ACCOUNT}:layer:l:1"]
    region = "Layers are not in the same region as the function. Layers are expected to be in region us-east-1."
    assert refused(lambda: service.create("no", there)) == (400, INVALID, region)
    theirs = ["arn:aws:lambda:us-east-1:210987654321:layer:l:1"]
    assert refused(lambda: service.create("no", theirs))[:2] == (403, DENIED)
    assert refused(lambda: service.create("no", [f"{LAYER}:twice"]))[1] == "ValidationException"
    own = ["arn:aws:lambda:::awslayer:AmazonLinux1803"]
    assert refused(lambda: service.create("no", own)) == (400, INVALID, f"Layer version {own[0]} does not exist.")
    monkeypatch.setattr(function_layers, "CODE_SIZE_UNZIPPED", 200)
    status, kind, text = refused(lambda: service.create("no", arns[:1], "#" * 200))
    assert (status, kind) == (400, INVALID)
    assert text.startswith(
        "Function code combined with layers exceeds the maximum allowed size of 200 bytes. The actual"
    )
    assert refused(service.client.get_function, FunctionName="no")[:2] == (404, MISSING)


WATCHES = """
import http.client, json, os, sys
def call(method, path, body=None, **headers):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    named = {"Lambda-Extension-" + name: value for name, value in headers.items()}
    connection.request(method, "/2020-01-01/extension/" + path, body, named)
    answer = connection.getresponse()
    return answer.headers, json.loads(answer.read())
own = call("POST", "register", '{"events": ["SHUTDOWN"]}', Name=os.path.basename(sys.argv[0]))[0]
print("started", file=open(os.environ["TMPDIR"] + "/watch", "w"))
call("GET", "event/next", Identifier=own["Lambda-Extension-Identifier"])
"""


def test_extensions_of_a_layer_start_with_a_function_in_python(service: Service) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        program = zipfile.ZipInfo("extensions/watch")
        program.external_attr = (stat.S_IFREG | 0o755) << 16
        archive.writestr(program, f"#!{sys.executable}\n{WATCHES}")
    arn = service.client.publish_layer_version(LayerName="watch", Content={"ZipFile": made.getvalue()})
    seen = "import os\ndef handler(event, context):\n    return open(os.environ['TMPDIR'] + '/watch').read()\n"
    service.create("watched", [arn["LayerVersionArn"]], seen)
    assert service.told("watched") == "started\n"


def test_sizes_of_layers_count_as_the_account_s(service: Service) -> None:  # A.2
    def used() -> int:
        return int(service.client.get_account_settings()["AccountUsage"]["TotalCodeSize"])

    before = used()
    made = service.publish("counted", os.urandom(50).hex())
    assert used() - before == made["Content"]["CodeSize"]


def test_the_account_s_code_size_is_the_sum_of_all_packages_of_functions_versions_and_layers(service: Service) -> None:
    """A.2: as they were sent, not as they are unpacked."""
    client = service.client
    made = service.publish("summed", "x" * 10_000)  # a zip is much smaller than what is in it
    created = service.create("summed", [made["LayerVersionArn"]], SAYS + "#" * 10_000)
    assert created["CodeSize"] < 1000
    client.publish_version(FunctionName="summed")
    shown = [item["CodeSize"] for item in client.list_functions(FunctionVersion="ALL")["Functions"]]
    for layer in client.list_layers()["Layers"]:
        versions = client.list_layer_versions(LayerName=layer["LayerName"])["LayerVersions"]
        found = [client.get_layer_version_by_arn(Arn=version["LayerVersionArn"]) for version in versions]
        shown += [version["Content"]["CodeSize"] for version in found]
    assert client.get_account_settings()["AccountUsage"]["TotalCodeSize"] == sum(shown)


def test_a_policy_is_kept_and_shown(service: Service) -> None:
    service.publish("open")
    client, which = service.client, {"LayerName": "open", "VersionNumber": 1}
    none = (404, MISSING, "No policy is associated with the given resource.")
    assert refused(client.get_layer_version_policy, **which) == none
    allow = {"Action": "lambda:GetLayerVersion", "Principal": "210987654321"}
    added = client.add_layer_version_permission(**which, StatementId="one", **allow)
    assert added["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert json.loads(added["Statement"]) == {
        "Sid": "one",
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::210987654321:root"},
        "Action": "lambda:GetLayerVersion",
        "Resource": f"{LAYER}:open:1",
    }
    call = client.add_layer_version_permission
    assert refused(call, **which, StatementId="one", **allow)[:2] == (409, CONFLICT)
    stale = (
        "The Revision Id provided does not match the latest Revision Id. Call the GetLayerPolicy API to retrieve the"
    )
    told = (412, "PreconditionFailedException", f"{stale} latest Revision Id")
    assert refused(call, **which, StatementId="two", RevisionId="stale", **allow) == told
    call(**which, StatementId="two", Action=allow["Action"], Principal="*", OrganizationId="o-1234567890")
    service.restart()
    client = service.client
    found = client.get_layer_version_policy(**which)
    first, second = json.loads(found["Policy"])["Statement"]
    assert (first["Sid"], second["Principal"]) == ("one", "*")
    assert second["Condition"] == {"StringEquals": {"aws:PrincipalOrgID": "o-1234567890"}}
    remove = client.remove_layer_version_permission
    lost = (404, MISSING, "Statement three is not found in resource policy.")
    assert refused(remove, **which, StatementId="three") == lost
    assert refused(remove, **which, StatementId="one", RevisionId="stale") == told
    for sid in ("one", "two"):
        remove(**which, StatementId=sid)
    assert refused(client.get_layer_version_policy, **which) == none
    missing = (404, MISSING, f"Layer version {LAYER}:nobody:1 does not exist.")
    assert refused(client.get_layer_version_policy, LayerName="nobody", VersionNumber=1) == missing


def test_a_version_of_python_is_found_in_the_layer_of_that_version(service: Service) -> None:  # E.2
    folder = f"python/lib/python3.{sys.version_info[1]}/site-packages"
    content = zip_of((f"{folder}/greeting.py", "TEXT = 'site'"), (f"{folder}/note", "n"))
    arn = service.client.publish_layer_version(LayerName="site", Content={"ZipFile": content})["LayerVersionArn"]
    service.create("site", [arn])
    assert service.told("site") == ["site", "n"]


def test_a_function_whose_layer_is_lost_cannot_run_until_it_has_others(tmp_path: Path) -> None:
    """A.7: whatever else of it is changed meanwhile."""
    service = Service(tmp_path)
    service.start()
    try:
        layers = [service.publish(name, name, name)["LayerVersionArn"] for name in ("one", "two")]
        service.create("f", layers)
        assert service.told("f") == ["two", "two"]
        service.stop()
        for folder in (tmp_path / ".poller" / "code").glob("*/python"):
            shutil.rmtree(folder.parent)
        service.start()
        content = zip_of(("app.py", SAYS))
        service.client.update_function_code(FunctionName="f", ZipFile=content)
        service.client.update_function_configuration(FunctionName="f", Description="d")
        found = service.client.get_function_configuration(FunctionName="f")
        assert (found["State"], [layer["Arn"] for layer in found["Layers"]]) == ("Failed", layers)
        assert refused(service.client.invoke, FunctionName="f")[:2] == (409, CONFLICT)
        again = [service.publish(name, name, name)["LayerVersionArn"] for name in ("one", "two")]
        service.client.update_function_configuration(FunctionName="f", Layers=again)
        assert service.client.get_function_configuration(FunctionName="f")["State"] == "Active"
        assert service.told("f") == ["two", "two"]
    finally:
        service.stop()


@pytest.mark.parametrize("document", [{}, {"LastVersion": "x"}, {"LastVersion": None}, []])
def test_a_broken_document_of_a_layer_is_told_and_its_numbers_are_not_given_again(
    document: Any, caplog: pytest.LogCaptureFixture
) -> None:
    documents = ForgettingDocuments()
    documents.change(
        [
            Change("Layer", "broken", document),
            Change("Layer", "fine", {"LastVersion": 2}),
            Change("LayerVersion", "broken:7", {}),  # lost as well, but its number is known
            Change("LayerVersion", "broken:x", {}),
        ]
    )
    catalogue: Any = SimpleNamespace(own=lambda: None)
    shelf = LayerShelf(catalogue, documents, restore=True)
    assert (shelf.next_number("broken"), shelf.next_number("fine")) == (8, 3)
    lost = [record.getMessage() for record in caplog.records]
    assert lost[0].startswith("layer broken cannot be restored, its document is not of this program: ")
    assert [text.split(" cannot")[0] for text in lost[1:]] == ["layer version broken:7", "layer version broken:x"]
