"""YAML with the place of every value, so that an error can say where it is."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from engage_pipelines.domain.errors import InputError
from engage_pipelines.registry.problems import Problem, ProblemsError

Place = tuple[str | int, ...]
"""From the top of a document to a value: keys and list positions."""

MAX_VALUES = 500_000
"""More values than any configuration has: a few lines of aliases can stand for billions."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a value begins, counted from 1; `style` is how a text is quoted: `'`, `"`, `|`, `>`, or nothing."""

    line: int
    column: int
    style: str = ""


@dataclass(frozen=True, slots=True)
class Marked:
    """One document and where each of its values begins."""

    file: Path
    data: Any
    marks: Mapping[Place, Mark] = field(repr=False)
    digest: str = ""
    """Of the file's bytes."""

    def problem(self, place: Place, what: str, remedy: str = "", *, inside: tuple[int, int] | None = None) -> Problem:
        """What is wrong at a place; a value that is missing is looked for where its owner begins.

        `inside` is a line and column within a text, both from 1.
        """
        known = place
        while known and known not in self.marks:
            known = known[:-1]
        mark = self.marks.get(known, Mark(1, 1))
        line, column = (mark.line, None) if inside is None or known != place else _within(mark, inside)
        return Problem(self.file, line, column, path_text(place), what, remedy)

    def line(self, place: Place) -> int:
        return self.problem(place, "").line


def path_text(place: Place) -> str:
    """`audiences[0].key`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


def _within(mark: Mark, inside: tuple[int, int]) -> tuple[int, int | None]:
    line, column = inside
    if mark.style in {"|", ">"}:
        # the text begins below the sign; how far it is indented is not known here, and folding moves columns anyway
        return mark.line + line, None
    return (mark.line, mark.column + column - (0 if mark.style else 1)) if line == 1 else (mark.line + line - 1, None)


class _Loader(yaml.SafeLoader):
    """The safe loader without dates: an instant stays the text that was written."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(file: Path) -> Marked:
    """The one document of a file. Raises InputError when it cannot be read, ProblemsError when it is not YAML or names a key twice."""
    try:
        content = file.read_bytes()
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{file} is not text in UTF-8.", "Save it as UTF-8.") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.", "Check the path and its permissions.") from None
    digest = hashlib.sha256(content).hexdigest()
    try:
        data, marks = _parse(text, file)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, None)
        raise ProblemsError(
            [Problem(file, line, column, "", f"{error.problem or 'this is not YAML'}.", "Correct the YAML there.")]
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = f"this is not YAML: {' '.join(str(error).split())[:200]}."
        raise ProblemsError([Problem(file, 1, None, "", what, "Correct the file.")]) from None
    return Marked(file, data, marks, digest)


def _parse(text: str, file: Path) -> tuple[Any, dict[Place, Mark]]:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}, {}
        twice: list[Problem] = []
        marks: dict[Place, Mark] = {}
        for place, mark in _marks(node, (), (file, twice)):
            marks[place] = mark
            if len(marks) > MAX_VALUES:
                raise ProblemsError(
                    [Problem(file, mark.line, None, "", f"more than {MAX_VALUES:,} values.", "Write no aliases of aliases.")]
                )
        if twice:
            raise ProblemsError(twice)
        return loader.construct_document(node), marks
    finally:
        loader.dispose()


def _marks(node: yaml.Node, place: Place, found: tuple[Path, list[Problem]]) -> Iterator[tuple[Place, Mark]]:
    yield place, _mark(node)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _marks(item, (*place, index), found)
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                file, twice = found
                what = f"{name!r} is there twice, first on line {seen[name]}."
                twice.append(Problem(file, line, key.start_mark.column + 1, path_text((*place, name)), what, "Keep one of them."))
            seen[name] = line
            yield from _marks(value, (*place, name), found)
            if not isinstance(value, yaml.ScalarNode):
                # a list or map is best looked for at its name; a text, whose inside may be spoken of, where it begins
                yield (*place, name), _mark(key)


def _mark(node: yaml.Node) -> Mark:
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1, getattr(node, "style", None) or "")
