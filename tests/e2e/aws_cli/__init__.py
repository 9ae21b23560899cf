"""The AWS CLI in a virtual environment of its own: a package that it needs is not under one of our licences."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).with_name("requirements.txt")
FOLDER = Path(__file__).parents[3] / "build" / "aws-cli"


class AwsCliUnavailable(Exception):  # noqa: N818 - reads as what it says
    """It could not be installed."""


def aws_cli() -> Path:
    """The program `aws`; installed on first use, and again when its pins have changed."""
    program, stamp = FOLDER / "bin" / "aws", FOLDER / "pins"
    if not (program.exists() and stamp.exists() and stamp.read_text() == PINS.read_text()):
        _run([sys.executable, "-m", "venv", "--clear", str(FOLDER)])
        pip = [str(FOLDER / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--requirement", str(PINS)])
        stamp.write_text(PINS.read_text())
    return program


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AwsCliUnavailable(f"{' '.join(command[:4])} …: {done.stderr.strip()}")
