"""What every request passes before an endpoint sees it: size, host, origin, forms of our own, and the headers of the answer.

The body is read here, whole and bounded, so that endpoints can be plain functions: `body_of` and `form_of` give it without waiting.
"""

from typing import cast
from urllib.parse import parse_qs, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engage_pipelines.domain.errors import ForbiddenError, LoginError, UsageError
from engage_pipelines.server.access import ACTOR, CSRF_FIELD, CSRF_HEADER, console_actor, is_csrf_token, is_loopback

MOST_BODY_BYTES = 1_000_000
"""The largest mapping or definition is a tenth of it."""
_MOST_FIELDS = 1_000
_BODY = "engage.body"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_FORM = "application/x-www-form-urlencoded"
_OPEN_PATHS = ("/static/", "/login")

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
}


def body_of(request: HTTPConnection) -> bytes:
    """The body of the request."""
    return cast(bytes, request.scope.get(_BODY, b""))


def form_of(request: HTTPConnection) -> dict[str, list[str]]:
    """The fields of a form as a browser sends them, each with its values. Raises UsageError for a form that is none, or is too long."""
    if not _is_form(request.headers):
        return {}
    try:
        text = body_of(request).decode()
        return parse_qs(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:
        raise UsageError("The form cannot be read.", f"Send at most {_MOST_FIELDS} fields in UTF-8.") from None


class Guard:
    """The outermost layer: reads the body, refuses what is too large or for another host, and puts the headers on every answer."""

    def __init__(self, app: ASGIApp, *, loopback_only: bool) -> None:
        self._app = app
        self._loopback_only = loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    answer.setdefault(name, value)
            await send(message)

        if self._loopback_only and not is_loopback(headers.get("host", "")):
            # another site's name that resolves to this machine would let its pages read ours
            await _refuse(send_with_headers, 421, b"This server answers to localhost alone; ask it by that name, or require a login.\n")
            return
        body = await _read(headers, receive)
        if body is None:
            await _refuse(send_with_headers, 413, b"The request is larger than this server takes.\n")
            return
        scope[_BODY] = body
        await self._app(scope, _replay(body, receive), send_with_headers)


class LoginWall:
    """Before the console: finds out who asks, and holds back strangers and forms that are not ours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = HTTPConnection(scope)
            path = str(scope["path"])
            scope[ACTOR] = await run_in_threadpool(console_actor, request)
            if scope[ACTOR] is None and not path.startswith(_OPEN_PATHS):
                raise LoginError("Nobody is logged in.", "Log in with a token.")
            if scope["method"] not in _SAFE:
                _check_origin(request)
        await self._app(scope, receive, send)


def _check_origin(request: HTTPConnection) -> None:
    """Raises ForbiddenError for a form that another site sent, or that does not carry our token."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise ForbiddenError("The form comes from another site.", "Open the page of the console and send it from there.")
    if request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}:
        raise ForbiddenError("The form comes from another site.", "Open the page of the console and send it from there.")
    given = [*form_of(request).get(CSRF_FIELD, []), *request.headers.getlist(CSRF_HEADER)]
    if not is_csrf_token(request, given):
        raise ForbiddenError("The form is from an earlier session.", "Load the page again and repeat it.")


def _is_form(headers: Headers) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM


async def _read(headers: Headers, receive: Receive) -> bytes | None:
    """The whole body, None when it is too large."""
    announced = headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced[:20]) > MOST_BODY_BYTES:
        return None
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HTTPException(400)
        part = cast(bytes, message.get("body", b""))
        size += len(part)
        if size > MOST_BODY_BYTES:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once more, for who reads it in Starlette's way; then whatever the client does."""
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _refuse(send: Send, status: int, text: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
