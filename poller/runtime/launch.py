"""How the process of a function is started, by its runtime."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from poller.model import FunctionConfiguration
from poller.runtime.dialogue import Dialogue
from poller.runtime.interpreter import Interpreter, command_line, environment_variables, find_interpreter
from poller.runtime.pipe_dialogue import PipeDialogue
from poller.runtime.process import RuntimeProcess


class Launch(Protocol):
    """Starts one process."""

    def __call__(
        self,
        configuration: FunctionConfiguration,
        *,
        log_stream: str,
        temporary: Path,
        output: Callable[[bytes], None],
        wake: int,
    ) -> Dialogue:
        """Start it; blocks for the start of a program.

        Args:
            configuration: of the function.
            log_stream: name of the environment's log stream.
            temporary: folder that is its `/tmp`.
            output: takes what it writes, in chunks.
            wake: a descriptor that ends a waiting `answer` for a moment when it becomes readable.

        Raises:
            OSError: no such program or folder, no processes or descriptors left.
        """
        ...


class Runtime(NamedTuple):
    """What a `Runtime` property means on this machine."""

    version: str
    """As INIT_START shows it, such as `python:3.13`."""
    launch: Launch


def find_runtime(configuration: FunctionConfiguration) -> Runtime:
    """What the function's runtime means here. Blocks for the start of an interpreter, once per runtime."""
    interpreter = find_interpreter(configuration.runtime)
    return Runtime(f"python:{interpreter.version}", partial(_python_on_pipes, interpreter))


def _python_on_pipes(
    interpreter: Interpreter,
    configuration: FunctionConfiguration,
    *,
    log_stream: str,
    temporary: Path,
    output: Callable[[bytes], None],
    wake: int,
) -> Dialogue:
    process = RuntimeProcess(
        partial(command_line, interpreter, configuration.environment),
        folder=configuration.code,
        variables=environment_variables(configuration, log_stream=log_stream, temporary=temporary),
        output=output,
        wake=wake,
    )
    return PipeDialogue(process, configuration)
