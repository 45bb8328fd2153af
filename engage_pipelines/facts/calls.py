"""Segment-spec calls: from lines of JSON to columns, and the reason for every line that is none.

Properties, context and the values of traits stay the JSON text that was sent. Instants are UTC microseconds since 1970, before it too; a
timestamp without zone counts as UTC. Where `timestamp` is missing, `originalTimestamp`, `sentAt`, `receivedAt` and at last the instant of
ingestion stand in. An empty userId or anonymousId counts as a missing one.
Source: https://segment.com/docs/connections/spec/
"""

import gc
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, ClassVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Meta, Raw, Struct

from engage_pipelines.facts.lines import Block

_NOTHING = Raw(b"null")
_Text = Annotated[str, Meta(min_length=1)]
_MessageId = Annotated[str, Meta(max_length=100)]
_GroupId = Annotated[str, Meta(min_length=1, max_length=500)]


class _Call(Struct, kw_only=True, gc=False, tag_field="type", rename="camel"):
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


class _Track(_Call, kw_only=True, gc=False, rename="camel", tag="track"):
    kind: ClassVar[str] = "track"
    event: _Text


class _Page(_Call, kw_only=True, gc=False, rename="camel", tag="page"):
    kind: ClassVar[str] = "page"
    name: str | None = None


class _Screen(_Call, kw_only=True, gc=False, rename="camel", tag="screen"):
    kind: ClassVar[str] = "screen"
    name: str | None = None


class _Identify(_Call, kw_only=True, gc=False, rename="camel", tag="identify"):
    kind: ClassVar[str] = "identify"
    traits: dict[str, Raw] | None = None


class _Group(_Call, kw_only=True, gc=False, rename="camel", tag="group"):
    kind: ClassVar[str] = "group"
    group_id: _GroupId
    traits: dict[str, Raw] | None = None


class _Alias(_Call, kw_only=True, gc=False, rename="camel", tag="alias"):
    kind: ClassVar[str] = "alias"
    user_id: _Text
    previous_id: _Text


_decoder = msgspec.json.Decoder(_Track | _Page | _Screen | _Identify | _Group | _Alias)
_left_decoder = msgspec.json.Decoder(msgspec.defstruct("_Left", [("left", bool | None, None)]))

CALL_SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("message_id", pa.string()),
        ("user_id", pa.string()),
        ("anonymous_id", pa.string()),
        ("group_id", pa.string()),
        ("previous_id", pa.string()),
        ("event", pa.string()),
        ("ts", pa.int64()),
        ("properties", pa.string()),
        ("context", pa.string()),
        ("gone", pa.bool_()),
    ]
)
TRAIT_SCHEMA = pa.schema([("row", pa.int64()), ("key", pa.string()), ("value", pa.string())])


@dataclass(frozen=True, slots=True)
class Reject:
    """A line that is no valid call; the reason holds nothing of what the line says about a person."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Valid calls in the order of their lines, as columns. `traits.row` is the place of its call in `calls`."""

    calls: pa.Table
    traits: pa.Table
    rejects: tuple[Reject, ...]


class _UnfitError(Exception):
    """Some call of the batch breaks a rule; which one, and which rule, is looked up call by call."""


def decode(block: Block, *, now_us: int) -> Batch:
    """The calls of a block of lines; `now_us` is the instant of calls that carry none."""
    rejects = [Reject(line, "the line is longer than the limit for one call") for line in block.too_long]
    with _no_search_for_cycles():
        calls, lines = _decode_lines(block, rejects)
        try:
            table, traits = _columns(block, calls, lines, now_us)
        except (_UnfitError, pa.ArrowInvalid):
            calls, lines = _without_faults(calls, lines, rejects)
            table, traits = _columns(block, calls, lines, now_us)
    return Batch(table, traits, tuple(sorted(rejects, key=lambda reject: reject.line)))


@contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Calls hold no cycles, and looking for some after every few hundred objects costs a sixth of the time."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _decode_lines(block: Block, rejects: list[Reject]) -> tuple[list[_Call], Sequence[int]]:
    """All at once when every line is a call; otherwise line by line."""
    count = block.lines
    try:
        calls = _decoder.decode_lines(block.data)
        if len(calls) == count:
            return calls, range(block.first_line, block.first_line + count)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    return _decode_one_by_one(block, rejects)


def _decode_one_by_one(block: Block, rejects: list[Reject]) -> tuple[list[_Call], list[int]]:
    calls: list[_Call] = []
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


def _without_faults(calls: Sequence[_Call], lines: Sequence[int], rejects: list[Reject]) -> tuple[list[_Call], list[int]]:
    kept: list[_Call] = []
    kept_lines: list[int] = []
    for call, line in zip(calls, lines, strict=True):
        fault = _fault(call)
        if fault is None:
            kept.append(call)
            kept_lines.append(line)
        else:
            rejects.append(Reject(line, fault))
    return kept, kept_lines


def _fault(call: _Call) -> str | None:
    """Why the call cannot be taken, or None; the rules that one field alone does not show."""
    if not call.user_id and not call.anonymous_id and call.kind != "group":
        return "userId or anonymousId is missing"
    text = call.timestamp or call.original_timestamp or call.sent_at or call.received_at
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


def parse_instant(text: str) -> int | None:
    """UTC microseconds since 1970 of an ISO 8601 instant, taken as UTC where it names no zone; None when it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return _parse_with_arrow(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = pa.timestamp("us", "UTC")


def _parse_with_arrow(text: str) -> int | None:
    try:
        return pc.cast(pa.array([text]), _INSTANT).cast(pa.int64())[0].as_py()
    except pa.ArrowInvalid:
        return None


def _columns(block: Block, calls: Sequence[_Call], lines: Sequence[int], now_us: int) -> tuple[pa.Table, pa.Table]:
    kinds = [call.kind for call in calls]
    others = [row for row, kind in enumerate(kinds) if kind != "track"]
    _name_views([calls[row] for row in others])
    users = [call.user_id or None for call in calls]
    anonymous = [call.anonymous_id or None for call in calls]
    _check_ids(kinds, users, anonymous)
    columns = {
        "kind": pa.array(kinds, pa.string()),
        "message_id": pa.array(_message_ids(block, calls, lines), pa.string()),
        "user_id": pa.array(users, pa.string()),
        "anonymous_id": pa.array(anonymous, pa.string()),
        "group_id": _sparse(len(calls), {row: calls[row].group_id for row in others}, pa.string()),
        "previous_id": _sparse(len(calls), {row: calls[row].previous_id for row in others}, pa.string()),
        "event": pa.array([call.event for call in calls], pa.string()),
        "ts": _instants(calls, now_us),
        "properties": _objects([call.properties for call in calls]),
        "context": _objects([call.context for call in calls]),
        "gone": _sparse(len(calls), {row: _says_left(calls[row]) for row in others if kinds[row] == "group"}, pa.bool_()),
    }
    return pa.Table.from_pydict(columns, schema=CALL_SCHEMA), _traits([(row, calls[row]) for row in others])


def _sparse(length: int, values: Mapping[int, str | bool | None], kind: pa.DataType) -> pa.Array:
    """A column that most calls say nothing in."""
    if not values:
        return pa.nulls(length, kind)
    column: list[str | bool | None] = [None] * length
    for row, value in values.items():
        column[row] = value
    return pa.array(column, kind)


def _check_ids(kinds: list[str], users: list[str | None], anonymous: list[str | None]) -> None:
    if None not in users:
        return
    for kind, user, visitor in zip(kinds, users, anonymous, strict=True):
        if user is None and visitor is None and kind != "group":
            raise _UnfitError


def _name_views(calls: Sequence[_Call]) -> None:
    """Page and screen calls become the events `Page Viewed` and `Screen Viewed`, their name a property."""
    for call in calls:
        if isinstance(call, (_Page, _Screen)):
            key = f"{call.kind}_name"
            call.event = f"{call.kind.capitalize()} Viewed"
            if call.name is not None and bytes(call.properties)[:1] in (b"{", b"n"):
                call.properties = _with_property(call.properties, key, call.name)


def _with_property(properties: Raw, key: str, value: str) -> Raw:
    inside = msgspec.json.decode(properties, type=dict[str, Raw] | None) or {}
    inside[key] = Raw(msgspec.json.encode(value))
    return Raw(msgspec.json.encode(inside))


def _message_ids(block: Block, calls: Sequence[_Call], lines: Sequence[int]) -> list[str]:
    """A call without messageId is known by the hash of its line, so that the same line twice counts once."""
    ids = [call.message_id or "" for call in calls]
    if "" in ids:
        texts = block.data.split(b"\n")
        for index, own in enumerate(ids):
            if not own:
                text = texts[lines[index] - block.first_line].strip()
                ids[index] = f"auto-{hashlib.blake2b(text, digest_size=16).hexdigest()}"
    return ids


def _instants(calls: Sequence[_Call], now_us: int) -> pa.Array:
    texts = [call.timestamp for call in calls]
    if None in texts or "" in texts:
        texts = [call.timestamp or call.original_timestamp or call.sent_at or call.received_at for call in calls]
    try:
        instants = pc.cast(pa.array(texts, pa.string()), _INSTANT).cast(pa.int64())
    except pa.ArrowInvalid:
        parsed = [None if text is None else parse_instant(text) for text in texts]
        if any(instant is None and text is not None for instant, text in zip(parsed, texts, strict=True)):
            raise _UnfitError from None
        instants = pa.array(parsed, pa.int64())
    return pc.fill_null(instants, now_us)


def _objects(raws: Sequence[Raw]) -> pa.Array:
    """The JSON text of objects; null where nothing was sent."""
    texts = _texts(raws)
    if not pc.all(pc.or_(pc.starts_with(texts, "{"), pc.equal(texts, "null")), min_count=0).as_py():
        raise _UnfitError
    return pc.if_else(pc.equal(texts, "null"), pa.scalar(None, pa.string()), texts)


def _texts(raws: Sequence[Raw]) -> pa.Array:
    """Raw JSON as a column, by joining: a bytes object for each would cost twice as much."""
    ends = np.zeros(len(raws) + 1, dtype=np.int32)
    np.cumsum(np.fromiter(map(len, map(memoryview, raws)), dtype=np.int32, count=len(raws)), out=ends[1:])
    texts = pa.Array.from_buffers(pa.string(), len(raws), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(raws))])
    texts.validate(full=True)
    return texts


def _says_left(call: _Call) -> bool:
    """Whether a Group call takes its user out of the account: `context.left: true`, a convention of ours."""
    context = bytes(call.context)
    if b'"left"' not in context:
        return False
    try:
        return _left_decoder.decode(context).left is True
    except msgspec.ValidationError:
        return False


def _traits(calls: Sequence[tuple[int, _Call]]) -> pa.Table:
    rows: list[int] = []
    keys: list[str] = []
    values: list[Raw] = []
    for row, call in calls:
        if isinstance(call, _Identify | _Group) and call.traits:
            rows += [row] * len(call.traits)
            keys += call.traits
            values += call.traits.values()
    return pa.Table.from_arrays([pa.array(rows, pa.int64()), pa.array(keys, pa.string()), _texts(values)], schema=TRAIT_SCHEMA)
