"""Answers without an environment: throttles, and what is left when a pool stops."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable

from poller.model import InvocationResult

OnResult = Callable[[InvocationResult], None]

_log = logging.getLogger(__name__)


class LateAnswers:
    """Calls back on a thread of its own, `invoke-<function>-0`, which lives while there is something to answer."""

    def __init__(self, function_name: str) -> None:
        self._function_name = function_name
        self._lock = threading.Lock()
        self._unanswered: deque[tuple[OnResult, InvocationResult]] = deque()
        self._answering = False

    def give(self, answers: Iterable[tuple[OnResult, InvocationResult]]) -> None:
        """Call back; never on the caller's thread, who may hold a lock the callback takes. Any thread."""
        with self._lock:
            self._unanswered.extend(answers)
            if self._answering or not self._unanswered:
                return
            self._answering = True
        thread = threading.Thread(target=self._run, name=f"invoke-{self._function_name}-0", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no threads left: late locks are better than lost callbacks
            self._run()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._unanswered:
                    self._answering = False
                    return
                on_result, result = self._unanswered.popleft()
            call_back(on_result, result)


def call_back(on_result: OnResult, result: InvocationResult) -> None:
    """Give a result to its caller, whose mistakes harm nobody else."""
    try:
        on_result(result)
    except Exception:  # noqa: BLE001 - whatever it is, the next job must not suffer
        _log.exception("The callback of invocation %s failed", result.request_id)
