"""Computed traits over the API: listed, made, changed, deleted, evaluated on demand. Segment's shapes, and SELECTs, which are ours."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import Field

from engage_pipelines.domain.computation import AccountTraitConflict, Level, TraitType, check_key
from engage_pipelines.domain.errors import ConfigurationError, ConflictError, DefinitionError, UsageError
from engage_pipelines.registry.audit import authors_of
from engage_pipelines.registry.definitions import type_of_trait
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.overview import Condition, conditions
from engage_pipelines.registry.runs import request_compute
from engage_pipelines.registry.tables import computation
from engage_pipelines.registry.tokens import Role
from engage_pipelines.registry.traits import NewTrait, TraitFields, check_conflict, conflict_of, create_trait, delete_trait, update_trait
from engage_pipelines.server.api.audiences import MOST_QUERY, key_for
from engage_pipelines.server.api.calls import PAGINATION, Answer, AtFieldError, Body, Call, Operation, Query, at_field, instant
from engage_pipelines.server.api.pages import page_of, read_page
from engage_pipelines.server.api.things import trait_of

_NAME = Annotated[str, Field(min_length=1, max_length=300)]
_TEXT = Annotated[str, Field(max_length=10_000)]
_CADENCE = Annotated[str, Field(min_length=1, max_length=100)]
_CONFLICT = Literal["latest", "list", "skip"]
_LEVELS = {"USERS": Level.USER, "ACCOUNTS": Level.ACCOUNT}
_TYPES = {"user": "USERS", "account": "ACCOUNTS"}
_KINDS = {"COMPUTED": TraitType.COMPUTED, "SQL": TraitType.SQL}


class TraitDefinition(Body):
    """What the value is: text in the query language, or with `language` SQL, which is ours, a SELECT over the facts."""

    query: Annotated[str, Field(min_length=1, max_length=MOST_QUERY)]
    type: Literal["USERS", "ACCOUNTS"]
    language: Literal["COMPUTED", "SQL"] | None = None


class TraitOptions(Body):
    """What Segment asks of a trait; here the whole history counts, so that one answer alone fits."""

    includeHistoricalData: bool | None = None
    includeAnonymousUsers: bool | None = None
    backfillDurationDays: int | None = None


class CreateTrait(Body):
    """CreateComputedTraitAlphaInput; `key`, made from the name unless given, `cadence` and `accountTraitConflict` are ours."""

    name: _NAME
    definition: TraitDefinition
    enabled: bool = True
    description: _TEXT = ""
    options: TraitOptions | None = None
    key: Annotated[str, Field(max_length=255)] | None = None
    cadence: _CADENCE | None = None
    accountTraitConflict: _CONFLICT | None = None


class UpdateTrait(Body):
    """UpdateComputedTraitForSpaceAlphaInput; with `updatedAt`, or the header If-Match, only what was read is changed."""

    name: _NAME | None = None
    enabled: bool | None = None
    description: _TEXT | None = None
    definition: TraitDefinition | None = None
    cadence: _CADENCE | None = None
    accountTraitConflict: _CONFLICT | None = None
    updatedAt: Annotated[str, Field(max_length=40)] | None = None


def trait_data(c: sa.Connection, space: Row, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The traits as Segment's clients read them; a few queries whatever their number."""
    authors = authors_of(c, [_object(space, row) for row in rows])
    found = zip(rows, conditions(c, space.id, rows), strict=True)
    return [_data(row, one, authors.get(_object(space, row), ("", ""))) for row, one in found]


def _data(row: Row, one: Condition, authors: tuple[str, str]) -> dict[str, Any]:
    return {
        "id": row.id,
        "spaceId": row.space_id,
        "name": row.name,
        "description": row.description,
        "key": row.key,
        "enabled": row.enabled,
        "definition": {"query": row.definition, "type": _TYPES[row.level], "language": type_of_trait(row).upper()},
        "status": one.status,
        "options": {"includeHistoricalData": True},
        "cadence": row.cadence,
        "accountTraitConflict": str(conflict_of(row)),
        "createdBy": authors[0],
        "updatedBy": authors[1],
        "createdAt": instant(row.created_at),
        "updatedAt": instant(row.updated_at),
        "size": {"type": _TYPES[row.level], **({} if one.size is None else {"count": one.size})},
        "version": row.current_version,
        "heldVersion": one.held,
        "lastError": row.last_error,
    }


def _list(call: Call) -> Answer:
    page = read_page(call.query)
    t = computation.c
    with call.registry.database.read() as c:
        space = call.space(c)
        wanted = [t.space_id == space.id, t.kind == "trait", t.deleted_at.is_(None)]
        if search := call.query.get("search", ""):
            wanted.append(sa.or_(*(column.icontains(search, autoescape=True) for column in (t.name, t.key))))
        found = page_of(c, sa.select(computation).where(*wanted), t.key, page)
        return Answer({"computedTraits": trait_data(c, space, found.rows), "pagination": found.pagination})


def _get(call: Call) -> Answer:
    with call.registry.database.read() as c:
        space = call.space(c)
        return _one(c, space, trait_of(c, space, call.part("id")))


def _create(call: Call) -> Answer:
    said = call.said(CreateTrait)
    _check_options(said.options)
    with at_field("key", ConfigurationError):
        key = check_key(key_for(said.key, said.name), "trait key")
    kind = _KINDS[said.definition.language or "COMPUTED"]
    with at_field("accountTraitConflict"):
        conflict = check_conflict(said.accountTraitConflict or AccountTraitConflict.LATEST, _LEVELS[said.definition.type], kind)
    new = NewTrait(
        key=key,
        level=_LEVELS[said.definition.type],
        definition=said.definition.query,
        type=kind,
        name=said.name,
        description=said.description,
        cadence=said.cadence or "",
        enabled=said.enabled,
        account_trait_conflict=conflict,
    )
    with call.registry.change() as change:
        space = call.space(change.c)
        with at_field("definition.query", DefinitionError), at_field("key", ConflictError), at_field("cadence", ConfigurationError):
            row = create_trait(change, space, new)
        return _one(change.c, space, row)


def _update(call: Call) -> Answer:
    said = call.said(UpdateTrait)
    with call.registry.change() as change:
        space = call.space(change.c)
        row = trait_of(change.c, space, call.part("id"))
        call.check_fresh(row, given=said.updatedAt, render=lambda: trait_data(change.c, space, [row])[0])
        fields: TraitFields = {}
        for name in ("name", "enabled", "description", "cadence"):
            if getattr(said, name) is not None:
                fields[name] = getattr(said, name)
        if said.accountTraitConflict is not None:
            with at_field("accountTraitConflict"):
                fields["account_trait_conflict"] = check_conflict(said.accountTraitConflict, Level(row.level), type_of_trait(row))
        if said.definition is not None:
            fields["definition"] = _same_kind(row, said.definition)
        with at_field("definition.query", DefinitionError), at_field("cadence", ConfigurationError):
            updated = update_trait(change, space, row.key, **fields)
        return _one(change.c, space, updated)


def _same_kind(row: Row, said: TraitDefinition) -> str:
    """The text. Raises AtFieldError for another level or language than the trait has."""
    if said.type != _TYPES[row.level]:
        raise AtFieldError(
            UsageError(f"The trait is one of {_TYPES[row.level]}.", "Its level never changes; make another."), "definition.type"
        )
    kind = type_of_trait(row)
    if said.language is not None and _KINDS[said.language] is not kind:
        what = f"The trait is of type {kind.upper()}."
        raise AtFieldError(UsageError(what, "Its type never changes; make another."), "definition.language")
    return said.query


def _remove(call: Call) -> Answer:
    with call.registry.change() as change:
        space = call.space(change.c)
        row = trait_of(change.c, space, call.part("id"))
        call.check_fresh(row, given=None, render=lambda: trait_data(change.c, space, [row])[0])
        delete_trait(change, space, row.key)
    return Answer({"status": "SUCCESS"})


def _run(call: Call) -> Answer:
    with call.registry.change() as change:
        space = call.space(change.c)
        request_id = request_compute(change, space, [trait_of(change.c, space, call.part("traitId"))])
    return Answer({"run": {"id": request_id}})


def _one(c: sa.Connection, space: Row, row: Row) -> Answer:
    return Answer({"computedTrait": trait_data(c, space, [row])[0]}, row.updated_at)


def _check_options(said: TraitOptions | None) -> None:
    given = {} if said is None else said.model_dump(exclude_none=True)
    for name, value in given.items():
        if (name, value) != ("includeHistoricalData", True):
            what = "Computed traits count the whole history, of people who are identified."
            raise AtFieldError(UsageError(what, "Leave it out, and write `within` in the definition."), f"options.{name}")


def _object(space: Row, row: Row) -> str:
    return f"trait {space.key}/{row.key}"


_PATH = "/spaces/{spaceId}/computed-traits"
_ONE = f"{_PATH}/{{id}}"
OPERATIONS = (
    Operation("listComputedTraits", "GET", _PATH, _list, "The computed traits of a space", ("computedTraits", "pagination"),
              query=(PAGINATION, Query("search", "A part of the name or the key.")), version="v1alpha", kept=True),
    Operation("createComputedTrait", "POST", _PATH, _create, "Make a computed trait", ("computedTrait",),
              role=Role.OPERATOR, body=CreateTrait, version="v1alpha"),
    Operation("getComputedTrait", "GET", _ONE, _get, "One computed trait", ("computedTrait",), version="v1alpha", kept=True),
    Operation("updateComputedTraitForSpace", "PATCH", _ONE, _update, "Change a computed trait", ("computedTrait",),
              role=Role.OPERATOR, body=UpdateTrait, version="v1alpha"),
    Operation("removeComputedTraitFromSpace", "DELETE", _ONE, _remove, "Delete a computed trait", ("status",),
              role=Role.ADMIN, version="v1alpha"),
    Operation("runComputedTrait", "POST", "/x/spaces/{spaceId}/computed-traits/{traitId}/runs", _run, "Ask for an evaluation now", ("run",),
              role=Role.OPERATOR),
)  # fmt: skip
