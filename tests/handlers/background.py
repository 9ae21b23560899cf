"""A handler with work in the background: a thread and a child process that count while they are let."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

COUNTER = "import sys, time\nwhile True:\n    open(sys.argv[1], 'a').write('x')\n    time.sleep(0.001)\n"

ticks = 0


def _count():
    global ticks  # noqa: PLW0603
    while True:
        ticks += 1
        time.sleep(0.001)


def handler(event, context):
    """Start both with the first event; say how far they came, once both went on during this event."""
    if not ticks:
        threading.Thread(target=_count, daemon=True).start()
    child = Path(f"{event}.child")
    if not child.exists():
        child.touch()
        subprocess.Popen([sys.executable, "-c", COUNTER, str(child)])
    before, size = ticks, child.stat().st_size
    while ticks < before + 3 or child.stat().st_size < size + 3:
        time.sleep(0.001)
    return {"pid": os.getpid(), "ticks": ticks}
