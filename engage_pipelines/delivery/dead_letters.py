"""Dead letters: records that a destination refused, or whose fate nobody knows, as people find them and give them up.

They are the exceptions of the protocol (`domain.protocol`). Each is known by a short id that stays the same while it fails and says nothing
of the address; where its payload lies, and when that goes, is told in `payloads`, how it is sent again in `replay`.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from engage_pipelines.domain.errors import NotFoundError
from engage_pipelines.domain.protocol import ExceptionKind
from engage_pipelines.domain.records import CALL_LETTERS
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.lookup import Row

KINDS = (ExceptionKind.REJECTED, ExceptionKind.RETRYABLE)
IDS_IN_AUDIT = 100

_CALLS = {letter: call for call, letter in CALL_LETTERS.items()}


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record that failed; `failed_at` and `retry_at` in UTC microseconds, `entered` is what it says of the membership.

    `of_kind` is what the connection sends, `audience` or `trait`; of a trait, `entered` says that it had a value.
    """

    id: str
    audience: str
    of_kind: str
    destination: str
    kind: str
    call: str
    entered: bool
    reason: str
    attempts: int
    failed_at: int
    retry_at: int | None
    message_id: str
    generation: int
    seq: int
    """Where the payload lies; below zero (its complement) once a replay is to render it anew."""
    connection_id: str
    replica: str
    part: str
    address: str = field(repr=False)

    @property
    def change(self) -> str:
        """What the record says: of an audience entered or exited, of a trait its value or that there is none any more."""
        if self.of_kind == "trait":
            return "value" if self.entered else "no value any more"
        return "entered" if self.entered else "exited"

    @property
    def is_rendered_anew(self) -> bool:
        """True once a replay found that its payload cannot be sent as it is."""
        return self.seq < 0

    @property
    def place(self) -> tuple[int, int]:
        """Generation and seq of the payload."""
        return self.generation, ~self.seq if self.is_rendered_anew else self.seq


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters are meant, each None when it does not matter: `reason` is a part of it in any case, `after_us` is included."""

    audience_id: str | None = None
    destination_id: str | None = None
    reason: str | None = None
    after_us: int | None = None
    before_us: int | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """What the database can tell; the reason is compared in Python, since SQLite lowers ASCII alone."""
        e, con = t.exception.c, t.connection.c
        found: list[sa.ColumnElement[bool]] = []
        if self.audience_id is not None:
            found.append(con.computation_id == self.audience_id)
        if self.destination_id is not None:
            found.append(con.destination_id == self.destination_id)
        if self.after_us is not None:
            found.append(e.created_at >= self.after_us)
        if self.before_us is not None:
            found.append(e.created_at < self.before_us)
        return found

    def has_reason(self, reason: str) -> bool:
        return self.reason is None or self.reason.casefold() in reason.casefold()


def list_dead_letters(c: sa.Connection, space_id: str, wanted: Wanted | None = None) -> list[DeadLetter]:
    """The dead letters of a space's connections, by connection, those that failed first before others."""
    e, con, com, dst = t.exception.c, t.connection.c, t.computation.c, t.destination.c
    asked = wanted or Wanted()
    query = (
        sa.select(t.exception, com.key.label("audience"), com.kind.label("of_kind"), dst.key.label("destination"))
        .join(t.connection, con.id == e.connection_id)
        .join(t.computation, com.id == con.computation_id)
        .join(t.destination, dst.id == con.destination_id)
        .where(com.space_id == space_id, con.removed_at.is_(None), e.kind.in_([str(kind) for kind in KINDS]))
        .where(*asked.conditions())
        .order_by(com.key, dst.key, e.connection_id, e.created_at, e.replica, e.address, e.part)
    )
    return [_letter(row) for row in c.execute(query) if asked.has_reason(row.reason)]


def find_dead_letters(c: sa.Connection, space_id: str, ids: Collection[str]) -> list[DeadLetter]:
    """The dead letters with these ids. Raises NotFoundError that names those there are not."""
    found = [letter for letter in list_dead_letters(c, space_id) if letter.id in ids]
    missing = sorted(set(ids) - {letter.id for letter in found})
    if missing:
        raise NotFoundError(
            f"There is no dead letter {', '.join(missing[:5])}.", "It may have been delivered meanwhile; see `engage deadletter list`."
        )
    return found


def discard(change: Change, space_id: str, ids: Collection[str]) -> list[DeadLetter]:
    """Give these up: nothing of them is sent until the membership changes. Gives those that were there; `payloads.sweep` does the rest."""
    discarded: list[DeadLetter] = []
    for _row, letters in locked(change, space_id, ids):
        change.c.execute(of_keys(sa.delete(t.exception)), [key_of(letter) for letter in letters])
        before = {**Counter(letter.kind for letter in letters), "ids": some_ids(letters)}
        change.record("discard", f"dead letters {letters[0].audience} -> {letters[0].destination}", before=before)
        discarded.extend(letters)
    return discarded


def locked(change: Change, space_id: str, ids: Collection[str]) -> Iterator[tuple[Row, list[DeadLetter]]]:
    """Each connection's row with the letters of it that are still there; a run that settles has to wait until the change ends."""
    seen = {letter.connection_id for letter in list_dead_letters(change.c, space_id) if letter.id in ids}
    rows = {connection_id: change.lock(t.connection, connection_id) for connection_id in sorted(seen)}
    letters = [letter for letter in list_dead_letters(change.c, space_id) if letter.id in ids and letter.connection_id in rows]
    for connection_id, several in groupby(letters, key=_connection_id):
        yield rows[connection_id], list(several)


def of_keys(statement: Any) -> Any:
    """An update or delete of the exceptions, for each set of `key_of`."""
    e = t.exception.c
    names: dict[str, sa.ColumnElement[Any]] = {
        "of_connection": e.connection_id, "of_replica": e.replica, "of_address": e.address, "of_part": e.part,
    }  # fmt: skip
    return statement.where(*(column == sa.bindparam(name) for name, column in names.items()))


def key_of(letter: DeadLetter) -> dict[str, Any]:
    """The values that `of_keys` asks for."""
    return {"of_connection": letter.connection_id, "of_replica": letter.replica, "of_address": letter.address, "of_part": letter.part}


def some_ids(letters: Sequence[DeadLetter]) -> list[str]:
    """As many ids as an audit row should hold."""
    return [letter.id for letter in letters[:IDS_IN_AUDIT]]


_connection_id: Callable[[DeadLetter], str] = lambda letter: letter.connection_id  # noqa: E731


def _letter(row: Any) -> DeadLetter:
    name = "\0".join((row.connection_id, row.replica, row.address, row.part))
    return DeadLetter(
        id=f"dl_{hashlib.sha256(name.encode()).hexdigest()[:16]}",
        audience=row.audience,
        of_kind=row.of_kind,
        destination=row.destination,
        kind=row.kind,
        call=_CALLS[row.part[:1]],
        entered=row.value,
        reason=row.reason,
        attempts=row.attempts,
        failed_at=row.created_at,
        retry_at=row.retry_at,
        message_id=row.message_id,
        generation=row.generation,
        seq=row.seq,
        connection_id=row.connection_id,
        replica=row.replica,
        part=row.part,
        address=row.address,
    )
