"""Builds a language's handler, or a program with its SDK, or says why it cannot be."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_NO_TOOLS = 3


def built(language: str) -> Path:
    """The folder of the function or program. Skips where the tools are missing, but not in CI."""
    script = ROOT / "containers" / "languages.sh"
    done = subprocess.run([script, language], capture_output=True, text=True, check=False)
    if done.returncode == _NO_TOOLS and not os.environ.get("CI"):
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return ROOT / "build" / "languages" / language
