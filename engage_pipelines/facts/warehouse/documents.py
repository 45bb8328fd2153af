"""Values put together again from the readings of their parts, as one JSON value that the reference meaning can look into.

A part is told by two readings, its kind and its text, the very ones that conditions are answered by.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from engage_pipelines.domain.errors import UsageError
from engage_pipelines.domain.query.tree import EACH, Path
from engage_pipelines.domain.query.values import Json, walk
from engage_pipelines.facts.warehouse.values import Reading, Readings

_LONGEST_NUMBER = 300
_WHOLE = "value"


@dataclass(frozen=True, slots=True)
class Document:
    """The parts of a document that are read, and where in a row their kinds and texts are."""

    places: tuple[tuple[Path, int, int], ...]

    @classmethod
    def of(cls, name: str, paths: Iterable[Path], readings: Readings) -> "Document":
        """The parts that the paths lead to, up to a `$`; what is to be read of the document `name` is added to the readings."""
        places: list[tuple[Path, int, int]] = []
        for path in sorted({before_each(each) for each in paths}, key=lambda path: (len(path), path)):
            for way in ("kind", "text"):
                readings.column(Reading(name, path, way))
            order = list(readings.columns)
            places.append((path, order.index(Reading(name, path, "kind")), order.index(Reading(name, path, "text"))))
        return cls(tuple(places))

    def value(self, row: Sequence[Any]) -> Json:
        """What the readings of one row say; what is missing is not in it. Raises UsageError when they are of no one value."""
        root: dict[str, Any] = {}
        said = [(path, told(row[kind], row[text])) for path, kind, text in self.places]
        for path, value in said:
            if value is not None:
                _put(root, (_WHOLE, *path), value)
        for path, value in said:
            if next(walk(root, (_WHOLE, *path)), None) != value:
                raise UsageError(
                    f"{'.'.join(path)!r} has a column of its own, which says something else than the column of what it is a part of.",
                    "Such values cannot be shown together; `engage audience sql KEY` prints the question itself.",
                )
        return root.get(_WHOLE)


def before_each(path: Path) -> Path:
    """The names before the first `$`."""
    return path[: path.index(EACH)] if EACH in path else path


def _put(root: dict[str, Any], path: Path, value: Json) -> None:
    at: Any = root
    for name in path[:-1]:
        at = at.setdefault(name, {})
        if not isinstance(at, dict):
            return
    at.setdefault(path[-1], value)


def told(kind: str | None, text: str | None) -> Json:
    """The value of that kind and text; None when it is missing."""
    if kind is None or text is None:
        return None
    if kind == "string":
        return text
    # a number of thousands of digits is no double either way, and Python reads none so long as a whole one
    return float(text) if kind == "number" and len(text) > _LONGEST_NUMBER else json.loads(text)
