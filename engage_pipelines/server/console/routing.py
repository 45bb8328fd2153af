"""From a request to a visit, and from a handler to a route."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from engage_pipelines.domain.errors import NotFoundError
from engage_pipelines.registry.lookup import computation_or_none
from engage_pipelines.registry.nearest import did_you_mean
from engage_pipelines.registry.tokens import Role
from engage_pipelines.server.access import actor_of, csrf_token, kept_spaces_for, registry_for
from engage_pipelines.server.console.pages import SAID_COOKIE
from engage_pipelines.server.console.visit import Handler, Visit
from engage_pipelines.server.guard import form_of
from engage_pipelines.server.kept import LAG_S, Kept


def shows(path: str, handler: Handler, *, role: Role = Role.READER, kept: bool = False) -> Route:
    """A page of a space, for whoever has at least that role; `kept`: it follows from the registry alone, so it holds until that changes."""
    return Route(f"/s/{{space}}{path}", _endpoint(handler, role, kept=kept), methods=["GET"])


def does(path: str, handler: Handler, *, role: Role = Role.OPERATOR) -> Route:
    """An action on a space."""
    return Route(f"/s/{{space}}{path}", _endpoint(handler, role), methods=["POST"])


def both(path: str, show: Handler, do: Handler, *, role: Role = Role.OPERATOR) -> Sequence[Route]:
    """A form and what it does; who may not send it does not see it either."""
    return [shows(path, show, role=role), does(path, do, role=role)]


def _endpoint(handler: Handler, role: Role, *, kept: bool = False) -> Callable[[Request], Response]:
    def endpoint(request: Request) -> Response:
        found = visit_of(request)
        found.need(role)
        try:
            # what the last action came to is said once
            return _kept(found, handler) if kept and SAID_COOKIE not in request.cookies else handler(found)
        except NotFoundError:
            if elsewhere := _of_trait(found):
                return RedirectResponse(elsewhere, 303)
            raise

    return endpoint


def _of_trait(visit: Visit) -> str | None:
    """Where the page is, when the key in the address of an audience's page is that of a trait: pages link to both by key alone."""
    url = visit.request.url
    if visit.request.method != "GET" or visit.section != "audiences" or "key" not in visit.request.path_params:
        return None
    with visit.database.read() as c:
        row = computation_or_none(c, visit.space.id, visit.param("key"))
    if row is None or row.kind == "audience":
        return None
    rest = url.path.split("/")[5:]
    return "/".join([visit.at(row), *rest]) + (f"?{url.query}" if url.query else "")


def _kept(visit: Visit, handler: Handler) -> Response:
    request = visit.request
    asked = tuple(request.headers.get(name, "") for name in ("hx-request", "hx-target"))
    key = (request.url.path, request.url.query, asked, visit.actor, visit.csrf)

    def read() -> tuple[bytes, int, str | None]:
        page = handler(visit)
        return bytes(page.body), page.status_code, page.media_type

    kept: Kept = request.app.state.kept
    body, status, media = kept.look(key, read, size_of=lambda one: len(one[0]), lag_s=LAG_S)
    return Response(body, status, media_type=media)


def visit_of(request: Request) -> Visit:
    """Raises NotFoundError for a space that there is not, or that whoever asks does not reach."""
    actor, registry = actor_of(request), registry_for(request)
    wanted = str(request.path_params["space"])
    spaces = {row.key: row for row in kept_spaces_for(request)}
    if wanted not in spaces:
        raise NotFoundError(f"There is no space {wanted[:80]!r}.", did_you_mean(wanted, spaces, otherwise="Choose one from the list."))
    several = {name: tuple(values) for name, values in form_of(request).items()}
    return Visit(
        request=request,
        settings=request.app.state.settings,
        registry=replace(registry, space=wanted),
        actor=actor,
        space=spaces[wanted],
        csrf=csrf_token(request),
        form={name: values[-1].replace("\r\n", "\n") for name, values in several.items()},
        several=several,
    )
