"""`poller invoke` with a service that runs the template, with another one, and with none (A.1)."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_service import arn, served, template_of
from async_rig import lines
from handlers.rig import PATIENCE, wait_until_gone
from waiting import eventually

from poller import running_service
from poller.cli import main
from poller.cli_options import ExitCode

FUNCTIONS = {
    "echo": {"Handler": "basic.echo"},
    "talk": {"Handler": "basic.talk"},
    "context": {"Handler": "basic.describe_context"},
    "raises": {"Handler": "failing.raises"},
    "holds": {"Handler": "greedy.holds", "Timeout": 20},
    "binary": {"Handler": "both.raw"},
    "zero": {"Handler": "basic.echo", "ReservedConcurrentExecutions": 0},
}


class Shell:
    """Runs the command on a template whose service runs."""

    def __init__(self, folder: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.template, self.url = folder / "template.json", url
        self._capsys = capsys

    def __call__(self, *arguments: str, template: Path | None = None) -> tuple[int, str, str]:
        code = main(["invoke", *arguments, "--template", str(template or self.template)])
        return code, *self._capsys.readouterr()

    def json(self, *arguments: str) -> dict[str, Any]:
        return dict(json.loads(self(*arguments, "--json")[1]))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("service")
    notes = {"Environment": {"Variables": {"NOTES": str(folder / "notes")}}}
    template = template_of(folder, {**FUNCTIONS, "noted": {"Handler": "noted.handler", **notes}})
    with served(template) as url:
        yield folder, url


@pytest.fixture
def shell(service: tuple[Path, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    folder, url = service
    monkeypatch.setenv("POLLER_PORT", url.rpartition(":")[2])
    return Shell(folder, url, capsys)


def test_the_service_that_runs_the_template_invokes(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"[1, 2]")))
    assert shell("echo", "--event", "-") == (ExitCode.OK, "[1, 2]\n", "")
    answer = shell.json(arn("echo"))
    assert (answer["StatusCode"], answer["ExecutedVersion"], answer["Endpoint"]) == (200, "$LATEST", shell.url)
    assert answer["RequestId"]


def test_without_one_or_when_asked_a_process_of_its_own_does(shell: Shell, tmp_path: Path) -> None:
    assert shell.json("echo", "--local")["Endpoint"] is None
    template_of(tmp_path, FUNCTIONS)
    code, out, _ = shell("echo", "--json", template=tmp_path / "template.json")
    assert (code, json.loads(out)["Endpoint"]) == (ExitCode.OK, None), "the port is another template's service's"


def test_a_service_is_named_by_its_url(shell: Shell, tmp_path: Path) -> None:
    code, out, _ = shell("echo", "--endpoint", shell.url, "--json", template=tmp_path / "no template.yaml")
    assert (code, json.loads(out)["Endpoint"]) == (ExitCode.OK, shell.url)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://127.0.0.1:1", "poller: no service answers at http://127.0.0.1:1: "),
        ("127.0.0.1:9001", "poller: 127.0.0.1:9001 is no URL of a service: give one such as http://127.0.0.1:9001"),
        ("http://[", "poller: http://[ is no URL: "),
        ("http://h:x", "poller: http://h:x is no URL: "),
        ("file:///etc/passwd", "poller: file:///etc/passwd is no URL of a service: "),
    ],
)
def test_where_no_service_answers_that_is_told(shell: Shell, url: str, text: str) -> None:
    code, out, err = shell("echo", "--endpoint", url)
    assert (code, out) == (ExitCode.FAILED, "")
    assert err.startswith(text)


def test_the_function_s_error_and_its_log_are_shown(shell: Shell) -> None:  # A.4
    code, out, err = shell("raises")
    assert (code, json.loads(out)["errorMessage"]) == (ExitCode.FUNCTION_ERROR, "text")
    assert err == "poller: the function failed (Unhandled)\n"
    code, _, err = shell("talk", "--log")
    assert (code, err.splitlines()[0].partition(":")[0]) == (ExitCode.OK, "START RequestId")
    assert "\nprinted\n" in err


def test_a_function_that_holds_too_much_memory_is_killed_without_a_service_too(shell: Shell) -> None:  # A.4, E.3
    code, out, err = shell("holds", "--local", "--log")
    assert code == ExitCode.FUNCTION_ERROR
    assert json.loads(out)["errorMessage"].endswith("Runtime exited with error: signal: killed")
    report = err.splitlines()[-2]
    assert "\tMax Memory Used: 128 MB\t" in report
    assert report.endswith("Status: error\tError Type: Runtime.OutOfMemory")


def test_an_event_is_handed_over(shell: Shell, service: tuple[Path, str]) -> None:  # B.1
    code, out, err = shell("noted", "--type", "Event")
    assert (code, out) == (ExitCode.OK, "")
    assert err.startswith(f"poller: accepted by {shell.url}, request ")
    request_id = err.split()[-1]
    [attempt] = eventually(lambda: lines(service[0] / "notes"))
    assert attempt["id"] == request_id


def test_a_dry_run_runs_nothing(shell: Shell) -> None:  # A.1
    assert shell("raises", "--type", "DryRun") == (ExitCode.OK, "", "")
    assert shell("raises", "--type", "DryRun", "--local") == (ExitCode.OK, "", "")


@pytest.mark.parametrize("how", ["--json", "--local"])
def test_the_client_context_reaches_the_handler(shell: Shell, how: str) -> None:  # A.1, E.4
    code, out, _ = shell("context", "--client-context", '{"custom": {"a": "é"}}', how)
    answer = json.loads(out)
    assert code == ExitCode.OK
    assert "é" in json.dumps(answer.get("Payload", answer), ensure_ascii=False)


def test_what_the_service_refuses_is_told(shell: Shell) -> None:  # A.3
    code, _, err = shell("nobody")
    assert code == ExitCode.BAD_CONFIGURATION
    assert err == f"poller: {shell.url} refused: Function not found: {arn('nobody')}:$LATEST\n"
    code, _, err = shell("echo", "--qualifier", "7")
    assert (code, err) == (
        ExitCode.BAD_CONFIGURATION,
        f"poller: {shell.url} refused: Function not found: {arn('echo')}:7\n",
    )
    code, _, err = shell("zero")
    assert (code, err) == (ExitCode.FAILED, f"poller: {shell.url} refused: Rate Exceeded.\n")


def test_what_only_a_service_can_do_is_refused_without_one(shell: Shell) -> None:
    code, out, err = shell("echo", "--type", "Event", "--local")
    assert (code, out) == (ExitCode.BAD_CONFIGURATION, "")
    assert err.startswith("poller: --type Event: needs a service that runs: ")
    code, _, err = shell("echo", "--qualifier", "7", "--local")
    assert code == ExitCode.BAD_CONFIGURATION
    assert err.startswith("poller: --qualifier 7: there are no versions and aliases but ")
    assert shell("echo", "--qualifier", "$LATEST", "--local")[0] == ExitCode.OK


@pytest.mark.parametrize(
    ("bind", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("fe80::1", "[fe80::1]"),
        ("localhost", "localhost"),
    ],
)
def test_a_service_that_is_bound_to_every_address_is_reached_at_this_machine_s(bind: str, host: str) -> None:
    assert running_service._host(bind) == host


@pytest.mark.parametrize("text", ["", "[]", "{", "1"])
def test_a_client_context_that_is_none_is_refused(shell: Shell, text: str) -> None:
    code, _, err = shell("echo", "--client-context", text)
    assert code == ExitCode.BAD_CONFIGURATION
    assert err.startswith("poller: --client-context: is not a JSON object")


def test_a_client_context_for_an_event_is_refused(shell: Shell) -> None:  # A.1
    code, _, err = shell("noted", "--type", "Event", "--client-context", "{}")
    assert code == ExitCode.BAD_CONFIGURATION
    assert err.startswith("poller: --client-context: reaches handlers of synchronous invocations only")


def test_calls_are_signed_where_signatures_are_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"RequireSignature": True, "SignatureKeys": {"AKIDEXAMPLE": "secret"}}
    with served(template_of(tmp_path, FUNCTIONS, **keys)) as url:
        monkeypatch.setenv("POLLER_PORT", url.rpartition(":")[2])
        code, out, err = Shell(tmp_path, url, capsys)("echo", "--qualifier", "$LATEST", "--json")
        assert (code, err) == (ExitCode.OK, "")
        assert json.loads(out)["Endpoint"] == url
        stranger = tmp_path / "no template.yaml"
        code, _, err = Shell(tmp_path, url, capsys)("echo", "--endpoint", url, template=stranger)
    assert code == ExitCode.BAD_CONFIGURATION
    assert err.startswith(f"poller: {url} refused: Missing Authentication Token (where it looks at signatures, give ")


@pytest.mark.parametrize("local", [True, False])
def test_bytes_that_are_no_text_are_printed_as_they_are(
    service: tuple[Path, str], capsysbinary: pytest.CaptureFixture[bytes], local: bool
) -> None:
    folder, url = service
    where = ["--local"] if local else ["--endpoint", url]
    assert main(["invoke", "binary", *where, "--template", str(folder / "template.json")]) == ExitCode.OK
    assert capsysbinary.readouterr().out == b"\x00\xff raw\n"


@pytest.mark.parametrize("command", ["invoke", "check-idempotency"])
def test_a_command_that_is_terminated_leaves_no_process_and_no_folder(tmp_path: Path, command: str) -> None:
    (tmp_path / "app.py").write_text(
        "import os, subprocess, time\n"
        "def handler(event, context):\n"
        "    daemon = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "    with open('begun.part', 'w') as begun:\n"
        "        begun.write(f'{daemon.pid} {os.environ[\"TMPDIR\"]}')\n"
        "    os.rename('begun.part', 'begun')\n"
        "    time.sleep(600)\n"
    )
    slow = {"Handler": "app.handler", "Code": str(tmp_path), "Timeout": 300}
    template = template_of(tmp_path, {"slow": slow}).path
    begun, event = tmp_path / "begun", tmp_path / "event.json"
    event.write_text("{}")
    with subprocess.Popen(
        [sys.executable, "-m", "poller.cli", command, "slow", "--event", str(event), "--template", str(template)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as process:
        eventually(begun.exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == ExitCode.INTERRUPTED
    daemon, folder = begun.read_text().split()
    wait_until_gone(int(daemon))
    assert not Path(folder).exists()
