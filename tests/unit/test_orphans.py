"""A poller that is killed takes its handlers with it, whatever they do (`kill -9`, a second signal)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from handlers.rig import is_running, wait_until_gone
from waiting import eventually

HANDLER = """
import os, subprocess, sys, time
def handler(event, context):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(event + ".part", "w") as file:
        file.write(f"{os.getpid()} {other.pid}")
    os.rename(event + ".part", event)
    while True:
        pass
"""
POLLER = """
import sys
from pathlib import Path
from handlers.rig import Function
Function("busy.handler", code=Path(sys.argv[1]), timeout=600).invoke(sys.argv[2])
"""


def test_kill_9_of_the_poller_ends_a_busy_handler_and_what_it_started(tmp_path: Path) -> None:
    (tmp_path / "busy.py").write_text(HANDLER)
    told = tmp_path / "pids"
    paths = os.pathsep.join(path for path in sys.path if path)
    poller = subprocess.Popen(
        [sys.executable, "-c", POLLER, tmp_path, told], env={**os.environ, "PYTHONPATH": paths}, text=True
    )
    try:
        eventually(lambda: told.exists() or poller.poll() is not None)
        assert poller.poll() is None
        pids = [int(pid) for pid in told.read_text().split()]
        assert all(map(is_running, pids))
    finally:
        poller.send_signal(signal.SIGKILL)
        poller.wait()
    for pid in pids:
        wait_until_gone(pid)
