"""How the process of a function is started, by its runtime."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from poller.model import FunctionConfiguration
from poller.runtime.api_commands import API_COMMANDS, ApiCommand, wrapped
from poller.runtime.api_dialogue import ApiDialogue
from poller.runtime.dialogue import Dialogue
from poller.runtime.extensions_beside import ExtensionsBeside
from poller.runtime.handler_log import HandlerLog
from poller.runtime.layers import opt, with_layers
from poller.runtime.pipe_dialogue import PipeDialogue
from poller.runtime.process import RuntimeProcess
from poller.runtime.process_events import ProcessEvents
from poller.runtime.process_group import NOT_EXECUTABLE, InvalidEntrypoint
from poller.runtime.runtimes import understood
from poller.runtime.telemetry_stream import Telemetry
from poller.runtime.toolchains import Tool, find, machine
from poller.runtime.variables import environment_variables

_CONTROL_GROUP = "_POLLER_CONTROL_GROUP"
"""Variable that `bootstrap` takes away before the handler is imported."""

BOOTSTRAP = Path(__file__).with_name("bootstrap.py")


class Launch(Protocol):
    """Starts one process."""

    def __call__(
        self,
        configuration: FunctionConfiguration,
        *,
        log_stream: str,
        temporary: Path,
        log: Callable[[], HandlerLog],
        telemetry: Telemetry,
        wake: int,
    ) -> Dialogue:
        """Start it; blocks for the start of a program.

        Args:
            configuration: of the function.
            log_stream: name of the environment's log stream.
            temporary: folder that is its `/tmp`.
            log: the log of the invocation in work, which takes what it writes.
            telemetry: whom to tell what happens.
            wake: a descriptor that ends a waiting `answer` for a moment when it becomes readable.

        Raises:
            OSError: no such program or folder, no processes or descriptors left.
            NeverStarted: the function names no program, or one that cannot be started, or an extension cannot.
        """
        ...


class Runtime(NamedTuple):
    """What a `Runtime` property means on this machine."""

    version: str
    """As INIT_START shows it, such as `python:3.13`."""
    launch: Launch


class NoRuntimeError(OSError):
    """The machine has nothing that runs the function."""


def find_runtime(configuration: FunctionConfiguration) -> Runtime:
    """What the function's runtime means here. Blocks for the start of a program, once per runtime.

    Raises:
        NoRuntimeError: nothing here runs it.
    """
    language = understood(configuration.runtime).language
    found = find(configuration.runtime)
    if found is None:
        raise NoRuntimeError(f"there is nothing for {configuration.runtime} on this machine; it has {machine()}")
    tool = found.tool
    client = configuration.runtime_client
    launch: Launch
    if language == "python" and client == "poller":
        launch = partial(_python_on_pipes, tool)
    else:
        launch = partial(_over_the_api, tool, API_COMMANDS[language, client])
    return Runtime(f"{language}:{tool.version}", launch)


def _python_on_pipes(
    tool: Tool,
    configuration: FunctionConfiguration,
    *,
    log_stream: str,
    temporary: Path,
    log: Callable[[], HandlerLog],
    telemetry: Telemetry,
    wake: int,
) -> Dialogue:
    def command(arguments: Sequence[str]) -> list[str]:
        return wrapped([tool.path, "-u", str(BOOTSTRAP), *arguments], configuration)

    variables = environment_variables(
        configuration, log_stream=log_stream, temporary=temporary, runtime_folder=BOOTSTRAP.parent
    )
    extended = with_layers(variables, configuration.runtime, opt(configuration.layers))
    beside = ExtensionsBeside(configuration, extended, log=log, telemetry=telemetry)
    group = configuration.control_group
    own = beside.variables if group is None else {**beside.variables, _CONTROL_GROUP: str(group)}
    output = ProcessEvents(log, telemetry).take
    try:
        process = RuntimeProcess(
            command, folder=configuration.code, variables=own, output=output, wake=wake, beside=beside
        )
    except BaseException:
        beside.close()
        raise
    return PipeDialogue(process, configuration, beside)


def _over_the_api(
    tool: Tool,
    commands: ApiCommand,
    configuration: FunctionConfiguration,
    *,
    log_stream: str,
    temporary: Path,
    log: Callable[[], HandlerLog],
    telemetry: Telemetry,
    wake: int,
) -> Dialogue:
    line, variables, folder = commands(tool, configuration)
    common = environment_variables(configuration, log_stream=log_stream, temporary=temporary, runtime_folder=folder)
    extended = with_layers({**common, **variables}, configuration.runtime, opt(configuration.layers))
    try:
        return ApiDialogue(configuration, line, variables=extended, log=log, telemetry=telemetry, wake=wake)
    except OSError as error:
        if error.filename == line[0] and error.errno in NOT_EXECUTABLE:
            raise InvalidEntrypoint(f"fork/exec {line[0]}: {os.strerror(error.errno).lower()}") from None
        raise
