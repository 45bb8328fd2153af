"""Logging in to the console with a token, and out again.

The page is plain until the console brings its own: `console.login_page(request, problem)`, a form that posts `token` and `next`.
"""

import html
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.tokens import close_session, find_by_secret, open_session
from engage_pipelines.server import console
from engage_pipelines.server.access import COOKIE, CSRF_FIELD, csrf_token
from engage_pipelines.server.guard import form_of

_UNKNOWN = "The token is unknown, or it ended or was revoked."


def routes() -> list[Route]:
    return [
        Route("/login", show, methods=["GET"], name="login"),
        Route("/login", log_in, methods=["POST"]),
        Route("/logout", log_out, methods=["POST"], name="logout"),
    ]


def show(request: Request) -> Response:
    return _page(request, "")


def log_in(request: Request) -> Response:
    """A session for whoever holds the token; the cookie cannot be read by scripts nor sent by other sites' pages."""
    database = _registry(request).database
    fields = form_of(request)
    given = fields.get("token", [""])[0].strip()
    with database.write() as c:
        now = database.now_us(c)
        token = find_by_secret(c, given, now)
        session = None if token is None else open_session(c, token, now)
    if session is None:
        return _page(request, _UNKNOWN)
    cookie, expires_at = session
    answer = RedirectResponse(next_path(fields.get("next", [""])[0]), status_code=303)
    secure = request.url.scheme == "https" or request.app.state.settings.console_url.startswith("https:")
    answer.set_cookie(COOKIE, cookie, max_age=(expires_at - now) // 1_000_000, httponly=True, samesite="strict", secure=secure)
    return answer


def log_out(request: Request) -> Response:
    cookie = request.cookies.get(COOKIE)
    if cookie:
        with _registry(request).database.write() as c:
            close_session(c, cookie)
    answer = RedirectResponse("/login", status_code=303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


def next_path(wanted: str) -> str:
    """Where to go after logging in: a path of this server, whatever the address says."""
    parts = urlsplit(wanted)
    is_ours = wanted.startswith("/") and not parts.netloc and not parts.scheme and not wanted.startswith(("//", "/\\"))
    return wanted if is_ours and wanted.isprintable() and "\\" not in wanted else "/"


def _page(request: Request, problem: str) -> Response:
    own = getattr(console, "login_page", None)
    status = 401 if problem else 200
    if own is not None:
        answer: Response = own(request, problem)
        answer.status_code = status
        return answer
    alert = f'<p role="alert">{html.escape(problem)}</p>' if problem else ""
    wanted = html.escape(next_path(request.query_params.get("next", "")))
    return HTMLResponse(
        f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Log in</title><h1>Log in</h1>{alert}
<form method="post" action="/login"><input type="hidden" name="{CSRF_FIELD}" value="{csrf_token(request)}">
<input type="hidden" name="next" value="{wanted}"><label>Token <input type="password" name="token" autocomplete="off" required></label>
<button>Log in</button></form></html>""",
        status_code=status,
    )


def _registry(request: Request) -> Registry:
    return request.app.state.registry
