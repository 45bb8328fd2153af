"""Activations: the mappings of one connection, by what they tell of, with an action and its fields."""

from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import Field

from engage_pipelines.domain.connection import RequestKind
from engage_pipelines.domain.errors import ConfigurationError, ConflictError, NotFoundError, UsageError
from engage_pipelines.registry.activations import add_activation, kind_of, resyncing, trigger_for
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.connections import request_sync
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.mappings import NewMapping, disable_mapping, enable_mapping, remove_mapping, update_mapping
from engage_pipelines.registry.matching import Match, matches_of
from engage_pipelines.registry.tables import connection, destination, mapping
from engage_pipelines.registry.tokens import Role
from engage_pipelines.server.api.calls import PAGINATION, Answer, AtFieldError, Body, Call, Operation, at_field, instant
from engage_pipelines.server.api.pages import page_of, read_page
from engage_pipelines.server.api.subscriptions import FIELDS
from engage_pipelines.server.api.things import audience_of, connection_of

_NAME = Annotated[str, Field(min_length=1, max_length=300)]


class ProfilePersonalization(Body):
    """Traits to ride along; here they are fields of the mapping, so this is empty."""

    properties: Annotated[list[str], Field(max_length=0)] | None = None
    mapping: Annotated[dict[str, Any], Field(max_length=0)] | None = None


class Personalization(Body):
    """See `ProfilePersonalization`."""

    profile: ProfilePersonalization | None = None
    entities: Annotated[list[Any], Field(max_length=0)] | None = None
    syncEntityPropertyChanges: Literal[False] | None = None


class DestinationMapping(Body):
    """The action, and its fields in the mapping kit's language."""

    actionId: Annotated[str, Field(min_length=1, max_length=200)]
    settings: FIELDS | None = None


class UpdatedMapping(Body):
    """The fields; the action stays what it was."""

    actionId: Annotated[str, Field(max_length=200)] | None = None
    settings: FIELDS | None = None


class AddActivation(Body):
    """AddActivationToAudienceAlphaInput; without a mapping the destination's first action is taken, with its own fields."""

    performResync: bool
    activationType: Literal["Audience Entered", "Audience Exited", "Audience Membership Changed"]
    activationName: _NAME
    enabled: bool = False
    displayName: Annotated[str, Field(max_length=300)] | None = None
    personalization: Personalization | None = None
    destinationMapping: DestinationMapping | None = None


class UpdateActivation(Body):
    """UpdateActivationForAudienceAlphaInput."""

    enabled: bool | None = None
    performResync: bool | None = None
    activationName: _NAME | None = None
    displayName: Annotated[str, Field(max_length=300)] | None = None
    personalization: Personalization | None = None
    destinationMapping: UpdatedMapping | None = None
    updatedAt: Annotated[str, Field(max_length=40)] | None = None


def _data(row: Row, of: Row, match: Match | None, *, resyncs: bool) -> dict[str, Any]:
    return {
        "id": row.id,
        "enabled": row.enabled,
        "workspaceId": "wsp_engage_pipelines",
        "spaceId": of.space_id,
        "audienceId": of.id,
        "connectionId": row.connection_id,
        "activationType": kind_of(match),
        "activationName": row.name,
        "personalization": {"profile": {"properties": []}},
        "destinationMapping": {"actionId": row.action, "settings": row.fields},
        "performResync": resyncs,
        "trigger": row.trigger,
        "updatedAt": instant(row.updated_at),
    }


def _list(call: Call) -> Answer:
    page = read_page(call.query)
    with call.registry.database.read() as c:
        of = audience_of(c, call.space(c), call.part("audienceId"))
        found = page_of(c, _activations(of), mapping.c.id, page)
        told = _told(c, of, list(found.rows))
    return Answer({"activations": told, "pagination": found.pagination})


def _get(call: Call) -> Answer:
    with call.registry.database.read() as c:
        of = audience_of(c, call.space(c), call.part("audienceId"))
        row = _find(c, of, call.part("id"))
        return Answer({"activation": _told(c, of, [row])[0]}, row.updated_at)


def _add(call: Call) -> Answer:
    said = call.said(AddActivation)
    with call.registry.change() as change:
        of = audience_of(change.c, call.space(change.c), call.part("audienceId"))
        row = connection_of(change.c, of, call.part("connectionId"))
        to = change.row(destination, row.destination_id)
        action = said.destinationMapping.actionId if said.destinationMapping else change.type_of(to.type).actions[0].key
        fields = said.destinationMapping.settings if said.destinationMapping else None
        trigger = trigger_for(said.activationType, of.key, row.calls)
        new = NewMapping(said.activationName, trigger, action, fields, said.enabled)
        with (
            at_field("destinationMapping.actionId", NotFoundError),
            at_field("activationName", ConflictError),
            at_field("destinationMapping.settings", ConfigurationError),
        ):
            made = add_activation(change, to, row, new, resync=said.performResync)
        return Answer({"activation": _told(change.c, of, [made])[0]}, made.updated_at)


def _update(call: Call) -> Answer:
    said = call.said(UpdateActivation)
    with call.registry.change() as change:
        space = call.space(change.c)
        of = audience_of(change.c, space, call.part("audienceId"))
        row = _find(change.c, of, call.part("id"))
        to = change.row(destination, row.destination_id)
        call.check_fresh(row, given=said.updatedAt, render=lambda: _told(change.c, of, [row])[0])
        changed = _changed(change, to, row, said)
        if said.enabled is not None:
            resync = said.performResync is not False
            changed = enable_mapping(change, to, changed, backfill=resync) if said.enabled else disable_mapping(change, to, changed)
        if said.performResync:
            request_sync(change, space, of, to, kind=RequestKind.RESYNC)
        return Answer({"activation": _told(change.c, of, [changed])[0]}, changed.updated_at)


def _changed(change: Change, to: Row, row: Row, said: UpdateActivation) -> Row:
    given = said.destinationMapping or UpdatedMapping()
    if given.actionId not in {None, row.action}:
        raise AtFieldError(
            UsageError(f"The action of an activation stays {row.action!r}.", "Make another activation."), "destinationMapping.actionId"
        )
    with at_field("destinationMapping.settings", ConfigurationError):
        if given.settings is not None:
            row = update_mapping(change, to, row, fields=given.settings)
    with at_field("activationName", ConfigurationError, ConflictError):
        return row if said.activationName is None else update_mapping(change, to, row, name=said.activationName)


def _remove(call: Call) -> Answer:
    with call.registry.change() as change:
        of = audience_of(change.c, call.space(change.c), call.part("audienceId"))
        row = _find(change.c, of, call.part("id"))
        remove_mapping(change, change.row(destination, row.destination_id), row)
    return Answer({"status": "SUCCESS"})


def _activations(of: Row) -> sa.Select[Any]:
    live = sa.select(connection.c.id).where(connection.c.computation_id == of.id, connection.c.removed_at.is_(None))
    return sa.select(mapping).where(mapping.c.connection_id.in_(live), mapping.c.removed_at.is_(None))


def _find(c: sa.Connection, of: Row, name: str) -> Row:
    row = c.execute(_activations(of).where(mapping.c.id == name)).first()
    if row is None:
        raise NotFoundError(f"Audience {of.key!r} has no activation {name[:80]!r}.", "See GET .../activations.")
    return row


def _told(c: sa.Connection, of: Row, rows: list[Row]) -> list[dict[str, Any]]:
    ids = sorted({row.connection_id for row in rows})
    connections = c.execute(sa.select(connection).where(connection.c.id.in_(ids))).all()
    matches = {match.mapping.id: match for one in connections for match in matches_of(c, one)}
    asked = resyncing(c, ids)
    return [_data(row, of, matches.get(row.id), resyncs=row.connection_id in asked) for row in rows]


_OF_AUDIENCE = "/spaces/{spaceId}/audiences/{audienceId}"
_PATH = f"{_OF_AUDIENCE}/activations"
OPERATIONS = (
    Operation("addActivationToAudience", "POST", f"{_OF_AUDIENCE}/destination-connections/{{connectionId}}/activations", _add,
              "Make a mapping of a connection", ("activation",), role=Role.OPERATOR, body=AddActivation, version="v1alpha"),
    Operation("listActivationsFromAudience", "GET", _PATH, _list, "The mappings of an audience's connections",
              ("activations", "pagination"), query=(PAGINATION,), version="v1alpha"),
    Operation("getActivationFromAudience", "GET", f"{_PATH}/{{id}}", _get, "One activation", ("activation",), version="v1alpha"),
    Operation("updateActivationForAudience", "PATCH", f"{_PATH}/{{id}}", _update, "Change an activation", ("activation",),
              role=Role.OPERATOR, body=UpdateActivation, version="v1alpha"),
    Operation("removeActivationFromAudience", "DELETE", f"{_PATH}/{{id}}", _remove, "Remove an activation", ("status",),
              role=Role.OPERATOR, version="v1alpha"),
)  # fmt: skip
