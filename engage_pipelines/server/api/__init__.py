"""The API: Segment Public API shapes for what Segment has, our own paths under `/x/` for what it lacks.

operations()    the table: each operation with its method, path, body, role and function
application()   the table as an application, to be mounted, with its OpenAPI document at `/openapi.json`
"""

from collections.abc import Sequence
from functools import cache

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from engage_pipelines.server.api import (
    activations,
    audiences,
    catalogue,
    connections,
    delivery_overview,
    destinations,
    messaging,
    monitoring,
    own,
    previews,
    schedules,
    spaces,
    subscriptions,
    traits,
    versions,
)
from engage_pipelines.server.api.calls import Operation
from engage_pipelines.server.api.dispatch import endpoint
from engage_pipelines.server.api.openapi import document

# previews before audiences: both are below /audiences/, and the first path that fits is taken
_MODULES = (
    spaces,
    previews,
    audiences,
    traits,
    schedules,
    connections,
    activations,
    destinations,
    subscriptions,
    messaging,
    monitoring,
    delivery_overview,
    catalogue,
    versions,
    own,
)


@cache
def operations() -> Sequence[Operation]:
    """Every operation, in the order in which paths are tried."""
    return tuple(operation for module in _MODULES for operation in module.OPERATIONS)


@cache
def application(*, path: str) -> ASGIApp:
    """The API as an application of its own; `path` is where it is mounted. It holds no state, so that one serves them all."""
    told = document(operations(), path=path)

    def openapi(_request: Request) -> Response:
        return JSONResponse(told)

    routes = [Route(one.path, endpoint(one), methods=[one.method], name=one.name) for one in operations()]
    return Router([Route("/openapi.json", openapi, methods=["GET"]), *routes], redirect_slashes=False)
