"""AWS's own SAM transform, run in a process of its own.

Its import costs 0.6 s and memory that the service shall not keep. The parent calls `translate`;
the child is `python -m poller.sam`: one JSON object in on stdin, one out on stdout.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from poller.errors import PollerError, Problem

TRANSFORM = "AWS::Serverless-2016-10-31"
FUNCTION = "AWS::Serverless::Function"

TIMEOUT = 60.0
"""Seconds until the child is given up; it takes about one."""


@dataclass(frozen=True, slots=True)
class Translation:
    """CloudFormation resources by logical ID, and what AWS's transform refused."""

    resources: Mapping[str, Any]
    problems: tuple[Problem, ...]


class Translator:
    """The child process. It is started at once and loads its libraries while the parent goes on reading."""

    def __init__(self, region: str) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "poller.sam"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(region),
        )

    def close(self) -> None:
        """End the child, whether it was asked or not."""
        if self._child.returncode is None:
            self._child.kill()
            self._child.communicate()

    def translate(self, template: Mapping[str, Any]) -> Translation:
        """Turn functions and their events into plain CloudFormation. Once only; blocks for about a second.

        Args:
            template: a SAM template without parameters, every intrinsic function resolved, `CodeUri` a mapping of
                Bucket and Key.

        Raises:
            PollerError: the transform itself broke down.
        """
        try:
            answer, log = self._child.communicate(json.dumps(template).encode(), timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            raise PollerError(f"AWS's SAM transform did not answer within {TIMEOUT:g} s") from None
        if self._child.returncode:
            last_line = (log.decode(errors="replace").strip() or "no message").splitlines()[-1]
            raise PollerError(f"AWS's SAM transform broke down: {last_line}")
        translated = json.loads(answer)
        functions = {name: list(_events(resource)) for name, resource in template["Resources"].items()}
        problems = tuple(_problem(fault, functions) for fault in translated["faults"])
        return Translation(translated["resources"], problems)


def _environment(region: str) -> dict[str, str]:
    """Without a profile of AWS, which may not be here: the transform looks it up, though it calls nothing."""
    own = {name: value for name, value in os.environ.items() if name not in {"AWS_PROFILE", "AWS_DEFAULT_PROFILE"}}
    return {**own, "AWS_DEFAULT_REGION": region, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _events(resource: Any) -> Mapping[str, Any]:
    events = resource.get("Properties", {}).get("Events")
    return events if isinstance(events, dict) else {}


def _problem(fault: Mapping[str, str], functions: Mapping[str, list[str]]) -> Problem:
    name, message = fault["logical_id"], fault["message"]
    for function, events in functions.items():
        if name == function:
            return Problem(f"Resources.{function}", message)
        for event in events:
            if name in {event, function + event}:
                return Problem(f"Resources.{function}.Properties.Events.{event}", message)
    return Problem("", f"AWS's SAM transform refuses the template: {message}")


def _translate(template: dict[str, Any]) -> dict[str, Any]:
    """In the child: translate; take out what is refused and try again, until everything refused has been found."""
    from samtranslator.model.exceptions import InvalidDocumentException  # noqa: PLC0415 - only the child pays for it
    from samtranslator.translator.managed_policy_translator import ManagedPolicyLoader  # noqa: PLC0415
    from samtranslator.translator.transform import transform  # noqa: PLC0415

    faults: list[dict[str, str]] = []
    while any(resource["Type"] == FUNCTION for resource in template["Resources"].values()):
        try:
            resources = transform(copy.deepcopy(template), {}, ManagedPolicyLoader(None))["Resources"]
        except InvalidDocumentException as error:
            removed = False
            for cause in error.causes:
                name = getattr(cause, "_logical_id", None) or getattr(cause, "_event_id", None) or ""
                message = getattr(cause, "_message", None) or cause.message
                faults.append({"logical_id": name, "message": message.rstrip(".")})
                removed |= _remove(template["Resources"], name)
            if not removed:
                return {"resources": {}, "faults": faults}
        else:
            return {"resources": resources, "faults": faults}
    return {"resources": template["Resources"], "faults": faults}


def _remove(resources: dict[str, Any], name: str) -> bool:
    """Take out the function or the event with this logical ID. The transform names an event as it will call it."""
    if resources.pop(name, None) is not None:
        return True
    for function, resource in resources.items():
        events = _events(resource)
        for event in list(events):
            if isinstance(events, dict) and name in {event, function + event}:
                del events[event]
                return True
    return False


def _main() -> None:
    answer = _translate(json.load(sys.stdin))
    json.dump(answer, sys.stdout)
    sys.stdout.flush()
    # AWS's library complains at exit of metrics that nobody publishes: leave before it can.
    os._exit(0)


if __name__ == "__main__":
    _main()
