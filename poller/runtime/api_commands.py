"""The command line of each runtime that speaks Lambda's Runtime API, and the variables that it wants besides (E.2)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from poller.model import FunctionConfiguration
from poller.runtime import log_frames
from poller.runtime.java_options import java_options
from poller.runtime.layers import opt
from poller.runtime.process_group import InvalidEntrypoint
from poller.runtime.runtimes import Language
from poller.runtime.toolchains import Tool

NODE_BOOTSTRAP = Path(__file__).parent / "node" / "bootstrap.mjs"
JAVA_CLIENT = "aws-lambda-java-runtime-interface-client"
JAVA_MAIN = "com.amazonaws.services.lambda.runtime.api.client.AWSLambda"

OPT, TASK = "/opt/", "/var/task/"
"""Where layers are on Lambda, and where the code is."""

_FRAMED = {"_LAMBDA_TELEMETRY_LOG_FD": log_frames.DESCRIPTOR}


class Command(NamedTuple):
    """How a runtime is started."""

    line: Sequence[str]
    variables: Mapping[str, str]
    runtime_folder: Path
    """What stands for `/var/runtime`."""


ApiCommand = Callable[[Tool, FunctionConfiguration], Command]


def wrapped(line: Sequence[str], configuration: FunctionConfiguration) -> list[str]:
    """The runtime's command line, handed to the user's wrapper when AWS_LAMBDA_EXEC_WRAPPER names one.

    The wrapper goes through the shell as on Lambda, so that a missing one is exit status 127 (A.4).
    """
    wrapper = configuration.environment.get("AWS_LAMBDA_EXEC_WRAPPER")
    if not wrapper:
        return list(line)
    here = _here(wrapper, configuration)
    return ["/bin/sh", "-c", 'exec "$@"', "sh", here if Path(here).is_file() else wrapper, *line]


def _here(path: str, configuration: FunctionConfiguration) -> str:
    """Where a file of a layer or of the code is that is named by its path on Lambda. Any other path as it is."""
    for place, folder in ((OPT, opt(configuration.layers)), (TASK, configuration.code)):
        if folder is not None and path.startswith(place):
            return str(folder.absolute() / path.removeprefix(place))
    return path


def _python(tool: Tool, configuration: FunctionConfiguration) -> Command:
    line = [tool.path, "-m", "awslambdaric", configuration.handler]
    return Command(wrapped(line, configuration), _FRAMED, Path(__file__).parent)


def _node(tool: Tool, configuration: FunctionConfiguration) -> Command:
    line = [tool.path, str(NODE_BOOTSTRAP)]
    variables = {**_FRAMED, "_HANDLER": _here(configuration.handler, configuration)}
    return Command(wrapped(line, configuration), variables, NODE_BOOTSTRAP.parent)


def _node_of_aws(tool: Tool, configuration: FunctionConfiguration) -> Command:
    """Its program stands in another file with each major version: the package says where."""
    client = configuration.code / "node_modules" / "aws-lambda-ric"
    try:
        program = json.loads((client / "package.json").read_text())["bin"]["aws-lambda-ric"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InvalidEntrypoint(f"{client} is not aws-lambda-ric: {error}") from None
    line = [tool.path, str(client / program), _here(configuration.handler, configuration)]
    return Command(wrapped(line, configuration), _FRAMED, client)


def _java(tool: Tool, configuration: FunctionConfiguration) -> Command:
    code, layers = configuration.code.absolute(), opt(configuration.layers)
    line = [
        tool.path,
        *java_options(configuration),
        "--add-opens=java.base/java.io=ALL-UNNAMED",
        "-cp",
        f"{code}:{code}/lib/*" + (f":{layers.absolute()}/java/lib/*" if layers is not None else ""),
        JAVA_MAIN,
        configuration.handler,
    ]
    return Command(wrapped(line, configuration), _FRAMED, code / "lib")


def _provided(_tool: Tool, configuration: FunctionConfiguration) -> Command:
    """A wrapper is the managed runtimes' own doing, which a bootstrap has to do for itself."""
    code = configuration.code.absolute()
    folders = [code, *filter(None, [opt(configuration.layers)])]
    places = [folder / "bootstrap" for folder in folders]
    bootstrap = next((place for place in places if place.is_file()), None)
    if bootstrap is None:
        raise InvalidEntrypoint(f"Couldn't find valid bootstrap(s): [{' '.join(map(str, places))}]")
    if not os.access(bootstrap, os.X_OK):
        raise InvalidEntrypoint(f"fork/exec {bootstrap}: permission denied")
    return Command([str(bootstrap)], {}, code)


API_COMMANDS: Mapping[tuple[Language, Literal["poller", "aws"]], ApiCommand] = {
    ("python", "aws"): _python,
    ("nodejs", "poller"): _node,
    ("nodejs", "aws"): _node_of_aws,
    ("java", "poller"): _java,
    ("java", "aws"): _java,
    ("provided", "poller"): _provided,
    ("provided", "aws"): _provided,
}
