"""Whether a function's folder holds what its Handler names, by the language of its runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from poller.runtime.api_commands import JAVA_CLIENT
from poller.runtime.runtimes import Language
from poller.validation import describe

Wrong = tuple[str, str]
"""What is wrong, and what would be right."""

_MODULE = "the part before the last dot is the module"


def handler_problem(language: Language, handler: str, code: Path, layers: Sequence[Path] = ()) -> Wrong | None:
    """What is wrong with a Handler in this folder; None when nothing is, as far as files can tell.

    The program of a `provided` runtime may come with a layer.
    """
    if language == "provided" and layers and not (code / "bootstrap").exists():
        return None
    try:
        return _CHECKS[language](handler, code)
    except OSError:  # longer than a path can be
        return f"{describe(handler)} names no module", "write module.function, such as app.handler"


def _python(handler: str, code: Path) -> Wrong | None:
    module, dot, _ = handler.rpartition(".")
    if not dot or not module:
        return _no_function(handler)
    file = module.replace(".", "/")
    if (code / f"{file}.py").is_file() or (code / file / "__init__.py").is_file():
        return None
    return f"there is no {file}.py in {code}", _MODULE


def _nodejs(handler: str, code: Path) -> Wrong | None:
    """The file's name ends at the first dot behind the last slash: what follows may be nested exports."""
    folder, slash, base = handler.rpartition("/")
    name, dot, export = base.partition(".")
    if not dot or not name or not export:
        return _no_function(handler)
    file = f"{folder}{slash}{name}"
    if any((code / f"{file}{suffix}").is_file() for suffix in ("", ".js", ".mjs", ".cjs")):
        return None
    if (code / file).is_dir() or (code / "node_modules" / file).is_dir():  # a package, whose files Node finds
        return None
    return f"there is no {file}.js, .mjs or .cjs in {code}", "the part before the first dot is the file"


def _java(_handler: str, code: Path) -> Wrong | None:
    """Which classes are in the jars is for Java to say."""
    if any((code / "lib").glob(f"{JAVA_CLIENT}*.jar")) or (code / "com" / "amazonaws").is_dir():
        return None
    return f"there is no {JAVA_CLIENT}-….jar in {code}/lib", "AWS's runtime client for Java belongs to the package"


def _provided(_handler: str, code: Path) -> Wrong | None:
    """On Lambda the name means what the program makes of it."""
    bootstrap = code / "bootstrap"
    if not bootstrap.is_file():
        return f"there is no file bootstrap in {code}", "the program that is to run has this name"
    if not bootstrap.stat().st_mode & 0o111:
        return f"{bootstrap} is not executable", f"chmod +x {bootstrap}"
    return None


def _no_function(handler: str) -> Wrong:
    return f"{describe(handler)} has no function", "write module.function, such as app.handler"


_CHECKS: dict[Language, Callable[[str, Path], Wrong | None]] = {
    "python": _python,
    "nodejs": _nodejs,
    "java": _java,
    "provided": _provided,
}
