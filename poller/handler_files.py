"""Whether a function's folder, or a layer, holds what its Handler names, by the language of its runtime."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from poller.runtime.api_commands import JAVA_CLIENT, OPT, TASK
from poller.runtime.runtimes import Language
from poller.validation import describe

Wrong = tuple[str, str]
"""What is wrong, and what would be right."""

Place = Path | zipfile.Path
"""A folder, or one within an archive."""

_MODULE = "the part before the last dot is the module"

_PYTHON_FILES = frozenset({".py", ".pyc", ".so"})
_NODE_FILES = ("", ".js", ".mjs", ".cjs")


def handler_problem(language: Language, handler: str, code: Path, layers: Sequence[Path] = ()) -> Wrong | None:
    """What is wrong with a Handler; None when nothing is, as far as files can tell.

    Args:
        language: of the function's runtime.
        handler: as the template has it.
        code: the function's folder.
        layers: folders and archives, in which it may be, too: monitoring products put their handler before another so.
    """
    try:
        return _CHECKS[language](handler, code, layers)
    except OSError:  # longer than a path can be
        return f"{describe(handler)} names no module", "write module.function, such as app.handler"


def _python(handler: str, code: Path, layers: Sequence[Path]) -> Wrong | None:
    module, dot, _ = handler.rpartition(".")
    if not dot or not module:
        return _no_function(handler)
    file = module.replace(".", "/")
    if any(_has_module(place, file) for place in (code, *_within(layers, "python", "python/lib/*/site-packages"))):
        return None
    return f"there is no {file}.py in {code}{_nor_in(layers)}", _MODULE


def _has_module(place: Place, file: str) -> bool:
    if (place / f"{file}.py").is_file() or (place / f"{file}/__init__.py").is_file():
        return True
    folder, _, name = file.rpartition("/")
    compiled = place / folder if folder else place  # as "name.cpython-313-x86_64-linux-gnu.so"
    return compiled.is_dir() and any(
        entry.name.partition(".")[0] == name and Path(entry.name).suffix in _PYTHON_FILES
        for entry in compiled.iterdir()
    )


def _nodejs(handler: str, code: Path, layers: Sequence[Path]) -> Wrong | None:
    """The file's name ends at the first dot behind the last slash: what follows may be nested exports."""
    folder, slash, base = handler.rpartition("/")
    name, dot, export = base.partition(".")
    if not dot or not name or not export:
        return _no_function(handler)
    file = f"{folder}{slash}{name}".removeprefix(TASK)
    if file.startswith(OPT) and layers:
        places: list[Place] = list(_within(layers, ""))
        file = file.removeprefix(OPT)
    elif slash:
        places = [code]
    else:
        places = [code, code / "node_modules", *_within(layers, "nodejs/node_modules", "nodejs/*/node_modules")]
    for place in places:  # a folder is a package, whose files Node finds
        if (place / file).is_dir() or any((place / f"{file}{suffix}").is_file() for suffix in _NODE_FILES):
            return None
    where = f"{code}{_nor_in(layers)}"
    return f"there is no {file}.js, .mjs or .cjs in {where}", "the part before the first dot is the file"


def _within(layers: Sequence[Path], *folders: str) -> Iterator[Place]:
    """These folders of layers; a `*` stands for any name."""
    for layer in layers:
        try:
            root: Place = layer if layer.is_dir() else zipfile.Path(zipfile.ZipFile(layer))
        except zipfile.BadZipFile:  # told when it is unpacked
            continue
        for folder in folders:
            before, star, behind = folder.partition("/*/")
            if not star:
                yield root / folder if folder else root
            elif (root / before).is_dir():
                yield from (entry / behind for entry in (root / before).iterdir())


def _nor_in(layers: Sequence[Path]) -> str:
    return " nor in its layers" if layers else ""


def _java(_handler: str, code: Path, layers: Sequence[Path]) -> Wrong | None:
    """Which classes are in the jars is for Java to say; the client may come with a layer."""
    if layers or any((code / "lib").glob(f"{JAVA_CLIENT}*.jar")) or (code / "com" / "amazonaws").is_dir():
        return None
    return f"there is no {JAVA_CLIENT}-….jar in {code}/lib", "AWS's runtime client for Java belongs to the package"


def _provided(_handler: str, code: Path, layers: Sequence[Path]) -> Wrong | None:
    """On Lambda the name means what the program makes of it, which may come with a layer."""
    bootstrap = code / "bootstrap"
    if layers and not bootstrap.exists():
        return None
    if not bootstrap.is_file():
        return f"there is no file bootstrap in {code}", "the program that is to run has this name"
    if not bootstrap.stat().st_mode & 0o111:
        return f"{bootstrap} is not executable", f"chmod +x {bootstrap}"
    return None


def _no_function(handler: str) -> Wrong:
    return f"{describe(handler)} has no function", "write module.function, such as app.handler"


_CHECKS: dict[Language, Callable[[str, Path, Sequence[Path]], Wrong | None]] = {
    "python": _python,
    "nodejs": _nodejs,
    "java": _java,
    "provided": _provided,
}
