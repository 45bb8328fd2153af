"""The tree of a trigger: what was read from its text, without any meaning of its own.

A condition is true or false; a value is what a condition compares. `at` is the place in the text (line and column, both
from 1); it takes no part in equality, so two spellings of one trigger have equal trees.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Place: TypeAlias = tuple[int, int]
Constant: TypeAlias = str | int | float | bool | None
Node: TypeAlias = "Path | Value | Items | Call | Comparison | Inclusion | Negation | Junction"

# names that a path begins with only when they are escaped: the words of the language, and what others call null
RESERVED = ("and", "or", "in", "true", "false", "null", "nil", "none")
_PLAIN = re.compile(r"[A-Za-z0-9_-]")
_PATH_START = re.compile(r"[A-Za-z_\\]")


@dataclass(frozen=True, slots=True)
class Path:
    """A field of the event, from the outermost name inwards."""

    segments: tuple[str, ...]
    at: Place = field(default=(1, 1), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Value:
    """A constant."""

    value: Constant
    at: Place = field(default=(1, 1), compare=False, repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Value) and self.value == other.value and isinstance(self.value, bool) == isinstance(other.value, bool)

    def __hash__(self) -> int:
        return hash((isinstance(self.value, bool), self.value))


@dataclass(frozen=True, slots=True)
class Items:
    """A list written out, as on the right of `in`."""

    items: "tuple[Node, ...]"
    at: Place = field(default=(1, 1), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function and its arguments."""

    name: str
    arguments: "tuple[Node, ...]"
    at: Place = field(default=(1, 1), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Comparison:
    operator: Literal["=", "!=", "<", "<=", ">", ">="]
    left: "Node"
    right: "Node"
    at: Place = field(default=(1, 1), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Inclusion:
    """`value in list`."""

    value: "Node"
    collection: "Node"
    at: Place = field(default=(1, 1), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Negation:
    condition: "Node"
    at: Place = field(default=(1, 1), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Junction:
    """Two or more conditions under one `and` or one `or`."""

    operator: Literal["and", "or"]
    conditions: "tuple[Node, ...]"
    at: Place = field(default=(1, 1), compare=False, repr=False)


def children(node: Node) -> Sequence[Node]:
    """The nodes directly below."""
    match node:
        case Items(items):
            return items
        case Call(_, arguments):
            return arguments
        case Comparison(_, left, right) | Inclusion(left, right):
            return (left, right)
        case Negation(condition):
            return (condition,)
        case Junction(_, conditions):
            return conditions
        case _:
            return ()


def to_text(node: Node) -> str:
    """The trigger as text that parses to an equal tree."""
    match node:
        case Path(segments):
            return path_text(segments)
        case Value(value):
            return _constant_text(value)
        case Items(items):
            return "[" + ", ".join(map(to_text, items)) + "]"
        case Call(name, arguments):
            return f"{name}({', '.join(map(to_text, arguments))})"
        case Comparison(operator, left, right):
            return f"{_side(left)} {operator} {_side(right)}"
        case Inclusion(value, collection):
            return f"{_side(value)} in {_side(collection)}"
        case Negation(condition):
            return "!" + (to_text(condition) if isinstance(condition, Call | Path | Negation) else f"({to_text(condition)})")
        case Junction(operator, conditions):
            return f" {operator} ".join(f"({to_text(c)})" if isinstance(c, Junction) else to_text(c) for c in conditions)


def _side(node: Node) -> str:
    return f"({to_text(node)})" if isinstance(node, Comparison | Inclusion | Negation | Junction) else to_text(node)


def path_text(segments: tuple[str, ...]) -> str:
    """A path as it is written: every character outside of A-Z a-z 0-9 _ - is escaped, and so is a first one that would
    read as a number or word.
    """
    head, *tail = ["".join(c if _PLAIN.fullmatch(c) else "\\" + c for c in segment) for segment in segments]
    if head.lower() in RESERVED or not _PATH_START.match(head):
        head = "\\" + head
    return ".".join([head, *tail])


def _constant_text(value: Constant) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)
