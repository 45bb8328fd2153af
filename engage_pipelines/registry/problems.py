"""Problems of configuration files: what is wrong, at which line of which file, and the remedy; as many as there are, at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engage_pipelines.domain.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; line and column count from 1, `path` is the place in the document (`audiences[0].key`)."""

    file: Path
    line: int
    column: int | None
    path: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        where = f"{shown(self.file)}:{self.line}{f':{self.column}' if self.column else ''}"
        return " ".join(f"{where}: {f'{self.path}: ' if self.path else ''}{self.what} {self.remedy}".split())


class ProblemsError(ConfigurationError):
    """Configuration that cannot be used as written, with every problem that was found, in the order of files and lines."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        first, *others = in_order(problems)
        more = f" ({len(others)} more below)" if others else ""
        head = str(Problem(first.file, first.line, first.column, first.path, first.what))
        text = head if not others else "\n".join([f"{first}{more}", *map(str, others)])
        super().__init__(text, first.remedy if not others else "Nothing was changed. `engage validate` looks again.")
        self.problems = (first, *others)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """By file and line, each said once."""
    return sorted(dict.fromkeys(problems), key=lambda one: (str(one.file), one.line, one.column or 0))


def shown(file: Path) -> str:
    """The path as people would type it: from the current folder, where the file is below it."""
    try:
        return str(file.relative_to(Path.cwd()))
    except ValueError:
        return str(file)
