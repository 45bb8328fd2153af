"""Mappings as text with holes: what a mapping makes of every record that differs from a sample in a few texts alone.

The records of one generation are alike but for identifiers and message ids. A mapping that hands these on without looking into them makes
the same JSON each time, with other texts at the same places; it is then applied once, to a record whose varying texts are `Hole`s, and the
result is cut where they came out. A database can fill the pieces without a row in Python. Whether a mapping looks into what it hands on is
decided twice: some directives do by their nature and are refused at once, and a `Hole` that is looked into all the same fails.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import orjson

from engage_pipelines.domain.mapping.resolver import MappingError

_OPEN, _CLOSE = "\ue000", "\ue001"
_HAND_ON = frozenset({"@path", "@template", "@literal", "@if", "@merge", "@transform", "@arrayPath", "@excludeWhenNull", "@flatten"})
"""The directives that move values without looking into texts, but for options of some; and a Hole says so when it is looked into."""

_CONSTANT = {"@path": "", "@template": "", "@merge": "direction", "@flatten": "separator"}
"""What has to be a plain text: all of the directive, or one of its options. A path that a record says would be looked into."""

_LOOKS = {"@if": "blank", "@merge": "objects", "@transform": "apply"}
"""Options whose texts are looked into. A Hole notices; a text that was made of one by a template does not, so it may not stand there."""


class LookedIntoError(MappingError):
    """A mapping asked what a text is that differs from record to record."""


class Hole(str):
    """The place of a text that differs from record to record: it can be handed on and put into a template, not looked into."""

    __slots__ = ()

    def __new__(cls, name: str) -> "Hole":
        return super().__new__(cls, f"{_OPEN}{name}{_CLOSE}")


def _looked_into(*_: object) -> NoReturn:
    raise LookedIntoError("the mapping depends on a text that differs from record to record.")


for _asked in ("bool", "eq", "ne", "lt", "le", "gt", "ge", "len", "iter", "getitem", "contains", "hash", "add"):
    setattr(Hole, f"__{_asked}__", _looked_into)
for _asked in ("encode", "lower", "upper", "replace", "split", "strip"):
    setattr(Hole, _asked, _looked_into)


@dataclass(frozen=True, slots=True)
class Pieces:
    """JSON text around holes: `texts[0]`, the hole `holes[0]`, `texts[1]` and so on; a hole stands inside a JSON string's quotes."""

    texts: tuple[str, ...]
    holes: tuple[str, ...]

    def filled(self, values: Mapping[str, str]) -> bytes:
        """The JSON text with these values. Raises UnicodeEncodeError for half of a surrogate pair, which no JSON in UTF-8 can hold."""
        out = [self.texts[0].encode()]
        for hole, text in zip(self.holes, self.texts[1:], strict=True):
            out += (orjson.dumps(values[hole])[1:-1], text.encode())
        return b"".join(out)


def hands_on(fields: Any, *, templates: bool = True) -> bool:
    """Whether no directive of the mapping looks into texts by its nature; without `templates` none may make a text of others."""
    if isinstance(fields, Mapping):
        known = cast(Mapping[str, Any], fields)
        return all(_hands_on(key, value, templates) for key, value in known.items())
    return not isinstance(fields, list | tuple) or all(hands_on(item, templates=templates) for item in cast(Sequence[Any], fields))


def _hands_on(key: str, value: Any, templates: bool) -> bool:
    if not key.startswith("@"):
        return hands_on(value, templates=templates)
    options = cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}
    named = _CONSTANT.get(key)
    constant = value if named == "" else options.get(named, "") if named else ""
    if key not in _HAND_ON or not isinstance(constant, str):
        return False
    if key == "@template" and ("{{{" in constant or ("{{" in constant and not templates)):
        return False  # three braces put a text in and read it again, so what a record says would be expanded
    if not options:
        return hands_on(value, templates=templates)
    return all(_hands_on(name, inner, templates and name != _LOOKS.get(key)) for name, inner in options.items())


def pieces_of(apply: Callable[[Mapping[str, Any]], Any], sample: Mapping[str, Any]) -> tuple[Any, Pieces] | None:
    """The payload that `apply` makes of a sample with Holes, and its JSON in pieces; None when that is not the same for all records."""
    try:
        payload = apply(sample)
        text = orjson.dumps(payload).decode()
    except (MappingError, orjson.JSONEncodeError, UnicodeEncodeError):
        return None
    first, *others = text.split(_OPEN)
    cut = [part.split(_CLOSE) for part in others]
    if _CLOSE in first or any(len(part) != 2 or not part[0].isidentifier() for part in cut):
        return None  # a constant holds the marks
    return payload, Pieces((first, *(rest for _, rest in cut)), tuple(name for name, _ in cut))
