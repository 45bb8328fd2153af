"""Pieces on the way from text to tree: tokens read, functions not yet looked at, and conditions with their depth."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, NoReturn

from engage_pipelines.domain.errors import DefinitionError
from engage_pipelines.domain.query.instants import read_moment
from engage_pipelines.domain.query.names import did_you_mean
from engage_pipelines.domain.query.tree import Condition, Duration, Literal, Moment, Number, Path, Place, Scalar, Text, Truth, Unit

if TYPE_CHECKING:
    from lark import Token

MAX_DIGITS = 30
MAX_WINDOW_US = 200 * 366 * 86_400_000_000


@dataclass(frozen=True, slots=True)
class Part:
    """A condition, how deep it goes, and where it starts."""

    condition: Condition
    depth: int
    place: Place


@dataclass(frozen=True, slots=True)
class Given:
    """One argument of a call, `parent: value` or just `value`."""

    name: str | None
    value: "Piece"
    place: Place


@dataclass(frozen=True, slots=True)
class Call:
    """A function as written."""

    name: str
    given: tuple[Given, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Cast:
    """A value `as` something."""

    value: "Piece"
    kind: "Token"


@dataclass(frozen=True, slots=True)
class Several:
    """A list in square brackets."""

    values: tuple["Piece", ...]


Piece = Call | Scalar | Part | Literal | Cast | Several | Duration


def fail(place: Place, what: str, remedy: str = "") -> NoReturn:
    raise DefinitionError(what, remedy, line=place.line, column=place.column)


def place_of_token(token: "Token") -> Place:
    return Place(token.line or 1, token.column or 1)


def place_of_piece(piece: Piece) -> Place:
    """Where a piece starts, as far as it knows."""
    if isinstance(piece, Cast):
        return place_of_piece(piece.value)
    if isinstance(piece, Several):
        return place_of_piece(piece.values[0])
    return piece.place


def read_literal(token: "Token") -> Literal:
    """The literal a token stands for."""
    place, text = place_of_token(token), str(token)
    if token.type == "NUMBER":
        if sum(map(str.isdigit, text)) > MAX_DIGITS:
            fail(place, f"the number {text[:40]}... is too long.", f"Use at most {MAX_DIGITS} digits.")
        return Number(Decimal(text), place)
    if token.type == "TRUTH":
        return Truth(text.casefold() == "true", place)
    if token.type == "MOMENT":
        return moment(text, place)
    return Text(_unescaped(text[1:-1], place), place)


def moment(text: str, place: Place) -> Moment:
    """The instant a text names. Raises DefinitionError when it is none."""
    found = read_moment(text)
    if not found:
        fail(place, f"{text[:60]!r} is no date.", "Write 2022-10-17 or 2022-10-17T00:00:00Z.")
    return Moment(found.at_us, found.date_only, place)


_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}


def _unescaped(text: str, place: Place) -> str:
    """Escapes resolved; a backslash before anything else stays, so that names may say `a\\.b` as well as `a\\\\.b`."""

    def one(found: re.Match[str]) -> str:
        if found[1] is None:
            return _ESCAPED.get(found[2], found[0])
        character = chr(int(found[1], 16))
        if character == "\0" or "\ud800" <= character <= "\udfff":
            fail(place, f"the escape {found[0]} stands for no character that can be stored.", "Write the character itself.")
        return character

    return _ESCAPE.sub(one, text)


_PATH_PART = re.compile(r"((?:[^.\\]|\\.|\\)*)(\.|\Z)", re.DOTALL)


def path_of(text: Text) -> Path:
    """The names that a dotted name walks through; `\\.` is a dot that belongs to a name."""
    parts: list[str] = []
    position = 0
    while True:
        found = _PATH_PART.match(text.value, position)
        if not found:
            fail(text.place, f"{text.value!r} is no name.", "Write a name, or names joined by dots.")
        parts.append(found[1].replace("\\\\", "\0").replace("\\.", ".").replace("\0", "\\"))
        position = found.end()
        if not found[2]:
            break
    if "" in parts or parts[0] == "$":
        fail(text.place, f"{text.value!r} is no name.", "A dot needs a name before and after it; write a dot of a name as \\\\.")
    if "*" in parts:
        fail(text.place, f"{text.value!r} is no name.", "A name cannot be * alone; write $ for each element of an array.")
    return tuple(parts)


_UNITS = {"second": Unit.SECOND, "hour": Unit.HOUR, "day": Unit.DAY}


def read_duration(amount: "Token", unit: "Token") -> Duration:
    """`7 days`. Raises DefinitionError for a unit there is not, and for what is no window."""
    place, name = place_of_token(amount), str(unit).casefold().removesuffix("s")
    if name not in _UNITS:
        remedy = did_you_mean(str(unit), ("hours", "days"), "Use hours or days.")
        fail(place_of_token(unit), f"found the unit {unit}, expected hours or days.", remedy)
    if not amount.isdigit():
        remedy = "Windows reach back already: leave the minus out." if amount.startswith("-") else "Use a smaller unit."
        fail(place, f"found {amount} {unit}, expected a whole number of {unit}.", remedy)
    window = Duration(int(amount) if len(amount) < 10 else 10**10, _UNITS[name], place)
    if window.us > MAX_WINDOW_US:
        fail(place, f"a window of {amount} {unit} is longer than 200 years.", "Leave the window out to mean all time.")
    return window
