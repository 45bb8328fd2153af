"""YAML with the line of every value, so that an error can say where it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from engage_pipelines.domain.errors import ConfigurationError, InputError

Place = tuple[str | int, ...]
"""From the top of a document to a value: keys and list positions."""


@dataclass(frozen=True, slots=True)
class Marked:
    """One document and the line on which each of its values begins, counted from 1."""

    file: Path
    data: Any
    lines: dict[Place, int]

    def where(self, place: Place) -> str:
        """`file.yaml, line 3, audiences[0].key`; a value that is missing is looked for where its owner begins."""
        known = place
        while known and known not in self.lines:
            known = known[:-1]
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
        return f"{self.file}, line {self.lines.get(known, 1)}{f', {path}' if path else ''}"


class _Loader(yaml.SafeLoader):
    """The safe loader without dates: an instant stays the text that was written."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(file: Path) -> Marked:
    """The one document of a file. Raises InputError when it cannot be read, ConfigurationError when it is not YAML or names a key twice."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{file} is not text in UTF-8.", "Save it as UTF-8.") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.", "Check the path and its permissions.") from None
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Marked(file, {}, {})
        lines = dict(_lines(node, (), file))
        return Marked(file, loader.construct_document(node), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigurationError(f"{file}, line {line}: {error.problem or 'this is not YAML'}.", "Correct the YAML there.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{file} is not YAML: {' '.join(str(error).split())[:200]}.", "Correct the file.") from None
    finally:
        loader.dispose()


def _lines(node: yaml.Node, place: Place, file: Path) -> Iterator[tuple[Place, int]]:
    yield place, node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _lines(item, (*place, index), file)
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                raise ConfigurationError(f"{file}, line {line}: {name!r} is there twice, first on line {seen[name]}.", "Keep one of them.")
            seen[name] = line
            yield from _lines(value, (*place, name), file)
            yield (*place, name), line
