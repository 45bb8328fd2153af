"""Audiences over the API: listed, made, changed, deleted, evaluated on demand, and what uses them."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import Field

from engage_pipelines.domain.computation import check_key
from engage_pipelines.domain.errors import ConfigurationError, ConflictError, DefinitionError, UsageError
from engage_pipelines.registry.audience_options import check_options, external_ids
from engage_pipelines.registry.audiences import AudienceFields, NewAudience, create_audience, delete_audience, update_audience
from engage_pipelines.registry.definitions import users_of
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.runs import request_compute
from engage_pipelines.registry.tables import computation
from engage_pipelines.registry.tokens import Role
from engage_pipelines.server.api.calls import PAGINATION, Answer, AtFieldError, Body, Call, Operation, Query, at_field
from engage_pipelines.server.api.computations import LEVELS, TYPES, Instant, Key, Name, QueryText, Text, key_for, of_space, told_of
from engage_pipelines.server.api.pages import page_of, read_page
from engage_pipelines.server.api.schedules import schedules_of
from engage_pipelines.server.api.things import audience_of


class Definition(Body):
    """A definition in the query language; `type` is what older clients send along, and must fit the audience."""

    query: QueryText
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

    name: Name
    audienceType: Literal["USERS", "ACCOUNTS", "LINKED"]
    definition: Definition
    enabled: bool = True
    description: Text = ""
    options: Options | None = None
    key: Key | None = None


class UpdateAudience(Body):
    """UpdateAudienceForSpaceInput; with `updatedAt`, or the header If-Match, only what was read is changed."""

    name: Name | None = None
    enabled: bool | None = None
    description: Text | None = None
    definition: Definition | None = None
    options: Options | None = None
    updatedAt: Instant | None = None


_OPTION_NAMES = {
    "includeHistoricalData": "include_historical_data",
    "filterByExternalIds": "filter_by_external_ids",
    "backfillEventDataDays": "backfill_event_data_days",
    "computeWithoutDestinations": "compute_without_destinations",
    "includeAnonymousUsers": "include_anonymous",
}


def audience_data(c: sa.Connection, space: Row, rows: Sequence[Row], *, schedules_at: int | None = None) -> list[dict[str, Any]]:
    """The audiences as Segment's clients read them, with schedules when an instant is given; a few queries whatever their number."""
    return [{**told, **_own(row, schedules_at)} for row, told in told_of(c, space, rows)]


def _own(row: Row, schedules_at: int | None) -> dict[str, Any]:
    options: dict[str, Any] = {
        "filterByExternalIds": list(external_ids(row.options)),
        "includeHistoricalData": row.options.get("include_historical_data", True),
        "computeWithoutDestinations": row.options.get("compute_without_destinations", True),
    }
    if "backfill_event_data_days" in row.options:
        options["backfillEventDataDays"] = row.options["backfill_event_data_days"]
    own: dict[str, Any] = {
        "definition": {"query": row.definition, "type": TYPES[row.level]},
        "audienceType": TYPES[row.level],
        "computeCadence": {"type": "BATCH"},
        "options": options,
    }
    if schedules_at is not None:
        own["schedules"] = schedules_of(row, schedules_at)
    return own


def _list(call: Call) -> Answer:
    page = read_page(call.query)
    with call.registry.database.read() as c:
        space = call.space(c)
        found = page_of(c, of_space(space, "audience", call.query.get("search", "")), computation.c.key, page)
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
    level = LEVELS[said.audienceType]
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
            fields["definition"] = _query(said.definition, TYPES[row.level])
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
        users = of_space(space, "audience", call.query.get("search", "")).where(computation.c.key.in_(users_of(c, space.id, row.key)))
        found = page_of(c, users, computation.c.key, page)
        return Answer({"audiences": audience_data(c, space, found.rows), "pagination": found.pagination})


def _one(call: Call, c: sa.Connection, space: Row, row: Row) -> Answer:
    told = audience_data(c, space, [row], schedules_at=_schedules_at(call, c))[0]
    return Answer({"audience": told}, row.updated_at)


def _schedules_at(call: Call, c: sa.Connection) -> int | None:
    include = call.query.get("include", "")
    if include not in {"", "schedules"}:
        raise AtFieldError(UsageError("Only schedules can be included.", "Write include=schedules."), "include")
    return call.registry.database.now_us(c) if include else None


def _query(said: Definition, audience_type: str) -> str:
    if said.type not in {None, audience_type}:
        raise AtFieldError(UsageError(f"The audience is of {audience_type}.", "Leave `type` out of the definition."), "definition.type")
    return said.query


def _options(said: Options | None) -> dict[str, Any]:
    given: Mapping[str, Any] = {} if said is None else said.model_dump(exclude_none=True)
    return {_OPTION_NAMES[name]: value for name, value in given.items()}


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
