"""The options that Java is started with, as Lambda's runtimes start it: a heap by MemorySize, not by the machine. Pure.

Published by AWS: the serial collector, and compilation that stops at its first level, since Java 17 (of 25 not with
provisioned concurrency). Seen by many in running functions: a heap of 85 % of MemorySize.
"""

from __future__ import annotations

import re

from poller.model import FunctionConfiguration
from poller.runtime.runtimes import understood

HEAP = 85
"""Percent of MemorySize; the rest is for classes, code and threads."""

_FIRST_LEVEL_SINCE = 17
_NOT_WHEN_PROVISIONED_SINCE = 25

_USERS = ("JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS")
"""Variables with a person's own options. Java reads the command line after them, so that it would win."""

_ON_HEAP = re.compile(r"-Xmx|-XX:MaxHeapSize=|-XX:MaxRAM")
_ON_COLLECTOR = re.compile(r"-XX:[+-]Use\w+GC\b")
_ON_COMPILATION = re.compile(r"-XX:TieredStopAtLevel=|-XX:[+-]TieredCompilation\b|-Xint\b|-Xcomp\b")


def java_options(configuration: FunctionConfiguration) -> list[str]:
    """Options for the command line: what the function's own variables say nothing about."""
    said = " ".join(configuration.environment.get(name, "") for name in _USERS)
    options = []
    if not _ON_HEAP.search(said):
        options.append(f"-XX:MaxHeapSize={configuration.memory_size * 1024 * HEAP // 100}k")
    if not _ON_COLLECTOR.search(said):
        options.append("-XX:+UseSerialGC")
    if _stops_at_first_level(configuration) and not _ON_COMPILATION.search(said):
        options.append("-XX:TieredStopAtLevel=1")
    return options


def _stops_at_first_level(configuration: FunctionConfiguration) -> bool:
    version = int(understood(configuration.runtime).version)
    if version >= _NOT_WHEN_PROVISIONED_SINCE and configuration.initialization_type == "provisioned-concurrency":
        return False
    return version >= _FIRST_LEVEL_SINCE
