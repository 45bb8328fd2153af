"""Patterns: the JSON of the records of one call as text with holes, so that many records are made without one Python object for each.

Records of one generation, mapping, call and direction differ in their message id, the identifier and the e-mail address alone; which
identifier it is, and whether there is an e-mail address, tells the variant. A pattern is cut from what the reference makes of a sample
(`domain.records`, the mapping), so it cannot say anything else. Where a trigger or a mapping looks into what differs, there is no pattern
and every record is rendered by itself.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from engage_pipelines.domain.mapping.pieces import Hole, hands_on, pieces_of
from engage_pipelines.domain.records import RENDER, Envelope, Subject
from engage_pipelines.domain.trigger.grammar import parse_tree
from engage_pipelines.domain.trigger.tree import Node, Path, children

SEQ, FIRST, SECOND = "seq", "first", "second"
"""What fills a hole: the number of the record, the identifier, and the e-mail address or the account's stand-in for a user."""

VARIANTS: Mapping[str, tuple[Subject, ...]] = {
    "user": (
        Subject(user_id=Hole(FIRST)),
        Subject(user_id=Hole(FIRST), email=Hole(SECOND)),
        Subject(anonymous_id=Hole(FIRST)),
        Subject(anonymous_id=Hole(FIRST), email=Hole(SECOND)),
        Subject(email=Hole(FIRST)),
    ),
    "account": (Subject(group_id=Hole(FIRST)), Subject(group_id=Hole(FIRST), anonymous_id=Hole(SECOND))),
}
"""Whom a record can be about, by level; `variant_sql` gives the place in this list."""

_MARK = "\ue000"
_ESCAPES: Mapping[int, str] = {code: orjson.dumps(chr(code)).decode()[1:-1] for code in (0x5C, 0x22, *range(0x20))}
"""What JSON escapes, the backslash first since every escape has one."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """The body `texts[0]`, hole, `texts[1]`, ... in JSON, and what stands around the seq in the message id."""

    texts: tuple[str, ...]
    holes: tuple[str, ...]
    message_id: tuple[str, str]

    def dumped(self) -> str:
        """The pattern as text, for the file of a generation."""
        return orjson.dumps([self.texts, self.holes, self.message_id]).decode()

    @classmethod
    def loaded(cls, text: str) -> "Pattern":
        texts, holes, message_id = orjson.loads(text)
        return cls(tuple(texts), tuple(holes), (message_id[0], message_id[1]))


@dataclass(frozen=True, slots=True)
class Patterned:
    """What is made of every record of one variant: its pattern, and the values that its batches have to agree in."""

    pattern: Pattern
    batch_values: str


class Cuttable(Protocol):
    """A mapping as patterns are cut from it."""

    @property
    def trigger(self) -> str: ...
    @property
    def fields(self) -> Mapping[str, Any]: ...
    @property
    def matches(self) -> Callable[[Mapping[str, Any]], bool]: ...
    @property
    def apply(self) -> Callable[[Mapping[str, Any]], Any]: ...
    @property
    def batch_keys(self) -> tuple[str, ...]: ...


def patterns(
    mapping: Cuttable, call: str, envelope: Envelope, *, level: str, entered: bool, message_id: tuple[str, str]
) -> list[Patterned | None] | None:
    """For each variant of the level its pattern, or None where the trigger does not match; None as a whole when there are no patterns."""
    if not hands_on(mapping.fields):
        return None
    read = tuple(_paths(parse_tree(mapping.trigger)))
    found: list[Patterned | None] = []
    for subject in VARIANTS[level]:
        record = RENDER[call](subject, envelope, message_id=Hole(SEQ), entered=entered)
        if any(_touch(path, hole) for path in read for hole in _holes(record)):
            return None
        if not mapping.matches(record):
            found.append(None)
            continue
        one = _pattern(mapping, record, message_id)
        if one is None:
            return None
        found.append(one)
    return found


def _pattern(mapping: Cuttable, record: Mapping[str, Any], message_id: tuple[str, str]) -> Patterned | None:
    cut = pieces_of(mapping.apply, record)
    if cut is None:
        return None
    payload, pieces = cut
    batch_values = orjson.dumps([payload.get(key) for key in mapping.batch_keys]).decode() if _is_keyed(mapping, payload) else ""
    if _MARK in batch_values:
        return None
    texts = list(pieces.texts)
    for at, hole in enumerate(pieces.holes):
        if hole == SEQ:
            texts[at] += message_id[0]
            texts[at + 1] = message_id[1] + texts[at + 1]
    return Patterned(Pattern(tuple(texts), pieces.holes, message_id), batch_values)


def _is_keyed(mapping: Cuttable, payload: Any) -> bool:
    return bool(mapping.batch_keys) and isinstance(payload, dict)


def _paths(node: Node) -> Iterator[tuple[str, ...]]:
    """Every field that a trigger reads."""
    if isinstance(node, Path):
        yield node.segments
    for child in children(node):
        yield from _paths(child)


def _holes(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, Hole):
        yield path
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _holes(inner, (*path, key))


def _touch(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether one path leads to the other's place, or to something that holds it or lies in it."""
    return all(a == b for a, b in zip(one, other, strict=False))


def variant_sql(level: str, *, group_needs_a_user: bool) -> str:
    """SQL over `address` and `email` for the place in VARIANTS; the same meaning as `Renderer.subject`."""
    if level == "account":
        return "1" if group_needs_a_user else "0"
    with_email = "case when email is null then 0 else 1 end"
    return f"""case when starts_with(address, 'email:') then 4
        when starts_with(address, 'user_id:') then {with_email} else 2 + {with_email} end"""


def json_sql(text: str) -> str:
    """SQL for what stands between the quotes of a text in JSON, byte by byte as orjson writes it.

    DuckDB's own JSON says which texts need escapes; it writes those of control characters in another case, so they are replaced one by one.
    """
    escaped = text
    for plain, escape in _ESCAPES.items():
        escaped = f"replace({escaped}, chr({plain}), '{escape}')"
    return f"case when strlen(to_json({text})::varchar) = strlen({text}) + 2 then {text} else {escaped} end"
