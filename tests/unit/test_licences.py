"""Every pinned requirement may be used by a program under Apache-2.0: its licence is one of a short list."""

from __future__ import annotations

import re
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = {
    "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0",
    # Of these the source has to stay with whoever gets the program: they are used as they are published.
    "LGPL-2.1-or-later", "MPL-2.0",
}  # fmt: skip
NAMED_OTHERWISE = {
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
"""What packages without a License-Expression write."""

PINNED = sorted(
    {
        line.partition("==")[0]
        for path in ROOT.glob("requirements*.txt")
        for line in path.read_text().splitlines()
        if "==" in line and "sys_platform == 'win32'" not in line
    }
)


def licences(package: PackageMetadata) -> set[str]:
    """The identifiers of its expression, or else of its free text or its classifiers."""
    found = package.get("License-Expression") or package.get("License") or ""
    if " OR " in found and " AND " not in found:
        # Whoever gets the program may choose.
        chosen = ALLOWED.intersection(found.split(" OR "))
        if chosen:
            return chosen
    identifiers = {NAMED_OTHERWISE.get(part, part) for part in re.split(r" AND | OR |[()]", found) if part}
    if identifiers and identifiers <= ALLOWED:
        return identifiers
    classifiers = [text.rpartition(":: ")[2] for text in package.get_all("Classifier") or [] if "License ::" in text]
    return {NAMED_OTHERWISE.get(text, text) for text in classifiers} or identifiers


@pytest.mark.parametrize("name", PINNED)
def test_the_licence_of_a_pinned_requirement_is_allowed(name: str) -> None:
    try:
        package = metadata(name)
    except PackageNotFoundError:
        pytest.skip(f"{name} is not for this Python or platform")
    found = licences(package)
    assert found, f"{name} names no licence"
    assert found <= ALLOWED, f"{name}: {', '.join(sorted(found - ALLOWED))}"


def test_a_licence_that_is_not_in_the_list_would_be_seen() -> None:
    strict = PackageMetadataLike({"License-Expression": "GPL-3.0-only AND MIT"})
    assert licences(strict) - ALLOWED == {"GPL-3.0-only"}  # type: ignore[arg-type]
    assert licences(PackageMetadataLike({})) == set()  # type: ignore[arg-type]


class PackageMetadataLike(dict[str, str]):
    """A package's metadata with these lines."""

    def get_all(self, _name: str) -> list[str]:
        return []
