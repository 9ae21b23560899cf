"""A function whose folder does not hold what its Handler names is refused before it runs."""

import shutil
from pathlib import Path

import pytest

from poller.handler_files import handler_problem


@pytest.fixture
def code(tmp_path: Path) -> Path:
    for name in ("app.py", "package/__init__.py", "src/app.js", "esm.mjs", "old.cjs", "node_modules/lib/index.js"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("language", "handler", "problem"),
    [
        ("python", "app.handler", None),
        ("python", "package.handler", None),
        ("python", "ap.handler", "there is no ap.py in CODE"),
        ("python", "app", '"app" has no function'),
        ("python", f"{'a' * 300}.handler", f'"{"a" * 78}… names no module'),
        ("nodejs", "src/app.handler", None),
        ("nodejs", "src/app.nested.handler", None),
        ("nodejs", "/var/task/src/app.handler", None),
        ("nodejs", "esm.handler", None),
        ("nodejs", "old.handler", None),
        ("nodejs", "lib.handler", None),  # a package: Node knows its files
        ("nodejs", "app.handler", "there is no app.js, .mjs or .cjs in CODE"),
        ("nodejs", "src/app", '"src/app" has no function'),
        ("java", "example.Handler::handle", "there is no aws-lambda-java-runtime-interface-client-….jar in CODE/lib"),
        ("provided", "anything", "there is no file bootstrap in CODE"),
    ],
)
def test_a_handler_names_a_file_of_its_folder(code: Path, language, handler: str, problem: str | None) -> None:
    found = handler_problem(language, handler, code)
    if problem is None:
        assert found is None
    else:
        assert found is not None
        assert found[0].replace(str(code), "CODE") == problem
        assert found[1]


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize(
    ("language", "handler", "problem"),
    [
        ("python", "monitor.handler.wrapped", None),
        ("python", "pure.wrapped", None),
        ("python", "site.wrapped", None),
        ("python", "compiled.wrapped", None),
        ("python", "monitor.wrapped", "there is no monitor.py in CODE nor in its layers"),
        ("nodejs", "monitor-js.wrapped", None),
        ("nodejs", "versioned.wrapped", None),
        (
            "nodejs",
            "monitor-js/handler.wrapped",
            "there is no monitor-js/handler.js, .mjs or .cjs in CODE nor in its layers",
        ),
        ("nodejs", "/opt/nodejs/node_modules/monitor-js/handler.wrapped", None),
        (
            "nodejs",
            "/opt/nodejs/handler.wrapped",
            "there is no nodejs/handler.js, .mjs or .cjs in CODE nor in its layers",
        ),
        ("java", "example.Handler::handle", None),
        ("provided", "anything", None),
    ],
)
def test_a_handler_may_come_with_a_layer(
    code: Path, tmp_path_factory: pytest.TempPathFactory, *, archived: bool, language, handler: str, problem: str | None
) -> None:  # E.2
    layer = tmp_path_factory.mktemp("layer")
    for name in (
        "python/monitor/handler.py",
        "python/pure.py",
        "python/lib/python3.13/site-packages/site.py",
        "python/compiled.cpython-313-x86_64-linux-gnu.so",
        "nodejs/node_modules/monitor-js/handler.js",
        "nodejs/node22/node_modules/versioned/handler.mjs",
    ):
        (layer / name).parent.mkdir(parents=True, exist_ok=True)
        (layer / name).touch()
    if archived:
        layer = Path(shutil.make_archive(str(layer), "zip", layer))
    found = handler_problem(language, handler, code, [layer])
    assert (found and found[0].replace(str(code), "CODE")) == problem


def test_a_bootstrap_has_to_be_executable(code: Path) -> None:
    program = code / "bootstrap"
    program.touch()
    problem = handler_problem("provided", "x", code)
    assert problem == (f"{program} is not executable", f"chmod +x {program}")
    program.chmod(0o755)
    assert handler_problem("provided", "x", code) is None


def test_java_needs_aws_s_client_in_the_package(code: Path) -> None:
    (code / "lib").mkdir()
    (code / "lib" / "aws-lambda-java-runtime-interface-client-2.9.0-linux-x86_64.jar").touch()
    assert handler_problem("java", "example.Handler::handle", code) is None
