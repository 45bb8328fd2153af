"""Segment-spec calls: what they are made of, and the reason for every line that is none.

Properties, context and the values of traits stay the JSON text that was sent. An empty userId or anonymousId counts as a missing one.
Source: https://segment.com/docs/connections/spec/
"""

# a kind of call narrows the fields that it cannot do without
# pyright: reportIncompatibleVariableOverride=false, reportGeneralTypeIssues=false

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta, Raw, Struct

from engage_pipelines.facts.instants import parse_instant
from engage_pipelines.facts.lines import Block

_NOTHING = Raw(b"null")
_Text = Annotated[str, Meta(min_length=1)]
_MessageId = Annotated[str, Meta(max_length=100)]
_GroupId = Annotated[str, Meta(min_length=1, max_length=500)]


class Call(Struct, kw_only=True, gc=False, tag_field="type", rename="camel"):
    kind: ClassVar[str]
    message_id: _MessageId | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    group_id: str | None = None
    previous_id: str | None = None
    timestamp: str | None = None
    original_timestamp: str | None = None
    sent_at: str | None = None
    received_at: str | None = None
    context: Raw = _NOTHING
    event: str | None = None
    properties: Raw = _NOTHING

    @property
    def instant_text(self) -> str | None:
        """What the call says about when it was made."""
        texts = (self.timestamp, self.original_timestamp, self.sent_at, self.received_at)
        return next((text for text in texts if text is not None), None)


class Track(Call, kw_only=True, gc=False, rename="camel", tag="track"):
    kind: ClassVar[str] = "track"
    event: _Text


class Page(Call, kw_only=True, gc=False, rename="camel", tag="page"):
    kind: ClassVar[str] = "page"
    name: str | None = None


class Screen(Call, kw_only=True, gc=False, rename="camel", tag="screen"):
    kind: ClassVar[str] = "screen"
    name: str | None = None


class Identify(Call, kw_only=True, gc=False, rename="camel", tag="identify"):
    kind: ClassVar[str] = "identify"
    traits: dict[str, Raw] | None = None


class Group(Call, kw_only=True, gc=False, rename="camel", tag="group"):
    kind: ClassVar[str] = "group"
    group_id: _GroupId
    traits: dict[str, Raw] | None = None


class Alias(Call, kw_only=True, gc=False, rename="camel", tag="alias"):
    kind: ClassVar[str] = "alias"
    user_id: _Text
    previous_id: _Text


_decoder = msgspec.json.Decoder(Track | Page | Screen | Identify | Group | Alias)


@dataclass(frozen=True, slots=True)
class Reject:
    """A line that is no valid call; the reason holds nothing of what the line says about a person."""

    line: int
    reason: str


def decode_lines(block: Block, rejects: list[Reject]) -> tuple[list[Call], Sequence[int]]:
    """All at once when every line is a call; otherwise line by line."""
    count = block.lines
    try:
        calls = _decoder.decode_lines(block.data)
        if len(calls) == count:
            return calls, range(block.first_line, block.first_line + count)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    return _decode_one_by_one(block, rejects)


def _decode_one_by_one(block: Block, rejects: list[Reject]) -> tuple[list[Call], list[int]]:
    calls: list[Call] = []
    lines: list[int] = []
    for number, text in enumerate(block.data.split(b"\n"), start=block.first_line):
        if not text or text.isspace():
            continue
        try:
            calls.append(_decoder.decode(text))
            lines.append(number)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            rejects.append(Reject(number, _reason(error)))
    return calls, lines


_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$\.?(?P<place>[^`]*)`)?$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_EXPECTED = re.compile(r"Expected `(.+?)`(?:, got `(.+?)`)?$")
_JSON_NAMES = {"str": "a string", "str | null": "a string", "object": "an object", "object | null": "an object"}
_GOT_NAMES = {"int": "a number", "float": "a number", "bool": "true or false", "array": "a list", "object": "an object", "str": "a string"}


def _reason(error: Exception) -> str:
    """What is wrong, in words, without the value: it may be personal."""
    if isinstance(error, UnicodeDecodeError):
        return "not valid UTF-8"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if not isinstance(error, msgspec.ValidationError):
        return f"not valid JSON: {str(error).removeprefix('JSON is malformed: ')}"
    match = _PLACE.match(str(error))
    what, place = (match["what"], match["place"] or "") if match else (str(error), "")
    if place == "type" and what.startswith("Invalid value"):
        return "unknown call type; known are identify, group, track, page, screen and alias"
    if missing := _MISSING.match(what):
        return f"{missing[1]} is missing"
    if expected := _EXPECTED.match(what):
        wanted = _JSON_NAMES.get(expected[1], expected[1])
        got = f", not {_GOT_NAMES.get(expected[2], expected[2])}" if expected[2] else ""
        return f"{place or 'the line'} must be {wanted}{got}"
    return f"{place} {what[:1].lower()}{what[1:]}".strip()


def without_faults(calls: Sequence[Call], lines: Sequence[int], rejects: list[Reject]) -> tuple[list[Call], list[int]]:
    kept: list[Call] = []
    kept_lines: list[int] = []
    for call, line in zip(calls, lines, strict=True):
        fault = _fault(call)
        if fault is None:
            kept.append(call)
            kept_lines.append(line)
        else:
            rejects.append(Reject(line, fault))
    return kept, kept_lines


def _fault(call: Call) -> str | None:
    """Why the call cannot be taken, or None; the rules that one field alone does not show."""
    if not call.user_id and not call.anonymous_id and call.kind != "group":
        return "userId or anonymousId is missing"
    text = call.instant_text
    if text is not None and parse_instant(text) is None:
        return "the timestamp is no ISO 8601 instant"
    for name, raw in (("properties", call.properties), ("context", call.context)):
        if bytes(raw)[:1] not in (b"{", b"n"):
            return f"{name} must be an object"
    values = getattr(call, "traits", None) or {}
    try:
        for raw in (call.properties, call.context, *values.values()):
            str(raw, "utf-8")
    except UnicodeDecodeError:
        return "not valid UTF-8"
    return None
