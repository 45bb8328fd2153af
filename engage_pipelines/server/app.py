"""The server as one ASGI application: the API at `/api`, the console at `/`, and `/healthz` for whoever watches over processes.

It works while Dagster is down: what it changes are rows of the registry, which the sensor finds when it is up again. Endpoints are plain
functions; Starlette runs them in threads, so that a slow query holds up nobody else.
"""

import html
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

from anyio.to_thread import current_default_thread_limiter
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, Router

from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.domain.errors import (
    BusyError,
    ConflictError,
    EngageError,
    ForbiddenError,
    HeldVersionError,
    LoginError,
    NotFoundError,
    StateError,
)
from engage_pipelines.registry.change import Registry, open_registry
from engage_pipelines.registry.watch import Watch
from engage_pipelines.server import api, console, login
from engage_pipelines.server.access import login_is_required
from engage_pipelines.server.api.answers import errors, failed
from engage_pipelines.server.api.evaluations import Previews
from engage_pipelines.server.guard import Guard, LoginWall
from engage_pipelines.server.kept import Kept
from engage_pipelines.settings import Settings

API_PATH = "/api"
_THREADS = 12
_STATUS: tuple[tuple[type[EngageError], int], ...] = (
    (LoginError, 401),
    (ForbiddenError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (HeldVersionError, 409),
    (BusyError, 503),
    (StateError, 503),
)
_API_WORDS = {
    404: ("not-found", "There is no such operation."),
    405: ("method-not-allowed", "The path does not take this method."),
}


def create_app(settings: Settings, *, registry: Registry | None = None) -> Starlette:
    """The application; opens the registry that the settings name, unless one is given. Raises ConfigurationError or StateError."""
    required = login_is_required(settings)
    app = Starlette(
        routes=[
            Route("/healthz", _healthz, methods=["GET"]),
            Mount(API_PATH, app=api.application(path=API_PATH), name="api"),
            Mount("/", app=LoginWall(Router([*login.routes(), *_console_routes()])), name="console"),
        ],
        middleware=[Middleware(Guard, loopback_only=not required)],
        lifespan=_lifespan,
        exception_handlers={EngageError: _on_error, HTTPException: _on_http_error, Exception: _on_fault},
    )
    app.state.settings = settings
    app.state.registry = registry or open_registry(settings, types=destination_types())
    app.state.login_required = required
    app.state.previews = Previews()
    app.state.kept = Kept(Watch(app.state.registry.database))
    app.state.form_key = secrets.token_bytes(32)
    return app


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncGenerator[None]:
    # more threads would only take turns: they wait for the same interpreter and for SQLite's few connections
    current_default_thread_limiter().total_tokens = _THREADS
    yield
    app.state.previews.close()
    app.state.kept.close()
    app.state.registry.database.close()


def status_of(error: EngageError) -> int:
    """The HTTP status of a failure; whoever asked made a mistake unless it says otherwise."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 422)


def _healthz(request: Request) -> Response:
    database = request.app.state.registry.database
    with database.read() as c:
        c.exec_driver_sql("SELECT 1")
    return PlainTextResponse("ok\n")


def _console_routes() -> list[Any]:
    routes = getattr(console, "routes", None)
    return [] if routes is None else list(routes())


def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, EngageError)
    if _is_api(request):
        return failed(error, media="application/json")
    if isinstance(error, LoginError) and request.method == "GET":
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(wanted, safe='/')}", status_code=303)
    return _error_page(request, status_of(error), error.what, error.remedy)


def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if _is_api(request):
        kind, message = _API_WORDS.get(error.status_code, ("bad-request", error.detail))
        return errors([{"type": kind, "message": message, "status": error.status_code}], error.status_code)
    what = {404: "There is no such page.", 405: "This cannot be done here."}.get(error.status_code, error.detail)
    return _error_page(request, error.status_code, what, "")


def _on_fault(request: Request, _error: Exception) -> Response:
    if _is_api(request):
        return errors([{"type": "internal-error", "message": "The server failed; its log says where.", "status": 500}], 500)
    return _error_page(request, 500, "The server failed; its log says why.", "Try again, and report it if it stays.")


def _is_api(request: Request) -> bool:
    return request.url.path.startswith(f"{API_PATH}/")


def _error_page(request: Request, status: int, what: str, remedy: str) -> Response:
    own = getattr(console, "error_page", None)
    if own is not None:
        answer: Response = own(request, status, what, remedy)
        return answer
    text = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{status}</title><h1>{html.escape(what)}</h1><p>{html.escape(remedy)}</p>"
    )
    return HTMLResponse(text, status_code=status)
