"""Destinations over the API: configured accounts of a type, in a space or on a source, and what they delivered."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import Field

from engage_pipelines.domain.errors import ConfigurationError, ConflictError, NotFoundError
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.destinations import (
    DestinationFields,
    NewDestination,
    create_destination,
    remove_destination,
    update_destination,
)
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.tables import destination
from engage_pipelines.registry.tokens import Role
from engage_pipelines.registry.type_settings import masked_settings
from engage_pipelines.registry.types import find_type
from engage_pipelines.server.api.calls import PAGINATION, Answer, Body, Call, Operation, at_field, instant
from engage_pipelines.server.api.catalogue import metadata_of
from engage_pipelines.server.api.pages import page_of, read_page
from engage_pipelines.server.api.things import destination_of, source_of

_NAME = Annotated[str, Field(min_length=1, max_length=300)]
_ID = Annotated[str, Field(min_length=1, max_length=300)]
_SETTINGS = Annotated[dict[str, Any], Field(max_length=200)]


class CreateDestination(Body):
    """CreateDestinationV1Input; a space's own id as `sourceId` makes a destination of the space. `key` is ours."""

    sourceId: _ID
    metadataId: _ID
    enabled: bool = True
    name: _NAME | None = None
    settings: _SETTINGS
    key: Annotated[str, Field(max_length=255)] | None = None


class UpdateDestination(Body):
    """UpdateDestinationV1Input; settings that are not named stay, and a secret that holds the bullet keeps its value."""

    name: _NAME | None = None
    enabled: bool | None = None
    settings: _SETTINGS | None = None
    updatedAt: Annotated[str, Field(max_length=40)] | None = None


def destination_data(registry: Registry, row: Row) -> dict[str, Any]:
    """A destination as Segment's clients read it, its secrets masked."""
    info = find_type(registry.types, row.type)
    return {
        "id": row.id,
        "name": row.name,
        "enabled": row.enabled,
        "sourceId": row.source_id or row.space_id,
        "metadata": metadata_of(info),
        "settings": masked_settings(info, row.settings),
        "key": row.key,
        "spaceId": row.space_id,
        "importedFrom": row.imported_from,
        "managedBy": row.managed_by,
        "createdAt": instant(row.created_at),
        "updatedAt": instant(row.updated_at),
    }


def known(registry: Registry, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Those whose type can be loaded here; the package of another may be gone."""
    return [destination_data(registry, row) for row in rows if row.type in registry.types]


def _list(call: Call) -> Answer:
    query = sa.select(destination).where(destination.c.removed_at.is_(None))
    if call.actor.space is not None:
        query = query.where(destination.c.space_id == call.actor.space)
    with call.registry.database.read() as c:
        found = page_of(c, query, destination.c.id, read_page(call.query))
    return Answer({"destinations": known(call.registry, found.rows), "pagination": found.pagination})


def _get(call: Call) -> Answer:
    with call.registry.database.read() as c:
        _space, row = destination_of(c, call, call.part("destinationId"))
    return Answer({"destination": destination_data(call.registry, row)}, row.updated_at)


def _create(call: Call) -> Answer:
    said = call.said(CreateDestination)
    with call.registry.change() as change:
        with at_field("sourceId"):
            of_space, on = source_of(change.c, call, said.sourceId)
        with at_field("metadataId", NotFoundError):
            info = find_type(call.registry.types, said.metadataId)
        key = said.key if said.key is not None else key_from(said.name or info.key, info.key)
        new = NewDestination(key, info.key, said.settings, said.name or info.name, said.enabled)
        with at_field("key" if said.key is not None else "metadataId", ConflictError), at_field("settings", ConfigurationError):
            row = create_destination(change, of_space, new, on=on)
    return Answer({"destination": destination_data(call.registry, row)}, row.updated_at)


def _update(call: Call) -> Answer:
    said = call.said(UpdateDestination)
    with call.registry.change() as change:
        of_space, row = destination_of(change.c, call, call.part("destinationId"))
        call.check_fresh(row, given=said.updatedAt, render=lambda: destination_data(call.registry, row))
        fields: DestinationFields = {}
        if said.name is not None:
            fields["name"] = said.name
        if said.enabled is not None:
            fields["enabled"] = said.enabled
        if said.settings is not None:
            fields["settings"] = {**row.settings, **said.settings}
        with at_field("settings", ConfigurationError):
            updated = update_destination(change, of_space, row, **fields)
    return Answer({"destination": destination_data(call.registry, updated)}, updated.updated_at)


def _delete(call: Call) -> Answer:
    with call.registry.change() as change:
        of_space, row = destination_of(change.c, call, call.part("destinationId"))
        remove_destination(change, of_space, row)
    return Answer({"status": "SUCCESS"})


def key_from(name: str, otherwise: str) -> str:
    """A key made of a name, or the other word when none can be made of it."""
    key = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:255]
    return key if key and key[0].isalpha() else otherwise


_PATH = "/destinations"
_ONE = f"{_PATH}/{{destinationId}}"
OPERATIONS = (
    Operation("listDestinations", "GET", _PATH, _list, "The destinations of every space and source", ("destinations", "pagination"),
              query=(PAGINATION,)),
    Operation("createDestination", "POST", _PATH, _create, "Make a destination", ("destination",), role=Role.ADMIN, body=CreateDestination),
    Operation("getDestination", "GET", _ONE, _get, "One destination", ("destination",)),
    Operation("updateDestination", "PATCH", _ONE, _update, "Change a destination", ("destination",),
              role=Role.ADMIN, body=UpdateDestination),
    Operation("deleteDestination", "DELETE", _ONE, _delete, "Remove a destination", ("status",), role=Role.ADMIN),
)  # fmt: skip
