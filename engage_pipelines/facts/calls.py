"""Segment-spec calls: from lines of JSON to columns, and the reason for every line that is none.

Properties, context and the values of traits stay the JSON text that was sent. Instants are UTC microseconds since 1970, before it too; a
timestamp without zone counts as UTC. Where `timestamp` is missing, `originalTimestamp`, `sentAt`, `receivedAt` and at last the instant of
ingestion stand in. An empty userId or anonymousId counts as a missing one.
Source: https://segment.com/docs/connections/spec/
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, ClassVar

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Meta, Raw, Struct

from engage_pipelines.facts.lines import Block

_NOTHING = Raw(b"null")
_Text = Annotated[str, Meta(min_length=1)]
_MessageId = Annotated[str, Meta(max_length=100)]
_GroupId = Annotated[str, Meta(min_length=1, max_length=500)]


class _Call(Struct, kw_only=True, gc=False, tag_field="type"):
    kind: ClassVar[str]
    messageId: _MessageId | None = None
    userId: str | None = None
    anonymousId: str | None = None
    groupId: str | None = None
    previousId: str | None = None
    timestamp: str | None = None
    originalTimestamp: str | None = None
    sentAt: str | None = None
    receivedAt: str | None = None
    context: Raw = _NOTHING
    event: str | None = None
    properties: Raw = _NOTHING


class _Track(_Call, kw_only=True, gc=False, tag="track"):
    kind: ClassVar[str] = "track"
    event: _Text


class _Page(_Call, kw_only=True, gc=False, tag="page"):
    kind: ClassVar[str] = "page"
    name: str | None = None


class _Screen(_Call, kw_only=True, gc=False, tag="screen"):
    kind: ClassVar[str] = "screen"
    name: str | None = None


class _Identify(_Call, kw_only=True, gc=False, tag="identify"):
    kind: ClassVar[str] = "identify"
    traits: dict[str, Raw] | None = None


class _Group(_Call, kw_only=True, gc=False, tag="group"):
    kind: ClassVar[str] = "group"
    groupId: _GroupId
    traits: dict[str, Raw] | None = None


class _Alias(_Call, kw_only=True, gc=False, tag="alias"):
    kind: ClassVar[str] = "alias"
    userId: _Text
    previousId: _Text


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
    calls, lines = _decode_lines(block, rejects)
    try:
        table, traits = _columns(block, calls, lines, now_us)
    except (_UnfitError, pa.ArrowInvalid):
        calls, lines = _without_faults(calls, lines, rejects)
        table, traits = _columns(block, calls, lines, now_us)
    return Batch(table, traits, tuple(sorted(rejects, key=lambda reject: reject.line)))


def _decode_lines(block: Block, rejects: list[Reject]) -> tuple[list[_Call], Sequence[int]]:
    """All at once when every line is a call; otherwise line by line."""
    count = block.data.count(b"\n") + (not block.data.endswith(b"\n"))
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
    if not call.userId and not call.anonymousId and call.kind != "group":
        return "userId or anonymousId is missing"
    text = call.timestamp or call.originalTimestamp or call.sentAt or call.receivedAt
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
    others = set(kinds) - {"track"}
    if "page" in others or "screen" in others:
        _name_views(calls)
    users = [call.userId or None for call in calls]
    anonymous = [call.anonymousId or None for call in calls]
    _check_ids(kinds, users, anonymous)
    columns = {
        "kind": kinds,
        "message_id": _message_ids(block, calls, lines),
        "user_id": users,
        "anonymous_id": anonymous,
        "group_id": [call.groupId for call in calls] if "group" in others else pa.nulls(len(calls), pa.string()),
        "previous_id": [call.previousId for call in calls] if "alias" in others else pa.nulls(len(calls), pa.string()),
        "event": [call.event for call in calls],
        "ts": _instants(calls, now_us),
        "properties": _objects([call.properties for call in calls]),
        "context": _objects([call.context for call in calls]),
        "gone": [_says_left(call) for call in calls] if "group" in others else pa.nulls(len(calls), pa.bool_()),
    }
    arrays = [
        pa.array(columns[field.name], field.type) if isinstance(columns[field.name], list) else columns[field.name] for field in CALL_SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=CALL_SCHEMA), _traits(calls)


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
    ids = [call.messageId or "" for call in calls]
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
        texts = [call.timestamp or call.originalTimestamp or call.sentAt or call.receivedAt for call in calls]
    try:
        instants = pc.cast(pa.array(texts, pa.string()), _INSTANT).cast(pa.int64())
    except pa.ArrowInvalid:
        parsed = [None if text is None else parse_instant(text) for text in texts]
        if any(instant is None and text is not None for instant, text in zip(parsed, texts, strict=True)):
            raise _UnfitError from None
        instants = pa.array(parsed, pa.int64())
    return pc.fill_null(instants, now_us)


def _objects(raws: list[Raw]) -> pa.Array:
    """The JSON text of objects; null where nothing was sent."""
    texts = pa.array(list(map(bytes, raws)), pa.string())
    if not pc.all(pc.or_(pc.starts_with(texts, "{"), pc.equal(texts, "null")), min_count=0).as_py():
        raise _UnfitError
    return pc.if_else(pc.equal(texts, "null"), pa.scalar(None, pa.string()), texts)


def _says_left(call: _Call) -> bool | None:
    """Whether a Group call takes its user out of the account: `context.left: true`, a convention of ours."""
    if call.kind != "group":
        return None
    context = bytes(call.context)
    if b'"left"' not in context:
        return False
    try:
        return _left_decoder.decode(context).left is True
    except msgspec.ValidationError:
        return False


def _traits(calls: Sequence[_Call]) -> pa.Table:
    rows: list[int] = []
    keys: list[str] = []
    values: list[bytes] = []
    for row, call in enumerate(calls):
        if isinstance(call, (_Identify, _Group)) and call.traits:
            rows.extend([row] * len(call.traits))
            keys.extend(call.traits)
            values.extend(map(bytes, call.traits.values()))
    arrays = [pa.array(rows, pa.int64()), pa.array(keys, pa.string()), pa.array(values, pa.string())]
    return pa.Table.from_arrays(arrays, schema=TRAIT_SCHEMA)
