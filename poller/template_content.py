"""What a template names as code or as a layer: a folder of this machine, or a zip archive."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from poller.validation import describe


def local_content(base: Path, value: Any, right: str) -> Path | tuple[str, str]:
    """The folder or archive without links, else what is wrong, and what would be right. Blocks for the disk.

    Args:
        base: where relative paths begin.
        value: of the property.
        right: what should stand there.
    """
    if not isinstance(value, str) or "://" in value:
        return "is missing" if value is None else "is not local", right
    try:
        content = (base / value).resolve()
        if content.is_dir() or zipfile.is_zipfile(content):
            return content
        exists = content.exists()
    except (OSError, ValueError):  # too long, or with characters that no path has
        return f"{describe(value)} is no path", right
    if exists:
        return f"{value} is neither a folder nor a zip archive", right
    return f"there is no {value}", f"looked for {content}"
