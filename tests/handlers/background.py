"""A handler with work in the background: a thread and a child process that count while they are let."""

import os
import subprocess
import sys
import threading
import time

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
    child = f"{event}.child"
    if not os.path.exists(child):
        subprocess.Popen([sys.executable, "-c", COUNTER, child])
    before = ticks
    size = os.path.getsize(child) if os.path.exists(child) else 0
    while ticks < before + 3 or not os.path.exists(child) or os.path.getsize(child) < size + 3:
        time.sleep(0.001)
    return {"pid": os.getpid(), "ticks": ticks}
