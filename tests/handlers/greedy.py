"""Handlers that take more than an environment has (E.3)."""

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

try:
    GROUP = Path("/proc/self/cgroup").read_text()
except OSError:
    GROUP = ""
"""At import."""


def group_at_import(event, context):
    return {"group": GROUP, "variables": [name for name in os.environ if "POLLER" in name]}


def limits(event, context):
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def open_files(event, context):
    """Open files until that fails; how many there were then, and with what it failed."""
    held = []
    try:
        while len(held) < 5000:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return len(held), errno.errorcode[error.errno]
    finally:
        for fd in held:
            os.close(fd)
    return len(held), None


def limits_of_a_child(event, context):
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    return int(subprocess.check_output([sys.executable, "-c", code]))


def threads(event, context):
    """Have so many threads and stay."""
    for _ in range(event):
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    return threading.active_count()


def holds(event, context):
    """Hold 300 MB and stay."""
    held = b"x" * (300 << 20)
    time.sleep(600)
    return len(held)


def waits_with_threads(event, context):
    threads(event, context)
    time.sleep(600)


def processes_until_refused(event, context):
    """Start processes until that fails; how many there were then, and with what it failed."""
    started = []
    try:
        while len(started) < 3000:
            pid = os.fork()
            if not pid:
                time.sleep(600)
                os._exit(0)
            started.append(pid)
    except OSError as error:
        return len(started), errno.errorcode[error.errno]
    finally:
        for pid in started:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
    return len(started), None


def daemon_without_variables(event, context):
    """Leave a process that has another session, other variables and another parent; its number."""
    code = (
        "import os, sys\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        "open(sys.argv[1], 'w').write(str(os.getpid()))\n"
        "os.close(1); os.close(2)\n"
        "import time; time.sleep(600)"
    )
    told = Path(os.environ["TMPDIR"], "daemon")
    subprocess.run([sys.executable, "-c", code, told], env={}, check=True)
    while not (told.exists() and told.read_text()):
        time.sleep(0.005)
    return int(told.read_text())


def kill_itself(event, context):
    os.kill(os.getpid(), signal.SIGKILL)


def group(event, context):
    return Path("/proc/self/cgroup").read_text(), Path("/proc/self/environ").exists() and os.getpid()


def write_at(event, context):
    """Write one byte into a file of the temporary folder, behind `event` MB of nothing; what became of that."""
    with Path(os.environ["TMPDIR"], "large").open("wb") as file:
        try:
            return os.pwrite(file.fileno(), b"x", event * 1024 * 1024)
        except OSError as error:
            return errno.errorcode[error.errno]


def fill(event, context):
    """Give files of the temporary folder so many MB each, and stay; without any, tell what is there."""
    for number, size in enumerate(event):
        with Path(os.environ["TMPDIR"], str(number)).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size * 1024 * 1024)
    if event:
        time.sleep(600)
    return sorted(path.name for path in Path(os.environ["TMPDIR"]).iterdir())
