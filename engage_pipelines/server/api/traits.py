"""Computed traits over the API: listed, made, changed, deleted, evaluated on demand. Segment's shapes, and SELECTs, which are ours."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import Field

from engage_pipelines.domain.computation import AccountTraitConflict, Level, TraitType, check_key
from engage_pipelines.domain.errors import ConfigurationError, ConflictError, DefinitionError, UsageError
from engage_pipelines.registry.definitions import type_of_trait
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.runs import request_compute
from engage_pipelines.registry.tables import computation
from engage_pipelines.registry.tokens import Role
from engage_pipelines.registry.traits import NewTrait, TraitFields, check_conflict, conflict_of, create_trait, delete_trait, update_trait
from engage_pipelines.server.api.calls import PAGINATION, Answer, AtFieldError, Body, Call, Operation, Query, at_field
from engage_pipelines.server.api.computations import LEVELS, TYPES, Instant, Key, Name, QueryText, Text, key_for, of_space, told_of
from engage_pipelines.server.api.pages import page_of, read_page
from engage_pipelines.server.api.things import trait_of

_CADENCE = Annotated[str, Field(min_length=1, max_length=100)]
_CONFLICT = Literal["latest", "list", "skip"]
_KINDS = {"COMPUTED": TraitType.COMPUTED, "SQL": TraitType.SQL}


class TraitDefinition(Body):
    """What the value is: text in the query language, or with `language` SQL, which is ours, a SELECT over the facts."""

    query: QueryText
    type: Literal["USERS", "ACCOUNTS"]
    language: Literal["COMPUTED", "SQL"] | None = None


class TraitOptions(Body):
    """What Segment asks of a trait; here the whole history counts, so that one answer alone fits."""

    includeHistoricalData: bool | None = None
    includeAnonymousUsers: bool | None = None
    backfillDurationDays: int | None = None


class CreateTrait(Body):
    """CreateComputedTraitAlphaInput; `key`, made from the name unless given, `cadence` and `accountTraitConflict` are ours."""

    name: Name
    definition: TraitDefinition
    enabled: bool = True
    description: Text = ""
    options: TraitOptions | None = None
    key: Key | None = None
    cadence: _CADENCE | None = None
    accountTraitConflict: _CONFLICT | None = None


class UpdateTrait(Body):
    """UpdateComputedTraitForSpaceAlphaInput; with `updatedAt`, or the header If-Match, only what was read is changed."""

    name: Name | None = None
    enabled: bool | None = None
    description: Text | None = None
    definition: TraitDefinition | None = None
    cadence: _CADENCE | None = None
    accountTraitConflict: _CONFLICT | None = None
    updatedAt: Instant | None = None


def trait_data(c: sa.Connection, space: Row, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The traits as Segment's clients read them; a few queries whatever their number."""
    return [{**told, **_own(row)} for row, told in told_of(c, space, rows)]


def _own(row: Row) -> dict[str, Any]:
    return {
        "definition": {"query": row.definition, "type": TYPES[row.level], "language": type_of_trait(row).upper()},
        "options": {"includeHistoricalData": True},
        "cadence": row.cadence,
        "accountTraitConflict": str(conflict_of(row)),
        "lastError": row.last_error,
    }


def _list(call: Call) -> Answer:
    page = read_page(call.query)
    with call.registry.database.read() as c:
        space = call.space(c)
        found = page_of(c, of_space(space, "trait", call.query.get("search", "")), computation.c.key, page)
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
        conflict = check_conflict(said.accountTraitConflict or AccountTraitConflict.LATEST, LEVELS[said.definition.type], kind)
    new = NewTrait(
        key=key,
        level=LEVELS[said.definition.type],
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
    if said.type != TYPES[row.level]:
        raise AtFieldError(
            UsageError(f"The trait is one of {TYPES[row.level]}.", "Its level never changes; make another."), "definition.type"
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
