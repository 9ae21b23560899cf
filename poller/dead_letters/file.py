"""The dead letters of a file: read only, since nothing in a file tells what was redriven."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from poller.dead_letters.filters import Filter
from poller.dead_letters.letter import Letter, LettersError
from poller.dead_letters.reading import letter_of_line


class FileLetters:
    """A file of JSON lines, as `destinations.file` writes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.where = f"the file {path}"

    def survey(self, wanted: Filter) -> int:
        """How many letters the filter lets through. Raises LettersError when the file cannot be read."""
        return sum(1 for _ in self.letters(wanted))

    def letters(self, wanted: Filter, *, redriven: bool = False) -> Iterator[Letter]:  # noqa: ARG002 - none ever is
        """Those that the filter lets through, by the numbers of their lines."""
        try:
            with self._path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip() and wanted.matches(letter := letter_of_line(str(number), line)):
                        yield letter
        except OSError as error:
            raise LettersError(f"{self.where} cannot be read: {error.strerror or error}") from error

    def find(self, letter: str) -> Letter | None:
        """One letter, by the number of its line."""
        return next((found for found in self.letters(Filter()) if found.id == letter), None)

    def close(self) -> None:
        """Nothing is kept open."""
