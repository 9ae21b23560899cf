"""A function's code in a zip archive, as builds make them and as AWS deploys them: it runs from where it is unpacked."""

import json
import zipfile
from pathlib import Path

import pytest
from templates import document, load, problems, write

from poller.cli import main
from poller.cli_options import ExitCode

TRANSFORM = {"Transform": "AWS::Serverless-2016-10-31"}
PLACE = "Resources.Telemetry.Properties.CodeUri"
APP = 'import os\n\ndef handler(event, context):\n    return [event, open("data/prices").read(), os.environ["LAMBDA_TASK_ROOT"]]\n'


def archive(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as opened:
        for name, text in files.items():
            opened.writestr(name, text)
    return path


@pytest.mark.parametrize("name", ["app.zip", "target.jar"])  # by what is in it: a jar is one
@pytest.mark.parametrize("kind", ["AWS::Serverless::Function", "AWS::Lambda::Function"])
def test_it_is_unpacked_and_its_files_are_found_in_the_working_folder(tmp_path, capsys, name, kind):
    archive(tmp_path / name, {"app.py": APP, "data/prices": "7"})
    code = "Code" if kind.startswith("AWS::Lambda") else "CodeUri"
    properties = {code: name, "Handler": "app.handler", "Runtime": "python3.13"}
    template = write(tmp_path, {**TRANSFORM, "Resources": {"Orders": {"Type": kind, "Properties": properties}}})
    (tmp_path / "event.json").write_text("5")
    assert (
        main(["invoke", "Orders", "--event", str(tmp_path / "event.json"), "--template", str(template)]) == ExitCode.OK
    )
    event, prices, root = json.loads(capsys.readouterr().out)
    assert (event, prices) == (5, "7")
    assert not Path(root).is_relative_to(tmp_path)


def test_its_handler_is_looked_for_before_anything_runs(tmp_path):
    archive(tmp_path / "app.zip", {"app.py": APP})
    told = problems(tmp_path, document(function={"CodeUri": "app.zip", "Handler": "ap.handler"}))
    assert [problem.partition(":")[0] for problem in told] == ["Resources.Telemetry.Properties.Handler"]
    assert "app.zip" in told[0]


def test_two_functions_of_one_archive_share_what_is_unpacked(tmp_path):
    archive(tmp_path / "app.zip", {"app.py": APP})
    function = {"CodeUri": "app.zip", "Handler": "app.handler", "Runtime": "python3.13"}
    resources = {name: {"Type": "AWS::Serverless::Function", "Properties": function} for name in "ab"}
    read = load(tmp_path, {**TRANSFORM, "Resources": resources})
    first, second = (one.configuration().code for one in read.functions)
    assert first == second
    assert (first / "app.py").is_file()


def test_an_archive_that_is_broken_is_told_as_a_problem_of_the_template(tmp_path):
    path = archive(tmp_path / "app.zip", {"app.py": "a" * 1000})
    path.write_bytes(path.read_bytes().replace(b"aaaa", b"bbbb", 1))
    [problem] = problems(tmp_path, document(function={"CodeUri": "app.zip"}))
    assert problem.startswith(f"{PLACE}: cannot be unpacked: ")
    assert "app.zip is no archive that can be read: Bad CRC-32" in problem


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [(6, b"\1\0", "is encrypted"), (8, b"\x63\0", "compression method is not supported")],
)
def test_one_that_cannot_be_unpacked_here_is_told_as_well(tmp_path, offset, value, reason):
    path = archive(tmp_path / "app.zip", {"app.py": APP})
    content = bytearray(path.read_bytes())
    for entry in (offset, content.find(b"PK\1\2") + 2 + offset):  # flags and method of the file and in the directory
        content[entry : entry + 2] = value
    path.write_bytes(content)
    [problem] = problems(tmp_path, document(function={"CodeUri": "app.zip"}))
    assert problem.startswith(f"{PLACE}: cannot be unpacked: ")
    assert reason in problem
