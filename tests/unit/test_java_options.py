"""Java has the memory that its function has, not a share of the machine's; a person's own options win."""

from pathlib import Path

import pytest

from poller.model import FunctionConfiguration
from poller.runtime.api_commands import API_COMMANDS
from poller.runtime.java_options import java_options
from poller.runtime.toolchains import Tool

COLLECTOR, FIRST_LEVEL = "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"


def options(runtime="java21", memory_size=512, initialization_type="on-demand", **variables):
    configuration = FunctionConfiguration(
        "fn",
        Path("/code"),
        "example.Handler::handle",
        runtime=runtime,
        memory_size=memory_size,
        initialization_type=initialization_type,
        environment=variables,
    )
    line = API_COMMANDS["java", "poller"](Tool("/bin/java", "21"), configuration).line
    found = java_options(configuration)
    assert line[1 : 1 + len(found)] == found, "they stand before the class"
    return found


@pytest.mark.parametrize(("memory_size", "heap"), [(128, "111411k"), (512, "445644k"), (10_240, "8912896k")])
def test_the_heap_is_85_percent_of_the_memory(memory_size, heap):
    assert options(memory_size=memory_size) == [f"-XX:MaxHeapSize={heap}", COLLECTOR, FIRST_LEVEL]


@pytest.mark.parametrize(
    ("runtime", "initialization_type", "stops"),
    [
        ("java11", "on-demand", False),
        ("java17", "on-demand", True),
        ("java21", "provisioned-concurrency", True),
        ("java25", "on-demand", True),
        ("java25", "provisioned-concurrency", False),
    ],
)
def test_compilation_stops_at_its_first_level_as_lambda_has_it(runtime, initialization_type, stops):
    assert (FIRST_LEVEL in options(runtime, initialization_type=initialization_type)) is stops


@pytest.mark.parametrize("variable", ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"])
@pytest.mark.parametrize(
    ("said", "left_out"),
    [
        ("-Xmx100m", "-XX:MaxHeapSize"),
        ("-XX:MaxHeapSize=100m -Dx=1", "-XX:MaxHeapSize"),
        ("-Dx=1 -XX:MaxRAMPercentage=50", "-XX:MaxHeapSize"),
        ("-XX:+UseParallelGC", COLLECTOR),
        ("-XX:+UseZGC", COLLECTOR),
        ("-XX:+UseShenandoahGC", COLLECTOR),
        ("-XX:TieredStopAtLevel=4", FIRST_LEVEL),
        ("-XX:+TieredCompilation", FIRST_LEVEL),
        ("-XX:-TieredCompilation", FIRST_LEVEL),
        ("-Duser.language=de", None),
        ("-XX:+UseStringDeduplication", None),
    ],
)
def test_what_a_person_says_of_the_same_wins(variable, said, left_out):
    expected = [option for option in options() if left_out is None or not option.startswith(left_out)]
    assert options(**{variable: said}) == expected


def test_classes_of_layers_are_found_behind_those_of_the_function(tmp_path):  # E.2
    configuration = FunctionConfiguration("fn", Path("/code"), "e.H::h", runtime="java21", layers=(tmp_path,))
    line = API_COMMANDS["java", "poller"](Tool("/bin/java", "21"), configuration).line
    assert line[line.index("-cp") + 1] == f"/code:/code/lib/*:{tmp_path}/java/lib/*"
