"""Audiences over the API: listed, made, changed, deleted, evaluated on demand, and what uses them."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import Field

from engage_pipelines.domain.computation import Level, check_key
from engage_pipelines.domain.errors import ConfigurationError, ConflictError, DefinitionError, UsageError
from engage_pipelines.registry.audience_options import check_options, external_ids
from engage_pipelines.registry.audiences import AudienceFields, NewAudience, create_audience, delete_audience, update_audience
from engage_pipelines.registry.audit import authors_of
from engage_pipelines.registry.definitions import users_of
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.overview import Condition, conditions
from engage_pipelines.registry.runs import request_compute
from engage_pipelines.registry.tables import computation
from engage_pipelines.registry.tokens import Role
from engage_pipelines.server.api.calls import PAGINATION, Answer, AtFieldError, Body, Call, Operation, Query, at_field, instant
from engage_pipelines.server.api.pages import page_of, read_page
from engage_pipelines.server.api.schedules import schedules_of
from engage_pipelines.server.api.things import audience_of

MOST_QUERY = 100_000
_NAME = Annotated[str, Field(min_length=1, max_length=300)]
_TEXT = Annotated[str, Field(max_length=10_000)]
_LEVELS = {"USERS": Level.USER, "ACCOUNTS": Level.ACCOUNT}
_TYPES = {"user": "USERS", "account": "ACCOUNTS"}


class Definition(Body):
    """A definition in the query language; `type` is what older clients send along, and must fit the audience."""

    query: Annotated[str, Field(min_length=1, max_length=MOST_QUERY)]
    type: Literal["USERS", "ACCOUNTS"] | None = None
    targetEntity: None = None


class Options(Body):
    """Options of an audience; those below the first three are ours."""

    includeHistoricalData: bool | None = None
    filterByExternalIds: Annotated[list[Annotated[str, Field(max_length=60)]], Field(max_length=20)] | None = None
    backfillEventDataDays: Annotated[int, Field(ge=1, le=3650)] | None = None
    computeWithoutDestinations: bool | None = None
    includeAnonymousUsers: bool | None = None


class CreateAudience(Body):
    """CreateAudienceInput; `key` is ours, made from the name unless given."""

    name: _NAME
    audienceType: Literal["USERS", "ACCOUNTS", "LINKED"]
    definition: Definition
    enabled: bool = True
    description: _TEXT = ""
    options: Options | None = None
    key: Annotated[str, Field(max_length=255)] | None = None


class UpdateAudience(Body):
    """UpdateAudienceForSpaceInput; with `updatedAt`, or the header If-Match, only what was read is changed."""

    name: _NAME | None = None
    enabled: bool | None = None
    description: _TEXT | None = None
    definition: Definition | None = None
    options: Options | None = None
    updatedAt: Annotated[str, Field(max_length=40)] | None = None


_OPTION_NAMES = {
    "includeHistoricalData": "include_historical_data",
    "filterByExternalIds": "filter_by_external_ids",
    "backfillEventDataDays": "backfill_event_data_days",
    "computeWithoutDestinations": "compute_without_destinations",
    "includeAnonymousUsers": "include_anonymous",
}


def audience_data(c: sa.Connection, space: Row, rows: Sequence[Row], *, schedules_at: int | None = None) -> list[dict[str, Any]]:
    """The audiences as Segment's clients read them, with schedules when an instant is given; a few queries whatever their number."""
    authors = authors_of(c, [_object(space, row) for row in rows])
    found = zip(rows, conditions(c, space.id, rows), strict=True)
    return [_data(row, one, authors.get(_object(space, row), ("", "")), schedules_at) for row, one in found]


def _data(row: Row, one: Condition, authors: tuple[str, str], schedules_at: int | None) -> dict[str, Any]:
    options: dict[str, Any] = {
        "filterByExternalIds": list(external_ids(row.options)),
        "includeHistoricalData": row.options.get("include_historical_data", True),
        "computeWithoutDestinations": row.options.get("compute_without_destinations", True),
    }
    if "backfill_event_data_days" in row.options:
        options["backfillEventDataDays"] = row.options["backfill_event_data_days"]
    size = {"type": _TYPES[row.level]} if one.size is None else {"type": _TYPES[row.level], "count": one.size}
    told: dict[str, Any] = {
        "id": row.id,
        "spaceId": row.space_id,
        "name": row.name,
        "description": row.description,
        "key": row.key,
        "enabled": row.enabled,
        "definition": {"query": row.definition, "type": _TYPES[row.level]},
        "status": one.status,
        "audienceType": _TYPES[row.level],
        "computeCadence": {"type": "BATCH"},
        "options": options,
        "size": size,
        "createdBy": authors[0],
        "updatedBy": authors[1],
        "createdAt": instant(row.created_at),
        "updatedAt": instant(row.updated_at),
        "version": row.current_version,
        "heldVersion": one.held,
    }
    if schedules_at is not None:
        told["schedules"] = schedules_of(row, schedules_at)
    return told


def _list(call: Call) -> Answer:
    page = read_page(call.query)
    with call.registry.database.read() as c:
        space = call.space(c)
        found = page_of(c, _of_space(space, call.query.get("search", "")), computation.c.key, page)
        audiences = audience_data(c, space, found.rows, schedules_at=_schedules_at(call, c))
    return Answer({"audiences": audiences, "pagination": found.pagination})


def _get(call: Call) -> Answer:
    with call.registry.database.read() as c:
        space = call.space(c)
        return _one(call, c, space, audience_of(c, space, call.part("id")))


def _create(call: Call) -> Answer:
    said = call.said(CreateAudience)
    if said.audienceType == "LINKED":
        raise AtFieldError(UsageError("Linked audiences are not known here.", "Use USERS or ACCOUNTS."), "audienceType")
    level = _LEVELS[said.audienceType]
    with at_field("key", ConfigurationError):
        key = check_key(key_for(said.key, said.name), "audience key")
    with at_field("options"):
        options = check_options(_options(said.options), level)
    query = _query(said.definition, said.audienceType)
    new = NewAudience(key, level, query, said.name, said.description, options=options, enabled=said.enabled)
    with call.registry.change() as change:
        space = call.space(change.c)
        with at_field("definition.query", DefinitionError), at_field("key", ConflictError):
            row = create_audience(change, space, new)
        return _one(call, change.c, space, row)


def _update(call: Call) -> Answer:
    said = call.said(UpdateAudience)
    with call.registry.change() as change:
        space = call.space(change.c)
        row = audience_of(change.c, space, call.part("id"))
        call.check_fresh(row, given=said.updatedAt, render=lambda: audience_data(change.c, space, [row])[0])
        fields: AudienceFields = {}
        for name in ("name", "enabled", "description"):
            if getattr(said, name) is not None:
                fields[name] = getattr(said, name)
        if said.definition is not None:
            fields["definition"] = _query(said.definition, _TYPES[row.level])
        if said.options is not None:
            fields["options"] = {**row.options, **_options(said.options)}
        with at_field("definition.query", DefinitionError), at_field("options", ConfigurationError):
            updated = update_audience(change, space, row.key, **fields)
        return _one(call, change.c, space, updated)


def _remove(call: Call) -> Answer:
    with call.registry.change() as change:
        space = call.space(change.c)
        row = audience_of(change.c, space, call.part("id"))
        call.check_fresh(row, given=None, render=lambda: audience_data(change.c, space, [row])[0])
        delete_audience(change, space, row.key)
    return Answer({"status": "SUCCESS"})


def _run(call: Call) -> Answer:
    with call.registry.change() as change:
        space = call.space(change.c)
        request_id = request_compute(change, space, [audience_of(change.c, space, call.part("audienceId"))])
    return Answer({"run": {"id": request_id}})


def _consumers(call: Call) -> Answer:
    page = read_page(call.query)
    with call.registry.database.read() as c:
        space = call.space(c)
        row = audience_of(c, space, call.part("id"))
        users = _of_space(space, call.query.get("search", "")).where(computation.c.key.in_(users_of(c, space.id, row.key)))
        found = page_of(c, users, computation.c.key, page)
        return Answer({"audiences": audience_data(c, space, found.rows), "pagination": found.pagination})


def _one(call: Call, c: sa.Connection, space: Row, row: Row) -> Answer:
    told = audience_data(c, space, [row], schedules_at=_schedules_at(call, c))[0]
    return Answer({"audience": told}, row.updated_at)


def _of_space(space: Row, search: str) -> sa.Select[Any]:
    wanted = [computation.c.space_id == space.id, computation.c.kind == "audience", computation.c.deleted_at.is_(None)]
    if search:
        wanted.append(sa.or_(*(column.icontains(search, autoescape=True) for column in (computation.c.name, computation.c.key))))
    return sa.select(computation).where(*wanted)


def _schedules_at(call: Call, c: sa.Connection) -> int | None:
    include = call.query.get("include", "")
    if include not in {"", "schedules"}:
        raise AtFieldError(UsageError("Only schedules can be included.", "Write include=schedules."), "include")
    return call.registry.database.now_us(c) if include else None


def _object(space: Row, row: Row) -> str:
    return f"audience {space.key}/{row.key}"


def _query(said: Definition, audience_type: str) -> str:
    if said.type not in {None, audience_type}:
        raise AtFieldError(UsageError(f"The audience is of {audience_type}.", "Leave `type` out of the definition."), "definition.type")
    return said.query


def _options(said: Options | None) -> dict[str, Any]:
    given: Mapping[str, Any] = {} if said is None else said.model_dump(exclude_none=True)
    return {_OPTION_NAMES[name]: value for name, value in given.items()}


def key_for(given: str | None, name: str) -> str:
    """The key given, or one made of the name. Raises AtFieldError for a name that no key can be made of."""
    if given is not None:
        return given
    key = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not key or not key[0].isalpha():
        raise AtFieldError(
            UsageError("No key can be made of this name.", "Give a `key`: a letter, then letters, digits and underscores."), "key"
        )
    return key[:255]


_PATH = "/spaces/{spaceId}/audiences"
_SEARCH = Query("search", "A part of the name or the key.")
_INCLUDE = Query("include", "What to say besides: schedules.", {"type": "string", "enum": ["schedules"]}, timely=True)
OPERATIONS = (
    Operation("listAudiences", "GET", _PATH, _list, "The audiences of a space", ("audiences", "pagination"),
              query=(PAGINATION, _SEARCH, _INCLUDE), kept=True),
    Operation("createAudience", "POST", _PATH, _create, "Make an audience", ("audience",), role=Role.OPERATOR, body=CreateAudience),
    Operation("getAudience", "GET", f"{_PATH}/{{id}}", _get, "One audience", ("audience",), query=(_INCLUDE,), kept=True),
    Operation("updateAudienceForSpace", "PATCH", f"{_PATH}/{{id}}", _update, "Change an audience", ("audience",),
              role=Role.OPERATOR, body=UpdateAudience),
    Operation("removeAudienceFromSpace", "DELETE", f"{_PATH}/{{id}}", _remove, "Delete an audience", ("status",), role=Role.ADMIN),
    Operation("forceExecuteAudienceRun", "POST", f"{_PATH}/{{audienceId}}/runs", _run, "Ask for an evaluation now", ("run",),
              role=Role.OPERATOR),
    Operation("listAudienceConsumersFromSpaceAndAudience", "GET", f"{_PATH}/{{id}}/audience-references", _consumers,
              "The audiences whose definitions refer to this one", ("audiences", "pagination"),
              query=(PAGINATION, _SEARCH), version="v1alpha"),
)  # fmt: skip
