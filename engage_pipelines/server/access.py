"""Who asks over HTTP, and what they may do.

| face | known by |
|---|---|
| API | `Authorization: Bearer eng_...`, always |
| console | the session cookie that logging in with a token gives; none is needed on a loopback address unless the settings say so |

An endpoint asks `require(request, Role.OPERATOR)` before it changes anything and `require_members(request)` before it shows a person or a
payload. Forms carry `csrf_token(request)` in a field `csrf`, or in the header X-CSRF-Token; `guard` refuses those that do not.
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import cast

import sqlalchemy as sa
from starlette.requests import HTTPConnection

from engage_pipelines.domain.errors import BusyError, ConfigurationError, ForbiddenError, LoginError
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.lookup import Row, list_spaces
from engage_pipelines.registry.tokens import Role, find_by_secret, find_session, has_ended, note_use, secret_digest, was_used_this_hour
from engage_pipelines.server.kept import Kept
from engage_pipelines.settings import LOGIN_LOCAL, LOGIN_REQUIRED, Settings

COOKIE = "engage_session"
CSRF_FIELD = "csrf"
CSRF_HEADER = "x-csrf-token"
ACTOR = "engage.actor"
"""Where the scope of a request keeps who asks."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks; `space` is the id of the only space they reach, None when they reach all."""

    name: str
    role: Role
    may_see_members: bool
    space: str | None = None

    def reaches(self, space: Row) -> bool:
        return self.space is None or self.space == space.id


LOCAL = Actor("local", Role.ADMIN, may_see_members=True)
"""Whoever sits at the machine: the console trusts a loopback address as the command line trusts its user."""


def login_is_required(settings: Settings) -> bool:
    """Raises ConfigurationError for a setting that is neither of the two."""
    if settings.console_login not in {LOGIN_LOCAL, LOGIN_REQUIRED}:
        raise ConfigurationError(f"ENGAGE_CONSOLE_LOGIN is {settings.console_login!r}.", f"Write {LOGIN_LOCAL} or {LOGIN_REQUIRED}.")
    return settings.console_login == LOGIN_REQUIRED


def actor_of(request: HTTPConnection) -> Actor:
    """Who asks. Raises LoginError when nobody knows; a face has found that out before an endpoint is reached."""
    actor = request.scope.get(ACTOR)
    if actor is None:
        raise LoginError("Nobody is logged in.", "Log in with a token; make one with: engage token create --role reader")
    return cast(Actor, actor)


def require(request: HTTPConnection, role: Role) -> Actor:
    """Who asks, if their role reaches so far. Raises LoginError or ForbiddenError."""
    return allow(actor_of(request), role)


def require_members(request: HTTPConnection) -> Actor:
    """Who asks, if they may see members and payloads. Raises LoginError or ForbiddenError."""
    return allow_members(actor_of(request))


def allow(actor: Actor, role: Role) -> Actor:
    if not actor.role.reaches(role):
        raise ForbiddenError(f"This takes the role {role}; {actor.name} is a {actor.role}.", "Use a token that has it.")
    return actor


def allow_members(actor: Actor) -> Actor:
    if not actor.may_see_members:
        raise ForbiddenError(f"{actor.name} may not see members and payloads.", "Use a token made with: engage token create --members")
    return actor


def registry_for(request: HTTPConnection) -> Registry:
    """The registry, in the name of whoever asks."""
    return replace(cast(Registry, request.app.state.registry), actor=actor_of(request).name)


def spaces_for(c: sa.Connection, actor: Actor) -> list[Row]:
    """The spaces that someone reaches, by key."""
    return [row for row in list_spaces(c) if actor.reaches(row)]


def kept_spaces_for(request: HTTPConnection) -> list[Row]:
    """The same for whoever asks, from memory while nothing changed."""
    kept, database = cast(Kept, request.app.state.kept), cast(Registry, request.app.state.registry).database

    def read() -> list[Row]:
        with database.read() as c:
            return list_spaces(c)

    return [row for row in kept.look("spaces", read) if actor_of(request).reaches(row)]


# ---- finding out who asks


def actor_by_bearer(database: Database, kept: Kept, header: str | None) -> Actor:
    """Whose token an Authorization header carries. Raises LoginError."""
    scheme, _, secret = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise LoginError("The request carries no token.", "Send the header `Authorization: Bearer eng_...`.")
    row = kept.look(("token", secret_digest(secret.strip())), lambda: _token(database, secret.strip()))
    now = database.look_at_clock_us()
    if has_ended(row, now):
        raise _unknown()
    _note_use(database, row, now)
    return _actor_with(row)


def _token(database: Database, secret: str) -> Row:
    with database.read() as c:
        row = find_by_secret(c, secret, database.now_us(c))
    if row is None:
        raise _unknown()
    return row


def _unknown() -> LoginError:
    return LoginError("The token is unknown, or it ended or was revoked.", "Make one with: engage token create --role reader")


def console_actor(request: HTTPConnection) -> Actor | None:
    """Who looks at the console: whoever the session is of, or anyone at this machine; None has to log in."""
    registry = cast(Registry, request.app.state.registry)
    cookie = request.cookies.get(COOKIE)
    if cookie:
        with registry.database.read() as c:
            now = registry.database.now_us(c)
            row = find_session(c, cookie, now)
        if row is not None:
            _note_use(registry.database, row, now)
            return _actor_with(row)
    return None if request.app.state.login_required or not _is_near(request) else LOCAL


def _actor_with(row: Row) -> Actor:
    return Actor(f"{row.name} ({row.id})", Role(row.role), may_see_members=row.may_see_members, space=row.space_id)


def _note_use(database: Database, row: Row, now_us: int) -> None:
    if was_used_this_hour(row, now_us):
        return
    try:
        with database.write() as c:
            note_use(c, row, now_us)
    except BusyError:
        return  # when it was last used is a hint; the next request writes it


def _is_near(request: HTTPConnection) -> bool:
    return request.client is None or is_loopback(request.client.host)


def is_loopback(host: str) -> bool:
    """True for localhost and the loopback addresses, with or without brackets and port."""
    name = host.strip().lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


# ---- forms


def csrf_token(request: HTTPConnection) -> str:
    """What a form of the console has to carry: bound to the session, or to this process where nobody logs in."""
    cookie = request.cookies.get(COOKIE, "")
    return hmac.new(cast(bytes, request.app.state.form_key), cookie.encode(), hashlib.sha256).hexdigest()


def is_csrf_token(request: HTTPConnection, given: Iterable[str]) -> bool:
    """True when one of the texts is the token of this session."""
    expected = csrf_token(request).encode()
    return any(hmac.compare_digest(expected, text.encode("utf-8", "replace")) for text in given)
