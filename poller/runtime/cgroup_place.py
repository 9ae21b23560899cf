"""Where on this machine the service may make control groups (cgroups v2) for its environments, or why nowhere.

A control group with children that have limits may hold no processes of its own, so the service has to move itself into
a leaf first. It does that only where nobody else is in its group and the group is its own: under systemd, one that
systemd has delegated (`Delegate=yes`); elsewhere, in a container or a machine without systemd, one that it may write.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from poller.runtime.memory import threads_by_process

CONTROLLERS = frozenset({"memory", "pids"})
"""What has to be there for the limits of an environment."""

LEAF = "poller-service"
"""Name of the group that the service moves itself into."""

SYSTEMD = Path("/run/systemd/system")
"""There where systemd runs the machine, and manages its control groups."""

HINT = "see docs/how-to/limit-functions.md"


class NoControlGroups(Exception):  # noqa: N818 - how a machine is, not a fault
    """There is no place for control groups; the text says why."""


class Place(NamedTuple):
    """Where control groups are made."""

    parent: Path
    """They become its children."""
    leaf: Path | None
    """Where the service has to go first; None when it is out of the way already."""


def find_place(
    proc: Path = Path("/proc"), systemd: Path = SYSTEMD, delegated: Callable[[Path], bool] | None = None
) -> Place:
    """Look for a place. Changes nothing.

    Args:
        proc: where the kernel tells of processes.
        systemd: a folder that is there where systemd manages control groups.
        delegated: whether it has given this group away.

    Raises:
        NoControlGroups: there is none.
    """
    home = _home(proc)
    if home.name == LEAF and (home.parent / "cgroup.subtree_control").is_file():
        parent = home.parent
        _demand(_words(parent / "cgroup.controllers"), f"in {parent}")
        _demand_writable(parent)
        return Place(parent, None)
    _demand(_words(home / "cgroup.controllers"), f"in {home}")
    _demand_writable(home)
    # Only the real root has no type. It may have processes and children with limits, so nobody has to move.
    is_root = not (home / "cgroup.type").exists()
    if not is_root and (kind := (home / "cgroup.type").read_text().strip()) != "domain":
        raise NoControlGroups(f"{home} is a control group of type {kind}, not domain")
    if systemd.is_dir() and not (delegated or _delegated)(home):
        raise NoControlGroups(f"systemd has not delegated {home} to the service ({HINT})")
    if is_root:
        return Place(home, None)
    family = {os.getpid(), *threads_by_process(os.getpid(), proc)}
    if others := [pid for pid in members(home) if pid not in family]:
        text = f"{len(others)} other processes are in the service's control group {home}"
        raise NoControlGroups(f"{text}, such as {others[0]}: start it in one of its own ({HINT})")
    return Place(home, home / LEAF)


def members(group: Path) -> list[int]:
    """Numbers of the processes in a control group; 0 is one outside of our PID namespace. Raises OSError."""
    return [int(line) for line in (group / "cgroup.procs").read_text().split()]


def own_path(cgroup: str) -> str | None:
    """The path of a process in the v2 hierarchy, from the text of its `/proc/PID/cgroup`."""
    return next((line[3:] for line in cgroup.splitlines() if line.startswith("0::")), None)


def mount_of(mountinfo: str) -> tuple[Path, str] | None:
    """Where the v2 hierarchy is mounted, and which of its groups that shows, from the text of `/proc/PID/mountinfo`."""
    for line in mountinfo.splitlines():
        mount, separator, kind = line.partition(" - ")
        if separator and kind.split()[0] == "cgroup2":
            root, point = mount.split()[3:5]
            return Path(_unescaped(point)), _unescaped(root)
    return None


def _home(proc: Path) -> Path:
    """The service's own control group."""
    try:
        own = own_path((proc / "self/cgroup").read_text())
        mounted = mount_of((proc / "self/mountinfo").read_text())
    except OSError:
        own = mounted = None
    if own is None or mounted is None:
        raise NoControlGroups("this system has no cgroups v2")
    point, root = mounted
    if ".." in own.split("/") or not Path(own).is_relative_to(root):
        raise NoControlGroups(f"the service's control group {own} is not to be seen in {point}")
    return point / Path(own).relative_to(root)


def _demand(controllers: set[str], where: str) -> None:
    if lacking := sorted(CONTROLLERS - controllers):
        raise NoControlGroups(f"cgroups v2 have no controller {' and '.join(lacking)} {where}")


def _demand_writable(group: Path) -> None:
    files = (group, group / "cgroup.procs", group / "cgroup.subtree_control")
    if not all(os.access(path, os.W_OK) for path in files):
        raise NoControlGroups(f"the service may not write to its control group {group}")


def _delegated(group: Path) -> bool:
    """Whether systemd says so; versions before 251 tell root only."""
    for name in ("user.delegate", "trusted.delegate"):
        with suppress(OSError):
            if os.getxattr(group, name) == b"1":
                return True
    return False


def _words(path: Path) -> set[str]:
    try:
        return set(path.read_text().split())
    except OSError:
        return set()


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)
