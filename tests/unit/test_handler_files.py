"""A function whose folder does not hold what its Handler names is refused before it runs."""

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
