"""Peers: programs of others that do the same job, built where that can be done, each with what it is measured by.

Nothing of them is part of the product or of its environment: Benthos is compiled into `build/peers`, the Python ones
get a virtual environment there. What cannot be had is left out, with one line that says why.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.processes import FUNCTIONS, ROOT, Measured
from tests.bench.report import progress

HERE = Path(__file__).parent
BUILD = ROOT / "build" / "peers"

BENTHOS = "Benthos"
BENTHOS_GO = "Benthos, event built in Go"
FASTSTREAM = "FastStream"
ARROYO = "Arroyo"


@dataclass(frozen=True, slots=True)
class Job:
    """One topic, to be read from its beginning and handed to the handler `count`."""

    address: str
    topic: str
    group: str
    batch_size: int
    folder: Path
    """For logs and the like."""
    ledger: Path


Start = Callable[[Job], Measured]


def available() -> dict[str, Start]:
    """The peers that can be had here, by name. Takes about a minute the first time."""
    return {**_benthos(), **_python()}


def _environment(job: Job) -> dict[str, str]:
    return {"LEDGER": str(job.ledger), "LAMBDA_TASK_ROOT": str(FUNCTIONS)}


def _run(command: list[str], **options: Any) -> str | None:
    """None when it went well, else the last line of what it said."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    return None if done.returncode == 0 else (done.stdout.strip().splitlines() or ["no message"])[-1]


# --- Benthos -------------------------------------------------------------------------------------------------------


def _benthos() -> dict[str, Start]:
    if shutil.which("go") is None:
        progress("Benthos is left out: there is no Go to build it with")
        return {}
    progress("building Benthos (a minute the first time)")
    binary = BUILD / "benthos"
    if failure := _run(["go", "build", "-trimpath", "-o", str(binary), "."], cwd=HERE / "benthos"):
        progress(f"Benthos is left out: it cannot be built here: {failure}")
        return {}

    def start(job: Job, *, whole_event: bool) -> Measured:
        job.folder.mkdir(parents=True, exist_ok=True)
        path = job.folder / "benthos.yaml"
        path.write_text(json.dumps(benthos_configuration(job, whole_event=whole_event), indent=1))
        return Measured(["-config", str(path)], job.folder, _environment(job), program=str(binary))

    return {
        BENTHOS: lambda job: start(job, whole_event=False),
        BENTHOS_GO: lambda job: start(job, whole_event=True),
    }


def benthos_configuration(job: Job, *, whole_event: bool) -> dict[str, Any]:
    """A stream from the topic to the child and nowhere.

    As a person configures it, the input gives records and Bloblang makes the event of them. Of three ways to write
    that, texts joined by `archive` were the fastest: objects and `json_array` were as fast at 100 records and half as
    fast at 1,000. With `whole_event` our input makes the event in Go, which no input that one can configure does: this
    shows what the rest costs.
    """
    record = (
        'root = """,{"topic":"%s","partition":%d,"offset":%d,"timestamp":%d,"timestampType":"CREATE_TIME",'
        '"key":"%s","value":"%s","headers":[]}""".format(@kafka_topic, @kafka_partition, @kafka_offset, '
        '@kafka_timestamp_ms, @kafka_key.encode("base64"), content().encode("base64"))'
    )
    event = (
        f'root = """{{"eventSource":"SelfManagedKafka","bootstrapServers":"{job.address}",'
        '"records":{"%s-%d":[""".format(@kafka_topic, @kafka_partition) + content().string().slice(1) + "]}}"'
    )
    child = {
        "name": sys.executable,
        "args": ["-u", str(HERE / "adapter.py"), "handler.count"],
        "max_buffer": 1024 * 1024,
        "codec_send": "length_prefixed_uint32_be",
        "codec_recv": "length_prefixed_uint32_be",
    }
    building = [] if whole_event else [{"mapping": record}, {"archive": {"format": "concatenate"}}, {"mapping": event}]
    source = {"address": job.address, "topic": job.topic, "group": job.group, "batch_size": job.batch_size}
    return {
        "http": {"enabled": False},
        "logger": {"level": "WARN"},
        "input": {"franz": {**source, "whole_event": whole_event}},
        # One thread: more have a child each, and were slower here.
        "pipeline": {"threads": 1, "processors": [*building, {"subprocess": child}]},
        "output": {"drop": {}},
    }


# --- Python --------------------------------------------------------------------------------------------------------


def _python() -> dict[str, Start]:
    folder = BUILD / "venv"
    pins = HERE / "requirements.txt"
    stamp, fingerprint = folder / "pins", f"{zlib.crc32(pins.read_bytes())} {folder}"
    python = folder / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != fingerprint:
        progress("installing FastStream and Arroyo into build/peers/venv")
        install = [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(pins)]
        failure = _run([sys.executable, "-m", "venv", "--clear", str(folder)]) or _run(install)
        if failure:
            progress(f"FastStream and Arroyo are left out: they cannot be installed here: {failure}")
            return {}
        stamp.write_text(fingerprint)

    def start(job: Job, script: str) -> Measured:
        arguments = [str(HERE / script), "handler.count", "--address", job.address, "--topic", job.topic]
        arguments += ["--group", job.group, "--batch-size", str(job.batch_size)]
        return Measured(arguments, job.folder, _environment(job), program=str(python))

    return {
        FASTSTREAM: lambda job: start(job, "faststream_loop.py"),
        ARROYO: lambda job: start(job, "arroyo_loop.py"),
    }
