"""Layers: local folders and archives that make up what `/opt` is on Lambda (E.2)."""

import json
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from handlers.rig import Function
from templates import document, load, problems

from poller.runtime.layers import changed, copy_over, opt, with_layers

SERVERLESS, LAMBDA = "AWS::Serverless::LayerVersion", "AWS::Lambda::LayerVersion"
PYTHON = f"python3.{sys.version_info[1]}"


def layer(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return folder


def archive(path: Path, files: dict[str, str], mode: int = 0o755) -> Path:
    with zipfile.ZipFile(path, "w") as opened:
        for name, text in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            opened.writestr(info, text)
    return path


def test_no_layers_are_no_folder_and_one_folder_is_itself(tmp_path):
    assert opt(()) is None
    assert opt((tmp_path,)) == tmp_path


def test_the_later_layer_wins_and_archives_keep_who_may_execute(tmp_path):
    first = layer(tmp_path / "first", {"bin/tool": "old", "only/first": "1"})
    second = archive(tmp_path / "second.zip", {"bin/tool": "new", "data": "2"})
    merged = opt((first, second))
    assert merged is not None
    assert opt((first, second)) == merged
    assert {name: (merged / name).read_text() for name in ("bin/tool", "only/first", "data")} == {
        "bin/tool": "new",
        "only/first": "1",
        "data": "2",
    }
    assert os.access(merged / "bin" / "tool", os.X_OK)
    other = opt((second, first))
    assert other is not None
    assert (other / "bin" / "tool").read_text() == "old"


def test_layers_that_were_saved_are_brought_together_again_and_what_is_in_work_keeps_what_it_has(tmp_path):
    first = layer(tmp_path / "first", {"bin/tool": "old", "gone": "1"})
    second = layer(tmp_path / "second", {"data": "2"})
    before = opt((first, second))
    assert before is not None
    layer(first, {"bin/tool": "new"})
    (first / "gone").unlink()
    assert opt((first, second)) == before, "nobody has told of it"
    changed(first)
    after = opt((first, second))
    assert after is not None
    assert ((after / "bin" / "tool").read_text(), (after / "data").read_text()) == ("new", "2")
    assert not (after / "gone").exists()
    assert (before / "bin" / "tool").read_text() == "old"
    changed(second)
    opt((first, second))
    assert not before.exists(), "copies do not pile up"
    changed(tmp_path)
    assert opt((first, second)) == opt((first, second))


def test_what_has_the_same_name_gives_way_whatever_it_is_and_no_link_is_followed(tmp_path):
    first = layer(tmp_path / "first", {"folder/x": "1", "file": "1", "target/kept": "1"})
    (first / "link").symlink_to("target")
    second = layer(tmp_path / "second", {"folder": "2", "file/x": "2", "link/x": "2"})
    merged = opt((first, second))
    assert merged is not None
    found = {str(path.relative_to(merged)): path.read_text() for path in merged.rglob("*") if path.is_file()}
    assert found == {"folder": "2", "file/x": "2", "link/x": "2", "target/kept": "1"}


def test_an_archive_cannot_write_outside_of_its_folder(tmp_path):
    merged = opt((archive(tmp_path / "evil.zip", {"../../evil": "x", "/abs": "y"}),))
    assert merged is not None
    assert sorted(path.name for path in merged.rglob("*")) == ["abs", "evil"]


def test_an_archive_s_links_are_links(tmp_path):
    packed = archive(tmp_path / "first.zip", {"lib/library.so.1": "library"})
    with zipfile.ZipFile(packed, "a") as opened:
        link = zipfile.ZipInfo("lib/library.so")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(link, "library.so.1")
    merged = opt((packed,))
    assert merged is not None
    assert (merged / "lib/library.so").readlink() == Path("library.so.1")
    assert (merged / "lib/library.so").read_text() == "library"


def test_an_archive_does_not_write_through_the_links_of_a_layer_before_it(tmp_path):
    mine = layer(tmp_path / "mine", {"tool": "mine"})
    first = layer(tmp_path / "first", {"data": "1"})
    (first / "bin").symlink_to(mine)
    (first / "tool").symlink_to(mine / "tool")
    merged = opt((first, archive(tmp_path / "second.zip", {"bin/tool": "new", "tool": "new"})))
    assert merged is not None
    assert [(merged / name).read_text() for name in ("bin/tool", "tool")] == ["new", "new"]
    assert (mine / "tool").read_text() == "mine"


def test_an_archive_that_is_none_any_more_is_told(tmp_path):
    (tmp_path / "a.zip").write_text("no archive")
    with pytest.raises(OSError, match="is no archive that can be read"):
        opt((tmp_path / "a.zip",))


def test_what_the_person_set_wins_over_a_layer_and_a_layer_over_the_machine():
    folder = Path("/layers")
    variables = {"PATH": "/bin", "PYTHONPATH": "/mine", "NODE_PATH": "/mine"}
    assert with_layers(variables, "python3.13", folder) == {
        "PATH": "/layers/bin:/bin",
        "LD_LIBRARY_PATH": "/layers/lib",
        "PYTHONPATH": "/mine:/layers/python/lib/python3.13/site-packages:/layers/python",
        "NODE_PATH": "/mine",
    }
    assert with_layers(variables, "nodejs22.x", folder)["NODE_PATH"] == (
        "/mine:/layers/nodejs/node22/node_modules:/layers/nodejs/node_modules"
    )
    assert with_layers(variables, "python3.13", None) == variables


def test_a_handler_finds_modules_and_programs_of_its_layers(tmp_path):
    first = layer(tmp_path / "first", {"python/library.py": "name = 'first'", "bin/said": "#!/bin/sh\necho first\n"})
    site = f"python/lib/{PYTHON}/site-packages/installed.py"
    second = archive(tmp_path / "second.zip", {"python/library.py": "name = 'second'", site: "name = 'site'"})
    code = layer(
        tmp_path / "code",
        {
            "app.py": "import installed, library, subprocess\ndef handler(event, context):\n"
            "    said = subprocess.run(['said'], capture_output=True, text=True).stdout.strip()\n"
            "    return [library.name, installed.name, said]\n"
        },
    )
    fn = Function("app.handler", code=code, runtime=PYTHON, layers=(first, second))
    result = fn.invoke()
    fn.environment.stop()
    assert json.loads(result.payload) == ["second", "site", "first"]


def test_the_program_of_a_function_may_come_with_a_layer(tmp_path):
    folder = layer(tmp_path / "layer", {"bootstrap": "#!/bin/sh\nexit 9\n"})
    code = layer(tmp_path / "code", {"data": ""})
    fn = Function("x", code=code, runtime="provided.al2023", layers=(folder,))
    result = fn.invoke()
    fn.environment.stop()
    assert b"exit status 9" in result.payload


def with_layer(kind, content, *, layers=None, **more):
    name = "ContentUri" if kind == SERVERLESS else "Content"
    given = document(function={"Layers": layers or [{"Ref": "Libraries"}]})
    given["Resources"]["Libraries"] = {"Type": kind, "Properties": {**({name: content} if content else {}), **more}}
    return given


@pytest.mark.parametrize("kind", [SERVERLESS, LAMBDA])
def test_a_function_names_layers_of_the_template(tmp_path, kind):
    (tmp_path / "layer").mkdir()
    more = {"LayerName": "libs", "CompatibleRuntimes": ["python3.13"], "Description": "x"}
    telemetry, tasks = load(tmp_path, with_layer(kind, "layer", **more)).functions
    assert telemetry.Layers == ("arn:aws:lambda:us-east-1:123456789012:layer:libs:1",)
    assert telemetry.configuration().layers == (tmp_path / "layer",)
    assert tasks.configuration().layers == ()


def test_what_is_wrong_with_layers_is_told(tmp_path):
    (tmp_path / "text.zip").write_text("no archive")
    place = "Resources.Libraries.Properties"
    for content, problem in (
        ("absent", f"{place}.ContentUri: there is no absent (looked for FOLDER/absent)"),
        (
            "text.zip",
            f"{place}.ContentUri: text.zip is neither a folder nor a zip archive (name a folder or a zip archive)",
        ),
        ("s3://bucket/key", f"{place}.ContentUri: is not local (name a folder or a zip archive)"),
        (None, f"{place}.ContentUri: is missing (name a folder or a zip archive)"),
    ):
        assert problems(tmp_path, with_layer(SERVERLESS, content)) == [problem]
    (tmp_path / "layer").mkdir()
    arn = "arn:aws:lambda:eu-west-1:017000801446:layer:AWSLambdaPowertoolsPythonV3-python313-x86_64:1"
    [problem] = problems(tmp_path, with_layer(SERVERLESS, "layer", layers=[{"Ref": "Libraries"}, arn]))
    assert problem == (
        f'Resources.Telemetry.Properties.Layers[1]: "{arn[:78]}… is no layer of the template '
        "(declare an AWS::Serverless::LayerVersion with a local ContentUri, and name it with !Ref)"
    )
    [problem] = problems(tmp_path, with_layer(SERVERLESS, "layer", Unknown=1))
    assert problem == "Resources.Libraries.Properties.Unknown: unknown property"


def test_a_layer_that_is_gone_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:  # E.2
    (tmp_path / "opt").mkdir()
    with pytest.raises(FileNotFoundError):
        copy_over(tmp_path / "gone", tmp_path / "opt")


def test_what_was_brought_together_goes_with_the_process(tmp_path):
    packed = archive(tmp_path / "a.zip", {"data": "1"})
    program = "import sys, pathlib; from poller.runtime.layers import opt; print(opt((pathlib.Path(sys.argv[1]),)))"
    ended = subprocess.run([sys.executable, "-c", program, packed], capture_output=True, text=True, check=True)
    assert "poller-opt-" in ended.stdout
    assert not Path(ended.stdout.strip()).exists()
