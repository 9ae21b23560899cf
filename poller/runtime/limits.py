"""What one environment's process may use, and who sees to it: a control group of the kernel's, or our looks (E.3)."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from poller.model import FunctionConfiguration
from poller.runtime.control_groups import PROCESSES, ControlGroup, ControlGroups
from poller.runtime.dialogue import Dialogue
from poller.runtime.ephemeral_storage import StorageCount, limit_file_size
from poller.runtime.memory import MEGABYTE, held_by

_log = logging.getLogger(__name__)


class Limits:
    """Of one process after the other. For the environment's owner; `look` and `kill` are for any.

    Args:
        configuration: of the function.
        groups: makes control groups; None where the limits are watched, or are not enforced at all.
    """

    def __init__(self, configuration: FunctionConfiguration, groups: ControlGroups | None) -> None:
        self._configuration = configuration
        self._groups = groups
        self._group: ControlGroup | None = None
        self._watched = True
        """Whether looks see to processes and their memory: there is no group, or not all are in it."""
        self._dialogue: Dialogue | None = None
        """With the process that is limited."""
        self._lock = threading.Lock()
        """Between a look that kills and the next process: what was seen of one is not done to another."""
        self._held = 0
        """Bytes at the largest look."""
        self._out_of_memory = False
        self._storage = StorageCount()
        self._too_much = False
        """A look killed the process that runs, or ran last, whatever there was too much of."""
        self.overfull = False
        """The process that runs, or ran last, was killed as its temporary folder held too much."""

    def prepare(self) -> None:
        """A new process is about to be started: make its group. Milliseconds.

        Where the kernel refuses, the process is watched instead.
        """
        self.end()
        with self._lock:
            self._dialogue = None
            self._held = 0
            self._out_of_memory = self._too_much = self.overfull = False
            self._storage = StorageCount()
            self._watched = True
        if self._groups is not None:
            try:
                self._group = self._groups.make(self._configuration.function_name, self._configuration.memory_size)
            except OSError as error:
                self._refused(error)

    @property
    def control_group(self) -> Path | None:
        """The group of the process that is started or runs, if it has one."""
        return None if self._group is None else self._group.path

    def begin(self, dialogue: Dialogue) -> None:
        """The process runs, and has had no event yet: from now on it is limited, and all that it started meanwhile."""
        for pid in dialogue.pids:
            limit_file_size(pid, self._configuration.ephemeral_storage * MEGABYTE)
        if self._group is not None:
            try:
                for pid in dialogue.pids:
                    self._group.add(pid)
                self._watched = False
            except OSError as error:
                self._refused(error)
        self._dialogue = dialogue

    def end(self) -> None:
        """The process is gone: whatever is left of it goes, too. Idempotent."""
        group = self._group
        if group is not None:
            self._held = max(self._held, self._peak(group))
            self._out_of_memory = self.out_of_memory
            self._group = None
            group.end()

    def _refused(self, error: OSError) -> None:
        extra = {"function": self._configuration.function_name}
        _log.warning("no control group for an environment, which is watched instead: %s", error, extra=extra)

    def kill(self) -> None:
        """SIGKILL to what is in its control group, if it has one: also to what left the process group."""
        if (group := self._group) is not None:
            group.kill()

    def look(self, dialogue: Dialogue, temporary: Path | None, now: float) -> None:
        """Kill a process that has more than it may, with all that it started, where the kernel does not see to it.

        Called by one thread, ten times a second while there is something to do.
        """
        if self._watched:
            self._look_at_processes(dialogue)
        if temporary is not None:
            stored, most = self._storage.look(temporary, now), self._configuration.ephemeral_storage
            if stored is not None and stored > most * MEGABYTE:
                text = f"{-(-stored // MEGABYTE)} MB in its temporary folder, more than {most} MB"
                self._kill(dialogue, text, overfull=True)

    def _look_at_processes(self, dialogue: Dialogue) -> None:
        most = self._configuration.memory_size * MEGABYTE
        held = held_by(dialogue.pids, most)
        if held is None:
            return
        with self._lock:
            if dialogue is not self._dialogue:
                return  # the next one has nothing of this
            self._held = max(self._held, held.memory)
        if held.memory > most:
            self._kill(dialogue, None, out_of_memory=True)
        elif held.threads > PROCESSES:
            self._kill(dialogue, f"{held.threads} processes and threads, more than {PROCESSES}")

    def _kill(
        self, dialogue: Dialogue, reason: str | None, *, out_of_memory: bool = False, overfull: bool = False
    ) -> None:
        """Kill it, unless it is gone; without a reason its own log has one."""
        with self._lock:
            if dialogue is not self._dialogue:
                return
            self._too_much = True
            self._out_of_memory = self._out_of_memory or out_of_memory
            self.overfull = self.overfull or overfull
            if reason is not None:  # before the answer that it brings about
                extra = {"function": self._configuration.function_name}
                _log.warning("killed an environment that has %s", reason, extra=extra)
            dialogue.kill()
            self.kill()

    @property
    def out_of_memory(self) -> bool:
        """Whether the process that runs, or ran last, was killed for holding more memory than it may."""
        group = self._group
        return self._out_of_memory or (group is not None and group.out_of_memory())

    @property
    def exceeded(self) -> bool:
        """Whether the process that runs, or ran last, was killed for having more than it may, of whatever."""
        return self._too_much or self.out_of_memory

    def peak_memory(self, dialogue: Dialogue | None) -> int:
        """Bytes of memory at the peak of the process that runs, or ran last, as far as the system tells."""
        group = self._group
        peak = 0 if group is None else self._peak(group)
        if dialogue is not None and (self._watched or not peak):  # not all may be in the group
            peak = max(peak, dialogue.peak_memory() or 0)
        return max(peak, self._held)

    def _peak(self, group: ControlGroup) -> int:
        return min(group.peak_memory() or 0, self._configuration.memory_size * MEGABYTE)
