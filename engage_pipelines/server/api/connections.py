"""Destination connections of an audience or a trait: what is connected, what could be, connecting, settings, pausing and removing."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import Field

from engage_pipelines.domain.connection import State
from engage_pipelines.domain.enrichment import MOST_TRAITS, enrichment_in
from engage_pipelines.domain.errors import ConflictError, NotFoundError, UsageError
from engage_pipelines.domain.id_sync import rules_in
from engage_pipelines.registry import leaving
from engage_pipelines.registry.activations import resyncing
from engage_pipelines.registry.change import Change, Registry
from engage_pipelines.registry.connections import (
    NewConnection,
    connect,
    leave,
    pause,
    remove,
    set_ids,
    set_list,
    set_on_disconnect,
    set_traits,
)
from engage_pipelines.registry.enriching import enrichment_options
from engage_pipelines.registry.list_settings import OPTION as LIST_OPTION
from engage_pipelines.registry.list_settings import check_list_settings
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.status import StatusRow, list_status
from engage_pipelines.registry.tables import connection, destination, mapping
from engage_pipelines.registry.tokens import Role
from engage_pipelines.registry.type_settings import masked_settings
from engage_pipelines.registry.types import supported_calls
from engage_pipelines.server.api.calls import PAGINATION, Answer, AtFieldError, Body, Call, Operation, Query, at_field, instant
from engage_pipelines.server.api.catalogue import metadata_of
from engage_pipelines.server.api.pages import page_of, read_page
from engage_pipelines.server.api.things import computation_of, connection_of, destination_in

_ID = Annotated[str, Field(min_length=1, max_length=300)]
Calls = Annotated[list[Literal["group", "identify", "track"]], Field(max_length=3)]


class Target(Body):
    """Which destination to connect, by id or key."""

    id: _ID
    type: Literal["destination", "warehouse"] = "destination"


class IdSync(Body):
    """Which of a person's identifiers of a kind is entered, and under which further name it rides along."""

    externalId: Annotated[str, Field(min_length=1, max_length=60)]
    strategy: Literal["first", "last", "all"]
    mapTo: Annotated[str, Field(max_length=255)] | None = None


class Riding(Body):
    """A trait that rides along in the records, and the name that it has there: `mapTo`, else its own."""

    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^:\x00-\x1f\x7f]+$")]
    mapTo: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class ConnectionSettings(Body):
    """What is sent: calls, whether the present members are, what the type wants to know of the list, the end, and what rides along."""

    calls: Calls | None = None
    backfill: bool | None = None
    listSettings: Annotated[dict[str, Any], Field(max_length=100)] | None = None
    onDisconnect: Literal["keep", "exit_all"] | None = None
    traits: Annotated[list[Riding], Field(max_length=MOST_TRAITS)] | None = None


_RULES = Annotated[list[IdSync], Field(max_length=5)]


class AddDestination(Body):
    """AddDestinationToAudienceAlphaInput."""

    destination: Target
    idSyncConfiguration: _RULES | None = None
    connectionSettings: ConnectionSettings | None = None


class UpdateDestination(Body):
    """UpdateDestinationForAudienceAlphaInput; `enabled` is ours: false pauses, true resumes."""

    idSyncConfiguration: _RULES | None = None
    connectionSettings: ConnectionSettings | None = None
    enabled: bool | None = None
    updatedAt: Annotated[str, Field(max_length=40)] | None = None


def _list(call: Call) -> Answer:
    page = read_page(call.query)
    with call.registry.database.read() as c:
        space = call.space(c)
        of = computation_of(c, space, call)
        wanted = sa.select(connection).where(connection.c.computation_id == of.id, connection.c.removed_at.is_(None))
        found = page_of(c, wanted, connection.c.id, page)
        ids = {row.destination_id for row in found.rows}
        to = {row.id: row for row in c.execute(sa.select(destination).where(destination.c.id.in_(ids)))}
        status = {row.destination: row for row in list_status(c, space.id, audience=of.key)}
        asked = resyncing(c, [row.id for row in found.rows])
    rows = [
        connection_data(call.registry, row, to[row.destination_id], status[to[row.destination_id].key], resyncs=row.id in asked)
        for row in found.rows
    ]
    return Answer({"connections": rows, "pagination": found.pagination})


def connection_data(registry: Registry, row: Row, to: Row, status: StatusRow, *, resyncs: bool) -> dict[str, Any]:
    """A connected destination, with how its deliveries are."""
    info = registry.types.get(to.type)
    told: dict[str, Any] = {
        "id": row.id,
        "name": to.name,
        "sourceId": to.space_id,
        "enabled": row.state not in {State.PAUSED, State.LEAVING} and to.enabled,
        "createdAt": instant(row.created_at),
        "updatedAt": instant(row.updated_at),
        "settings": {} if info is None else masked_settings(info, to.settings),
        "destinationId": to.id,
        **_settings_data(row),
        "state": row.state,
        "status": status.status,
        "syncStatus": status.sync_status,
        "lastSyncAt": instant(status.last_sync_at),
        "runId": status.run_id,
        "sent": status.sent,
        "failed": status.dead,
        "performResync": resyncs,
        "error": status.error,
        "remedy": status.remedy,
        "note": row.note,
    }
    if info is not None:
        told["metadata"] = {"id": info.key, "name": info.name, "slug": info.key}
    return told


def _settings_data(row: Row) -> dict[str, Any]:
    return {
        "idSyncConfiguration": [
            {"externalId": rule.kind, "strategy": str(rule.strategy), **({"mapTo": rule.map_to} if rule.map_to else {})}
            for rule in rules_in(row.options)
        ],
        "connectionSettings": {
            "calls": row.calls,
            "backfill": row.options.get("backfill", True),
            "listSettings": row.options.get(LIST_OPTION, {}),
            "onDisconnect": row.options.get(leaving.OPTION, leaving.KEEP),
            "traits": [{"name": one.trait, **({"mapTo": one.name} if one.name != one.trait else {})} for one in enrichment_in(row.options)],
        },
    }


def _add(call: Call) -> Answer:
    said = call.said(AddDestination)
    if said.destination.type == "warehouse":
        raise AtFieldError(UsageError("A warehouse is a destination here.", "Write type destination."), "destination.type")
    settings = said.connectionSettings or ConnectionSettings()
    with call.registry.change() as change:
        space = call.space(change.c)
        of = computation_of(change.c, space, call)
        with at_field("destination.id", NotFoundError):
            to = destination_in(change.c, space, said.destination.id)
        ids = None if said.idSyncConfiguration is None else _ids(said.idSyncConfiguration)
        riding = None if settings.traits is None else _traits(settings.traits)
        new = NewConnection(
            of.key, to.key, settings.calls or (), settings.backfill, ids or None, settings.listSettings, settings.onDisconnect, riding
        )
        if any(one is not None for one in (ids, settings.listSettings, settings.onDisconnect, riding)) and _is_connected(change.c, of, to):
            raise ConflictError(f"{of.kind.capitalize()} {of.key!r} is connected to {to.key!r} already.", "Change that connection instead.")
        with at_field("connectionSettings.listSettings"):
            check_list_settings(change.type_of(to.type), settings.listSettings or {})
        with at_field("connectionSettings.traits"):
            enrichment_options(change, space, of, riding)
        with at_field("connectionSettings.calls" if not ids else "idSyncConfiguration", UsageError):
            made = connect(change, space, new)
    told = {"connection": {"id": made.connection.id}, **_settings_data(made.connection)}
    told |= {"state": made.connection.state, "mappings": [row.id for row in made.mappings], "requestId": made.request_id}
    return Answer(told, made.connection.updated_at)


def _update(call: Call) -> Answer:
    said = call.said(UpdateDestination)
    with call.registry.change() as change:
        space = call.space(change.c)
        of = computation_of(change.c, space, call)
        row = connection_of(change.c, of, call.part("destinationId"))
        to = change.row(destination, row.destination_id)
        call.check_fresh(row, given=said.updatedAt, render=lambda: {"updatedAt": instant(row.updated_at), **_settings_data(row)})
        _check_same(row, said.connectionSettings)
        if said.idSyncConfiguration is not None:
            with at_field("idSyncConfiguration"):
                row = set_ids(change, space, row, (of, to), _ids(said.idSyncConfiguration))
        row = _set(change, space, row, (of, to), said.connectionSettings)
        if said.enabled is False:
            row = pause(change, space, of, to)
        elif said.enabled and row.state == State.PAUSED:
            row = connect(change, space, NewConnection(of.key, to.key)).connection
    return Answer({"destination": {"id": to.id}, "connection": {"id": row.id}, **_settings_data(row), "state": row.state}, row.updated_at)


def _set(change: Change, space: Row, row: Row, joined: tuple[Row, Row], said: ConnectionSettings | None) -> Row:
    if said is not None and said.listSettings is not None:
        with at_field("connectionSettings.listSettings"):
            row = set_list(change, space, row, joined, said.listSettings)
    if said is not None and said.onDisconnect is not None:
        row = set_on_disconnect(change, space, row, joined, said.onDisconnect)
    if said is not None and said.traits is not None:
        with at_field("connectionSettings.traits"):
            row = set_traits(change, space, row, joined, _traits(said.traits))
    return row


def _remove(call: Call) -> Answer:
    """Refused while the connection has activations, as Segment does, unless they are to go with it."""
    with_all, with_exits = _flag(call.query, "removeActivations"), _flag(call.query, "sendExits")
    with call.registry.change() as change:
        space = call.space(change.c)
        of = computation_of(change.c, space, call)
        row = connection_of(change.c, of, call.part("destinationId"))
        own = sa.and_(mapping.c.connection_id == row.id, mapping.c.removed_at.is_(None))
        names = list(change.c.execute(sa.select(mapping.c.name).where(own).order_by(mapping.c.created_at)).scalars())
        if names and not with_all:
            raise ConflictError(
                f"The connection has {len(names)} activations: {', '.join(names[:5])}.",
                "Remove them first, or add ?removeActivations=true.",
            )
        to = change.row(destination, row.destination_id)
        is_gone = leave(change, space, of, to).connection.removed_at is not None if with_exits else remove(change, space, of, to)
    return Answer({"status": "SUCCESS", "state": str(State.GONE if is_gone else State.LEAVING)})


def _supported(call: Call) -> Answer:
    """By destination of the space what it takes of such an audience; Segment describes an object here, so it is one."""
    kind = call.part("audienceType")
    if kind not in {"USERS", "ACCOUNTS"}:
        raise NotFoundError(f"There is no audience type {kind[:40]!r}.", "Use USERS or ACCOUNTS.")
    slug, action = call.query.get("slug"), call.query.get("actionId")
    with call.registry.database.read() as c:
        space = call.space(c)
        d = destination.c
        wanted = sa.and_(d.space_id == space.id, d.source_id.is_(None), d.removed_at.is_(None))
        rows = c.execute(sa.select(destination).where(wanted).order_by(d.key)).all()
    found = {row.id: one for row in rows if (one := _support(call.registry, row, kind, action)) is not None and slug in {None, row.type}}
    return Answer({"destinations": found})


def _support(registry: Registry, row: Row, kind: str, action: str | None) -> dict[str, Any] | None:
    info = registry.types.get(row.type)
    if info is None:
        return None
    calls = [call for call in ("group", "identify", "track") if call in supported_calls(info) and (kind == "ACCOUNTS" or call != "group")]
    described = metadata_of(info)
    actions: Sequence[Mapping[str, Any]] = [one for one in described["actions"] if action in {None, one["id"]}]
    if not calls or (action is not None and not actions):
        return None
    return {
        "id": row.id,
        "name": row.name,
        "metadata": {"id": info.key, "name": info.name, "slug": info.key},
        "actions": actions,
        "calls": calls,
        "membershipAs": str(info.membership_as),
        "identifiers": list(info.user_address_kinds),
    }


def _is_connected(c: sa.Connection, of: Row, to: Row) -> bool:
    t = connection.c
    there = sa.and_(t.computation_id == of.id, t.destination_id == to.id, t.removed_at.is_(None))
    return c.execute(sa.select(t.id).where(there)).first() is not None


def _ids(rules: Sequence[IdSync]) -> list[str]:
    for index, rule in enumerate(rules):
        if any(":" in text for text in (rule.externalId, rule.mapTo or "")):
            raise AtFieldError(UsageError("A colon is in no identifier's name.", "Take it out."), f"idSyncConfiguration.{index}")
    return [":".join(part for part in (rule.externalId, rule.strategy, rule.mapTo) if part) for rule in rules]


def _traits(riding: Sequence[Riding]) -> list[str]:
    return [one.name if one.mapTo is None else f"{one.name}:{one.mapTo}" for one in riding]


def _check_same(row: Row, said: ConnectionSettings | None) -> None:
    if said is None:
        return
    if said.calls is not None and set(said.calls) != set(row.calls):
        what = f"The connection sends {', '.join(row.calls)}, which stays."
        raise AtFieldError(UsageError(what, "Remove the connection and make another."), "connectionSettings.calls")
    if said.backfill is not None and said.backfill != row.options.get("backfill", True):
        what = "Whether the present members are sent was said when connecting."
        raise AtFieldError(UsageError(what, "Ask for a backfill: POST /x/.../backfill."), "connectionSettings.backfill")


def _flag(query: Mapping[str, str], name: str) -> bool:
    text = query.get(name, "false").lower()
    if text not in {"true", "false"}:
        raise AtFieldError(UsageError(f"{name} is true or false.", "Write one of them."), name)
    return text == "true"


_FLAG: Mapping[str, Any] = {"type": "string", "enum": ["true", "false"]}
_REMOVING = (
    Query("removeActivations", "true: its activations go with it.", _FLAG),
    Query("sendExits", "true: everyone's exit is sent first, then it is gone.", _FLAG),
)
_PATH = "/spaces/{spaceId}/audiences/{audienceId}/destination-connections"
_OF_TRAIT = "/x/spaces/{spaceId}/computed-traits/{traitId}/destination-connections"
OPERATIONS = (
    Operation("listSupportedDestinationsFromAudience", "GET", "/spaces/{spaceId}/audienceType/{audienceType}/supported-destinations",
              _supported, "What an audience of that type can be connected to", ("destinations",), version="v1alpha",
              query=(Query("slug", "Of this destination type."), Query("actionId", "That have this action."))),
    Operation("listDestinationsFromAudience", "GET", _PATH, _list, "The connected destinations", ("connections", "pagination"),
              query=(PAGINATION,), version="v1alpha", kept=True),
    Operation("addDestinationToAudience", "POST", _PATH, _add, "Connect a destination", ("connection", "idSyncConfiguration"),
              role=Role.OPERATOR, body=AddDestination, version="v1alpha"),
    Operation("updateDestinationForAudience", "PATCH", f"{_PATH}/{{destinationId}}", _update, "Change, pause or resume a connection",
              ("destination", "idSyncConfiguration"), role=Role.OPERATOR, body=UpdateDestination, version="v1alpha"),
    Operation("removeDestinationFromAudience", "DELETE", f"{_PATH}/{{destinationId}}", _remove, "Remove a connection", ("status",),
              role=Role.OPERATOR, version="v1alpha", query=_REMOVING),
    Operation("listDestinationsFromTrait", "GET", _OF_TRAIT, _list, "The destinations that a trait is connected to",
              ("connections", "pagination"), query=(PAGINATION,), kept=True),
    Operation("addDestinationToTrait", "POST", _OF_TRAIT, _add, "Connect a trait to a destination", ("connection", "idSyncConfiguration"),
              role=Role.OPERATOR, body=AddDestination),
    Operation("updateDestinationForTrait", "PATCH", f"{_OF_TRAIT}/{{destinationId}}", _update, "Change, pause or resume it",
              ("destination", "idSyncConfiguration"), role=Role.OPERATOR, body=UpdateDestination),
    Operation("removeDestinationFromTrait", "DELETE", f"{_OF_TRAIT}/{{destinationId}}", _remove, "Remove it", ("status",),
              role=Role.OPERATOR, query=_REMOVING),
)  # fmt: skip
