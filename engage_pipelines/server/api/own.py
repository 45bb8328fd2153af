"""What Segment has no operation for, under `/x/`: imports, syncs on demand, dead letters, explanations, people left out."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import Field

from engage_pipelines.delivery.dead_letters import DeadLetter, Wanted, discard, find_dead_letters, list_dead_letters
from engage_pipelines.domain.connection import RequestKind
from engage_pipelines.domain.errors import ConfigurationError, ConflictError, NotFoundError, UsageError
from engage_pipelines.registry import suppression
from engage_pipelines.registry.connections import request_sync
from engage_pipelines.registry.destinations import import_configuration
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.status import list_status
from engage_pipelines.registry.tables import destination
from engage_pipelines.registry.tokens import Role
from engage_pipelines.server.api.calls import PAGINATION, Answer, AtFieldError, Body, Call, Operation, Query, at_field, instant
from engage_pipelines.server.api.destinations import destination_data
from engage_pipelines.server.api.pages import page_of_list, read_page
from engage_pipelines.server.api.things import audience_of, computation_of, connection_of, destination_in, destination_of, source_of

_ID = Annotated[str, Field(min_length=1, max_length=300)]
_MOST_IDS = 10_000


class ImportDestination(Body):
    """Which configuration of which source to copy into the space, and what to call it there."""

    sourceId: _ID
    destinationId: _ID
    key: Annotated[str, Field(max_length=255)] | None = None
    name: Annotated[str, Field(min_length=1, max_length=300)] | None = None


class ChooseDeadLetters(Body):
    """Which dead letters: ids, or filters, or all of them; exactly one of the three."""

    ids: Annotated[list[_ID], Field(min_length=1, max_length=_MOST_IDS)] | None = None
    all: bool = False
    audienceId: _ID | None = None
    destinationId: _ID | None = None
    reason: Annotated[str, Field(min_length=1, max_length=500)] | None = None


class NameProfile(Body):
    """A person by one identifier."""

    kind: Literal["user_id", "email", "anonymous_id"]
    id: Annotated[str, Field(min_length=1, max_length=1_000)]


def _import(call: Call) -> Answer:
    said = call.said(ImportDestination)
    with call.registry.change() as change:
        space = call.space(change.c)
        with at_field("sourceId"):
            of_space, on = source_of(change.c, call, said.sourceId)
        if on is None or of_space.id != space.id:
            raise AtFieldError(UsageError("That is no source of this space.", "See GET /sources."), "sourceId")
        with at_field("destinationId"):
            _space, original = destination_of(change.c, call, said.destinationId)
        if original.source_id != on.id:
            raise AtFieldError(NotFoundError("The source has no such configuration.", "See its connected destinations."), "destinationId")
        with at_field("key", ConfigurationError), at_field("destinationId", ConflictError):
            row = import_configuration(change, space, f"{on.key}/{original.key}", key=said.key or "", name=said.name or "")
    return Answer({"destination": destination_data(call.registry, row)}, row.updated_at)


def _asking(kind: RequestKind) -> Callable[[Call], Answer]:
    def ask(call: Call) -> Answer:
        with call.registry.change() as change:
            space = call.space(change.c)
            of = computation_of(change.c, space, call)
            row = connection_of(change.c, of, call.part("connectionId"))
            request_id = request_sync(change, space, of, change.row(destination, row.destination_id), kind=kind)
        return Answer({"request": {"id": request_id, "kind": str(kind), "state": "owed"}})

    return ask


def _status(call: Call) -> Answer:
    with call.registry.database.read() as c:
        rows = list_status(c, call.space(c).id)
    names = [f"{row.audience}\t{row.destination}" for row in rows]
    found = page_of_list(rows, names, read_page(call.query))
    told = [{**asdict(row), "last_sync_at": instant(row.last_sync_at)} for row in found.rows]
    return Answer({"connections": told, "pagination": found.pagination})


def _explain(call: Call) -> Answer:
    from engage_pipelines.computing.explained import explain_member  # noqa: PLC0415 - brings DuckDB
    from engage_pipelines.computing.questions import Desk  # noqa: PLC0415

    member = call.query.get("member", "")
    if not member:
        raise AtFieldError(UsageError("Nobody is named.", "Say member=USER_ID, an e-mail address, or a group id."), "member")
    with call.registry.database.read() as c:
        space = call.space(c)
        of = audience_of(c, space, call.part("audienceId"))
    return Answer({"explanation": explain_member(Desk(call.settings, call.registry.database, space.key), of.key, member).told})


# ---- dead letters


def _letters(call: Call) -> Answer:
    page = read_page(call.query)
    with call.registry.database.read() as c:
        space = call.space(c)
        letters = list_dead_letters(c, space.id, _filtered(c, space, call.query.get("audienceId"), call.query.get("destinationId")))
    letters = sorted(letters, key=lambda letter: letter.id)
    found = page_of_list(letters, [letter.id for letter in letters], page)
    return Answer({"deadLetters": [_letter(letter) for letter in found.rows], "pagination": found.pagination})


def _one_letter(call: Call) -> Answer:
    """With the payload as it was sent: personal data, so it takes the permission."""
    import orjson  # noqa: PLC0415

    from engage_pipelines.delivery.payloads import frozen_record  # noqa: PLC0415 - brings pyarrow

    with call.registry.database.read() as c:
        (letter,) = find_dead_letters(c, call.space(c).id, [call.part("id")])
    record = frozen_record(letter, call.settings.generations_dir)
    told = {**_letter(letter), "address": letter.address, "messageId": letter.message_id}
    return Answer({"deadLetter": {**told, "payload": None if record is None else orjson.loads(record.body)}})


def _replay(call: Call) -> Answer:
    from engage_pipelines.delivery.replay import replay  # noqa: PLC0415 - brings pyarrow

    with call.registry.change() as change:
        space = call.space(change.c)
        done = replay(change, space.id, _chosen(change.c, space, call.said(ChooseDeadLetters)), call.settings.generations_dir)
    return Answer(
        {"replayed": {"asItWas": done.as_it_was, "anew": done.anew, "mappingOff": done.mapping_off, "waits": list(done.not_sending)}}
    )


def _discard(call: Call) -> Answer:
    from engage_pipelines.delivery.payloads import sweep  # noqa: PLC0415 - brings pyarrow

    with call.registry.change() as change:
        space = call.space(change.c)
        gone = discard(change, space.id, _chosen(change.c, space, call.said(ChooseDeadLetters)))
    sweep(call.registry.database, Path(call.settings.generations_dir))
    return Answer({"discarded": len(gone)})


def _chosen(c: sa.Connection, space: Row, said: ChooseDeadLetters) -> set[str]:
    filtered = any(one is not None for one in (said.audienceId, said.destinationId, said.reason))
    if (said.ids is not None) + filtered + said.all != 1:
        raise AtFieldError(UsageError("Say which dead letters: ids, or filters, or all.", "Give one of the three."), "ids")
    if said.ids is not None:
        with at_field("ids"):
            return {letter.id for letter in find_dead_letters(c, space.id, set(said.ids))}
    wanted = _filtered(c, space, said.audienceId, said.destinationId, said.reason)
    return {letter.id for letter in list_dead_letters(c, space.id, wanted)}


def _filtered(c: sa.Connection, space: Row, audience: str | None, to: str | None, reason: str | None = None) -> Wanted:
    with at_field("audienceId"):
        audience_id = None if audience is None else audience_of(c, space, audience).id
    with at_field("destinationId"):
        destination_id = None if to is None else destination_in(c, space, to).id
    return Wanted(audience_id=audience_id, destination_id=destination_id, reason=reason)


def _letter(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "audience": letter.audience,
        "destination": letter.destination,
        "kind": letter.kind,
        "call": letter.call,
        "change": letter.change,
        "attempts": letter.attempts,
        "failedAt": instant(letter.failed_at),
        "retryAt": instant(letter.retry_at),
        "reason": letter.reason,
    }


# ---- people


def _suppress(call: Call) -> Answer:
    said = call.said(NameProfile)
    with call.registry.change() as change:
        new = suppression.suppress(change, call.space(change.c), suppression.Profile(said.kind, said.id))
    return Answer({"profile": {"suppressed": True, "new": new}})


def _unsuppress(call: Call) -> Answer:
    said = call.said(NameProfile)
    with call.registry.change() as change:
        suppression.unsuppress(change, call.space(change.c), suppression.Profile(said.kind, said.id))
    return Answer({"profile": {"suppressed": False}})


_SPACE = "/x/spaces/{spaceId}"
_AUDIENCE = f"{_SPACE}/audiences/{{audienceId}}"
_SYNCS: Sequence[tuple[RequestKind, str]] = (
    (RequestKind.SYNC, "Send what is owed now"),
    (RequestKind.BACKFILL, "Send every member, as on the first day"),
    (RequestKind.RESYNC, "Send every member again, and the exits owed"),
)
OPERATIONS = (
    Operation("importDestination", "POST", f"{_SPACE}/destinations/import", _import, "Copy a configuration from a source", ("destination",),
              role=Role.ADMIN, body=ImportDestination),
    *(Operation(f"{kind}{of}Connection", "POST", f"{_SPACE}/{path}/destination-connections/{{connectionId}}/{kind}", _asking(kind), text,
                ("request",), role=Role.OPERATOR)
      for of, path in (("", "audiences/{audienceId}"), ("Trait", "computed-traits/{traitId}")) for kind, text in _SYNCS),
    Operation("listStatus", "GET", f"{_SPACE}/status", _status, "How every connection is", ("connections", "pagination"),
              query=(PAGINATION,)),
    Operation("explainMember", "GET", f"{_AUDIENCE}/explain", _explain, "Why someone is in an audience or not", ("explanation",),
              members=True, query=(Query("member", "A user id, an e-mail address, or a group id."),)),
    Operation("listDeadLetters", "GET", f"{_SPACE}/dead-letters", _letters, "Records that were refused or never answered",
              ("deadLetters", "pagination"),
              query=(Query("audienceId", "Of this audience."), Query("destinationId", "For this destination."), PAGINATION)),
    Operation("getDeadLetter", "GET", f"{_SPACE}/dead-letters/{{id}}", _one_letter, "One of them, with the payload", ("deadLetter",),
              members=True),
    Operation("replayDeadLetters", "POST", f"{_SPACE}/dead-letters/replay", _replay, "Have them sent by the next sync", ("replayed",),
              role=Role.OPERATOR, body=ChooseDeadLetters),
    Operation("discardDeadLetters", "POST", f"{_SPACE}/dead-letters/discard", _discard, "Give them up", ("discarded",),
              role=Role.OPERATOR, body=ChooseDeadLetters),
    Operation("suppressProfile", "POST", f"{_SPACE}/profiles/suppress", _suppress, "Keep a person out of every audience", ("profile",),
              role=Role.ADMIN, members=True, body=NameProfile),
    Operation("unsuppressProfile", "POST", f"{_SPACE}/profiles/unsuppress", _unsuppress, "Let a person in again", ("profile",),
              role=Role.ADMIN, members=True, body=NameProfile),
)  # fmt: skip
