"""What the pages say is so: generated parts are current, links lead somewhere, commands and examples work."""

from __future__ import annotations

import json
import re
import shlex
import warnings
from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path

import pytest
import yaml
from templates import _transform_in_process  # noqa: F401 - a fixture

from poller import log, template
from poller.cli import main
from poller.cli_options import parser
from poller.runtime.debugger import HOST, PORTS
from poller.sam import TRANSFORM

with warnings.catch_warnings():
    # kafka-python reads its protocol's schemas, at import, with functions that Python 3.11 calls deprecated.
    warnings.filterwarnings("ignore", "(open|read)_text is deprecated", DeprecationWarning)
    from docs import generate, model_tables
    from poller import events

ROOT = Path(__file__).parents[2]
PAGES = generate.PAGES
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
FILE = re.compile(r"<!-- file: (?P<name>\S+) -->\n```\w*\n(?P<text>.*?)```\n", re.DOTALL)
BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
HANDLER = "def handler(event, context):\n    return None\n"

every_page = pytest.mark.parametrize("page", PAGES, ids=IDS)
pages_with_files = pytest.mark.parametrize(
    "page", [page for page in PAGES if FILE.search(page.read_text())], ids=lambda page: page.stem
)


def prose(page: Path) -> str:
    return BLOCK.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """Of the headings, as they are made on GitHub."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def write_files(page: Path, folder: Path) -> None:
    """The files that the page tells to make; a function that it only mentions gets a handler that does nothing."""
    for found in FILE.finditer(page.read_text()):
        path = folder / found["name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found["text"])
    if not (folder / "orders").exists():
        (folder / "orders").mkdir()
        (folder / "orders" / "handler.py").write_text(HANDLER)


def shell_commands(page: Path) -> Iterator[list[str]]:
    """Each command of the page's shell blocks, in words; the lines of a pipe are one command each."""
    for block in BLOCK.finditer(page.read_text()):
        if block["language"] not in {"sh", "console"}:
            continue
        lines = block["text"].splitlines()
        if block["language"] == "console":
            lines = [line[2:] for line in lines if line.startswith(("$ ", "> "))]
        for line in re.sub(r"(\\|(?<=\|))\n", " ", "\n".join(lines)).splitlines():
            words: list[str] = []
            for word in shlex.split(line, comments=True):
                if word in {"|", "&", "&&", ">", "||", ";"}:
                    yield words
                    words = []
                else:
                    words.append(word)
            yield words


# --- generated parts -----------------------------------------------------------------------------------------------


@every_page
def test_generated_parts_are_what_the_program_says_today(page: Path) -> None:
    text = page.read_text()
    assert generate.render(text) == text, "run .venv/bin/python docs/generate.py"


def test_every_part_that_can_be_generated_is_on_a_page() -> None:
    used = {found["name"] for page in PAGES for found in generate.PART.finditer(page.read_text())}
    assert used == set(generate.SECTIONS)


@pytest.mark.parametrize(
    "section", ["settings", "extensions", "mapping properties", "function properties", "trigger properties"]
)
def test_no_name_is_without_a_meaning_unless_it_says_all(section: str) -> None:
    for line in generate.SECTIONS[section]().splitlines()[2:]:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        assert cells[-1] or cells[1], line


def test_notes_are_about_fields_that_exist() -> None:
    known = {
        f"{model.__name__}.{field}"
        for root in (model_tables.Settings, model_tables.Function, model_tables.EventSourceMapping)
        for _, field, model, _ in model_tables._fields(root)
    }
    for names in (model_tables.NOTES, model_tables.DEFAULTS, model_tables.PROBES):
        assert set(names) <= known


# --- links and names -----------------------------------------------------------------------------------------------


@every_page
def test_relative_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" not in target:
            name, _, anchor = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            assert file.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(file), f"{page.name}: {target}"


def test_every_page_can_be_reached_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#]+)\)", index.read_text())}
    assert {page for page in PAGES if page.parent != ROOT and page != index} == linked


def test_the_members_of_a_log_line_are_all_explained() -> None:
    page = (ROOT / "docs/reference/log.md").read_text()
    told = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert told == ["time", "level", "logger", "message", *log.CONTEXT.values(), "exception"]


# --- commands ------------------------------------------------------------------------------------------------------


@every_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([\w-]+)", prose(page)))
    for command in shell_commands(page):
        if command[:1] == ["make"]:
            named |= set(command[1:])
    assert named <= targets


@every_page
def test_poller_s_command_lines_parse(page: Path) -> None:
    for command in shell_commands(page):
        words = [*dropwhile(re.compile(r"\w+=").match, command)]
        if words[:1] == ["poller"]:
            parser().parse_args(words[1:])


def test_the_ports_of_the_readme_are_those_of_compose() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].values()
    published = {
        variable: port
        for service in services
        for text in service.get("ports", ())
        for variable, port in re.findall(r"127\.0\.0\.1:\$\{(\w+):-(\d+)\}", text)
    }
    told = re.findall(r"^\| .+ \| (\d+) \| `(\w+)` \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {variable: port for port, variable in told} == published


# --- examples ------------------------------------------------------------------------------------------------------


def test_the_tutorial_shows_what_validate_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = ROOT / "docs/tutorial/first-function-on-kafka.md"
    write_files(page, tmp_path)
    assert main(["validate", str(tmp_path / "template.yaml")]) == 0
    said = capsys.readouterr().out.replace(f"{tmp_path}/template.yaml", "template.yaml")
    assert said.replace(str(tmp_path), "…/first") in page.read_text()


@pages_with_files
def test_templates_are_valid(page: Path, tmp_path: Path) -> None:
    write_files(page, tmp_path)
    settings = tmp_path / "settings.yaml"
    loaded = template.load(
        tmp_path / "template.yaml",
        settings_file=settings if settings.exists() else None,
        environment={"RABBITMQ_PASSWORD": "secret"},
    )
    assert loaded.mappings or loaded.asynchronous or loaded.triggers or loaded.function_urls


def test_the_settings_of_the_reference_are_valid(tmp_path: Path) -> None:
    page = (ROOT / "docs/reference/settings.md").read_text()
    block = next(block for block in BLOCK.finditer(page) if block["language"] == "yaml")
    section = yaml.safe_load(block["text"])
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "handler.py").write_text(HANDLER)
    properties = {"CodeUri": "code", "Handler": "handler.handler", "Runtime": "python3.13"}
    function = {"Type": "AWS::Serverless::Function", "Properties": properties}
    content = {**section, "Transform": TRANSFORM, "Resources": {"F": function}}
    (tmp_path / "template.yaml").write_text(yaml.safe_dump(content))
    template.load(tmp_path / "template.yaml", environment={"RABBITMQ_PASSWORD": "secret"})


@pytest.mark.parametrize(
    ("page", "event"),
    [
        ("README.md", events.kafka_event(topic="orders", values=['{"id": 1, "quantity": 2, "price": 9.5}'])),
        (
            "docs/tutorial/first-function-on-kafka.md",
            events.kafka_event(topic="orders", values=['{"id": 1, "quantity": 2, "price": 9.5}', "no order"]),
        ),
        (
            "docs/how-to/answer-with-partial-batch-responses.md",
            events.rabbitmq_event(queue="orders", values=['{"id": 1}', "no order"]),
        ),
    ],
)
def test_functions_answer_as_the_page_says(
    page: str, event: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(ROOT / page, tmp_path)
    (tmp_path / "event.json").write_bytes(event)
    arguments = ["Orders", "--event", str(tmp_path / "event.json"), "--template", str(tmp_path / "template.yaml")]
    assert main(["invoke", *arguments]) == 0
    answers = {
        "README.md": "null",
        "docs/how-to/answer-with-partial-batch-responses.md": '{"batchItemFailures": [{"itemIdentifier": '
        '"00000000-0000-4000-8000-000000000002"}]}',
    }
    answer = capsys.readouterr().out.strip()
    assert answer == answers[page] if page in answers else answer in (ROOT / page).read_text()


def test_the_launch_json_attaches_where_functions_wait_for_a_debugger() -> None:
    page = (ROOT / "docs" / "how-to" / "debug-a-handler.md").read_text()
    (text,) = [block["text"] for block in BLOCK.finditer(page) if block["language"] == "json"]
    launch = json.loads(text)
    assert launch["version"] == "0.2.0"
    by_type = {each["type"]: each for each in launch["configurations"]}
    assert {each["request"] for each in by_type.values()} == {"attach"}
    assert by_type["debugpy"]["connect"] == {"host": HOST, "port": PORTS["python"]}
    assert (by_type["node"]["address"], by_type["node"]["port"]) == (HOST, PORTS["nodejs"])
    assert all(each["name"] for each in launch["configurations"])
