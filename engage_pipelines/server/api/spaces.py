"""Spaces, the workspace around them, and the sources whose destination configurations a space may import."""

from typing import Any

import sqlalchemy as sa

from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.tables import destination, source, space
from engage_pipelines.server.api.calls import PAGINATION, Answer, Call, Operation
from engage_pipelines.server.api.destinations import destination_data
from engage_pipelines.server.api.pages import page_of, read_page
from engage_pipelines.server.api.things import source_of, spaces_query

_WORKSPACE = {"id": "wsp_engage_pipelines", "slug": "engage-pipelines", "name": "engage_pipelines"}


def _list(call: Call) -> Answer:
    with call.registry.database.read() as c:
        found = page_of(c, spaces_query(call), space.c.key, read_page(call.query))
    return Answer({"spaces": [_space(row) for row in found.rows], "pagination": found.pagination})


def _get(call: Call) -> Answer:
    with call.registry.database.read() as c:
        return Answer({"space": _space(call.space(c))})


def _workspace(_call: Call) -> Answer:
    return Answer({"workspace": _WORKSPACE})


def _sources(call: Call) -> Answer:
    query = sa.select(source)
    if call.actor.space is not None:
        query = query.where(source.c.space_id == call.actor.space)
    with call.registry.database.read() as c:
        found = page_of(c, query, source.c.id, read_page(call.query))
    return Answer({"sources": [_source(row) for row in found.rows], "pagination": found.pagination})


def _get_source(call: Call) -> Answer:
    with call.registry.database.read() as c:
        of_space, row = source_of(c, call, call.part("sourceId"))
    return Answer({"source": _source(of_space if row is None else row), "trackingPlanId": None})


def _connected(call: Call) -> Answer:
    """What a source has that a space may import; of a space's own id, the destinations of the space."""
    page = read_page(call.query)
    with call.registry.database.read() as c:
        of_space, row = source_of(c, call, call.part("sourceId"))
        d = destination.c
        of_source = d.source_id.is_(None) if row is None else d.source_id == row.id
        wanted = sa.select(destination).where(d.space_id == of_space.id, d.removed_at.is_(None), of_source)
        found = page_of(c, wanted, d.id, page)
        return Answer({"destinations": [destination_data(call.registry, one) for one in found.rows], "pagination": found.pagination})


def _space(row: Row) -> dict[str, Any]:
    return {"id": row.id, "slug": row.key, "name": row.name}


def _source(row: Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "slug": row.key,
        "name": row.name,
        "workspaceId": _WORKSPACE["id"],
        "enabled": True,
        "writeKeys": [],
        "settings": {},
        "labels": [],
        "metadata": _METADATA,
    }


_METADATA = {
    "id": "calls",
    "name": "Segment-spec calls",
    "slug": "calls",
    "description": "Identify, track, page, screen, group and alias calls.",
    "logos": {"default": "", "mark": None, "alt": None},
    "options": [],
    "categories": [],
    "isCloudEventSource": False,
}

OPERATIONS = (
    Operation("getWorkspace", "GET", "/", _workspace, "This installation", ("workspace",)),
    Operation("listSpaces", "GET", "/spaces", _list, "The spaces", ("spaces", "pagination"), query=(PAGINATION,), version="v1alpha"),
    Operation("getSpace", "GET", "/spaces/{spaceId}", _get, "One space", ("space",), version="v1alpha"),
    Operation("listSources", "GET", "/sources", _sources, "The sources", ("sources", "pagination"), query=(PAGINATION,)),
    Operation("getSource", "GET", "/sources/{sourceId}", _get_source, "One source", ("source",)),
    Operation("listConnectedDestinationsFromSource", "GET", "/sources/{sourceId}/connected-destinations", _connected,
              "The configurations on a source", ("destinations", "pagination"), query=(PAGINATION,)),
)  # fmt: skip
