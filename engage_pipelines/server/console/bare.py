"""Pages outside any space: logging in, choosing a space, and what went wrong."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from engage_pipelines.registry.lookup import Row
from engage_pipelines.server.access import csrf_token
from engage_pipelines.server.console.pages import environment
from engage_pipelines.server.console.visit import path_of
from engage_pipelines.server.login import next_path

_TITLES = {
    403: "Not for you",
    404: "Not here",
    409: "That does not go together",
    422: "That cannot be used",
    500: "A fault of ours",
    503: "Not now",
}


def login_page(request: Request, problem: str) -> Response:
    """A form that posts `token` and `next`. A part of a page that finds nobody logged in has the whole page go there."""
    if "hx-request" in request.headers:
        return Response(status_code=204, headers={"HX-Redirect": "/login"})
    return _bare("login.html", problem=problem, next=next_path(request.query_params.get("next", "")), csrf=csrf_token(request))


def error_page(request: Request, status: int, what: str, remedy: str) -> Response:
    """What went wrong and what to do; as a dialog when a script asked."""
    title = _TITLES.get(status, "That did not work")
    if "hx-request" in request.headers:
        response = _bare("trouble_sheet.html", status, title=title, what=what, remedy=remedy)
        response.headers.update({"HX-Retarget": "#sheet", "HX-Reswap": "innerHTML"})
        return response
    return _bare("trouble.html", status, title=title, what=what, remedy=remedy)


def no_space(spaces: Sequence[Row]) -> Response:
    """The spaces to choose from, or how the first one comes about."""
    return _bare("spaces.html", spaces=[(row, path_of("s", row.key, "audiences")) for row in spaces])


def _bare(template: str, status: int = 200, **context: Any) -> Response:
    return HTMLResponse(environment().get_template(template).render(context), status)
