"""Values of `Secrets`: written out, or named by a variable, a file or a secret of AWS. Errors never repeat a value."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poller.errors import Problem
from poller.secrets_manager import secret_value
from poller.validation import join

FORM = (
    "must be a mapping such as {username: …, password: {Env: VARIABLE}}, "
    "or a JSON object from {Env: …}, {File: …} or {SecretsManager: …}"
)


class SecretReader:
    """Reads secrets; what is wrong with them is collected in `problems`.

    Args:
        folder: what a file's relative path is relative to.
        environment: where `{Env: NAME}` looks.
        fetch: text of the secret that `{SecretsManager: name}` names; its ValueError is for a person.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], fetch: Callable[[str], str]) -> None:
        self.problems: list[Problem] = []
        self._folder = folder
        self._environment = environment
        self._fetch = functools.cache(fetch)  # of one secret, several keys may be asked for

    def read(self, value: Any, path: str) -> dict[str, str]:
        """Keys and values of one secret; the path is where it stands, for errors."""
        content = self._look_up(value, path)
        if isinstance(content, str):
            try:
                content = json.loads(content)
            except (ValueError, RecursionError):  # also for a number too long, and for what is nested too deep
                content = None
        if not isinstance(content, dict):
            if not any(problem.path == path for problem in self.problems):
                self.problems.append(Problem(path, FORM))
            return {}
        found = {}
        for key, item in content.items():
            place = join(path, key)
            text = self._look_up(item, place)
            if isinstance(text, str | int) and not isinstance(text, bool):
                found[key] = str(text)
            elif not any(problem.path == place for problem in self.problems):
                self.problems.append(
                    Problem(place, "must be text, {Env: VARIABLE}, {File: path} or {SecretsManager: name}")
                )
        return found

    def _look_up(self, value: Any, path: str) -> Any:
        """What `{Env: …}` and the like stand for; anything else as it is; None after a problem."""
        match value:
            case {"Env": str(name), **rest} if not rest:
                if name in self._environment:
                    return self._environment[name]
                self.problems.append(Problem(path, f"the environment variable {name} is not set"))
                return None
            case {"File": str(name), **rest} if not rest:
                return self._read(self._folder / name, path)
            case {"SecretsManager": str(name), **rest} if not rest:
                try:
                    return self._fetch(name)
                except ValueError as error:
                    self.problems.append(Problem(path, f"the secret {name} cannot be read: {error}"))
                    return None
        return value

    def _read(self, file: Path, path: str) -> str | None:
        try:
            return file.read_text(encoding="utf-8").rstrip("\n")
        except OSError as error:
            reason = error.strerror
        except UnicodeDecodeError:
            reason = "it is not UTF-8 text"
        except ValueError:
            reason = "that is no path"
        self.problems.append(Problem(path, f"the file {file} cannot be read: {reason}"))
        return None


@dataclass(frozen=True, slots=True)
class SecretOrigins:
    """Where the secrets of a service come from, so that they can be read again while it runs, in any of its processes.

    What stands in the settings or in the environment stays what it was at the start; files and AWS are asked anew.
    Nothing in it counts when settings are compared: the values that were read do.
    """

    written: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """As the settings have them, by ARN; parts of them may be the secrets themselves."""
    places: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Where each stands, for errors."""
    folder: Path = field(default_factory=Path, compare=False)
    """What relative paths are relative to."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    region: str = field(default="", compare=False)

    def read(self, arns: Collection[str] | None = None) -> tuple[dict[str, dict[str, str]], list[Problem]]:
        """Those of these ARNs that are known, or all, and what is wrong with them. Blocks while AWS is asked."""
        reader = SecretReader(self.folder, self.environment, lambda name: secret_value(name, self.region))
        wanted = self.written if arns is None else [arn for arn in self.written if arn in arns]
        found = {arn: reader.read(self.written[arn], self.places[arn]) for arn in wanted}
        return found, reader.problems
