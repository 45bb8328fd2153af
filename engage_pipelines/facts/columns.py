"""Columns of Segment-spec calls, and the traits that some of them carry, from decoded blocks of lines.

Properties, context and the values of traits stay the JSON text that was sent. Where `timestamp` is missing, `originalTimestamp`, `sentAt`,
`receivedAt` and at last the instant of ingestion stand in.
"""

# pyarrow has no types of its own
# pyright: reportUnknownParameterType=false, reportAttributeAccessIssue=false

import gc
import hashlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Raw, Struct

from engage_pipelines.facts.calls import Call, Group, Identify, Page, Reject, Screen, decode_lines, without_faults
from engage_pipelines.facts.instants import parse_instants
from engage_pipelines.facts.lines import Block

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


class _Left(Struct):
    left: bool | None = None


_left_decoder = msgspec.json.Decoder(_Left)


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
        calls, lines = decode_lines(block, rejects)
        try:
            table, traits = to_columns(calls, lines, block, now_us=now_us)
        except (_UnfitError, pa.ArrowInvalid):
            calls, lines = without_faults(calls, lines, rejects)
            table, traits = to_columns(calls, lines, block, now_us=now_us)
    return Batch(table, traits, tuple(sorted(rejects, key=lambda reject: reject.line)))


@contextmanager
def _no_search_for_cycles() -> Generator[None]:
    """Calls hold no cycles, and looking for some after every few hundred objects costs a sixth of the time."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def to_columns(calls: Sequence[Call], lines: Sequence[int], block: Block, *, now_us: int) -> tuple[pa.Table, pa.Table]:
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


def _name_views(calls: Sequence[Call]) -> None:
    """Page and screen calls become the events `Page Viewed` and `Screen Viewed`, their name a property."""
    for call in calls:
        if isinstance(call, Page | Screen):
            key = f"{call.kind}_name"
            call.event = f"{call.kind.capitalize()} Viewed"
            if call.name is not None and bytes(call.properties)[:1] in (b"{", b"n"):
                call.properties = _with_property(call.properties, key, call.name)


def _with_property(properties: Raw, key: str, value: str) -> Raw:
    inside = msgspec.json.decode(properties, type=dict[str, Raw] | None) or {}
    inside[key] = Raw(msgspec.json.encode(value))
    return Raw(msgspec.json.encode(inside))


def _message_ids(block: Block, calls: Sequence[Call], lines: Sequence[int]) -> list[str]:
    """A call without messageId is known by the hash of its line, so that the same line twice counts once."""
    ids = [call.message_id or "" for call in calls]
    if "" in ids:
        texts = block.data.split(b"\n")
        for index, own in enumerate(ids):
            if not own:
                text = texts[lines[index] - block.first_line].strip()
                ids[index] = f"auto-{hashlib.blake2b(text, digest_size=16).hexdigest()}"
    return ids


def _instants(calls: Sequence[Call], now_us: int) -> pa.Array:
    texts = [call.timestamp for call in calls]
    if None in texts:
        texts = [call.instant_text for call in calls]
    instants = parse_instants(texts)
    if instants is None:
        raise _UnfitError
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


def _says_left(call: Call) -> bool:
    """Whether a Group call takes its user out of the account: `context.left: true`, a convention of ours."""
    context = bytes(call.context)
    if b'"left"' not in context:
        return False
    try:
        return _left_decoder.decode(context).left is True
    except msgspec.ValidationError:
        return False


def _traits(calls: Sequence[tuple[int, Call]]) -> pa.Table:
    rows: list[int] = []
    keys: list[str] = []
    values: list[Raw] = []
    for row, call in calls:
        if isinstance(call, Identify | Group) and call.traits:
            rows += [row] * len(call.traits)
            keys += call.traits
            values += call.traits.values()
    return pa.Table.from_arrays([pa.array(rows, pa.int64()), pa.array(keys, pa.string()), _texts(values)], schema=TRAIT_SCHEMA)
