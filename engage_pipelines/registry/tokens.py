"""API tokens and console sessions: who may reach the server, kept as digests that nobody can log in with.

A token is `eng_` and 32 random bytes; it is shown once. What it opens: a role, one space or all of them, until it ends or is revoked; and,
apart from the role, whether its holder may see members and payloads. A session is a cookie that stands for a token for some hours.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

import sqlalchemy as sa

from engage_pipelines.domain.errors import ConfigurationError, NotFoundError
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.tables import api_token, console_session

PREFIX = "eng_"
_SECRET_BYTES = 32
_HOUR_US = 3_600_000_000
SESSION_US = 12 * _HOUR_US
MOST_NAME = 200


class Role(StrEnum):
    """What someone may do; each role may do what those before it may."""

    READER = "reader"
    OPERATOR = "operator"
    ADMIN = "admin"

    def reaches(self, needed: "Role") -> bool:
        return _ORDER[self] >= _ORDER[needed]


_ORDER = {role: place for place, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token to be made; `expires_at` in UTC microseconds, None is never."""

    name: str
    role: Role
    may_see_members: bool = False
    space_id: str | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """A token as it was made; `secret` is the only time that anyone sees it."""

    row: Row
    secret: str

    def __repr__(self) -> str:
        return f"Issued({self.row.id})"


SecretSource = Callable[[], bytes]
"""32 random bytes."""


def _random_secret() -> bytes:
    return secrets.token_bytes(_SECRET_BYTES)


def create_token(change: Change, new: NewToken, *, secret_source: SecretSource = _random_secret) -> Issued:
    """Make a token. Raises ConfigurationError for a name that is none, or an end that has passed."""
    if not new.name.strip() or len(new.name) > MOST_NAME:
        raise ConfigurationError(f"{new.name[:80]!r} is no name for a token.", f"Use 1 to {MOST_NAME} characters.")
    if new.expires_at is not None and new.expires_at <= change.now:
        raise ConfigurationError("The token would have ended already.", "Choose a later end.")
    secret = PREFIX + base64.urlsafe_b64encode(secret_source()).decode().rstrip("=")
    shown = {
        "name": new.name,
        "role": str(new.role),
        "may_see_members": new.may_see_members,
        "space_id": new.space_id,
        "expires_at": new.expires_at,
    }
    row = change.insert(api_token, "tok", {**shown, "digest": secret_digest(secret), "created_by": change.registry.actor})
    change.record("create", f"token {row.id}", after=shown)
    return Issued(row, secret)


def list_tokens(c: sa.Connection) -> list[Row]:
    """Every token there ever was, the newest first."""
    return list(c.execute(sa.select(api_token).order_by(api_token.c.created_at.desc(), api_token.c.id)))


def any_valid_token(c: sa.Connection, now_us: int) -> bool:
    """True when someone could log in."""
    return c.execute(sa.select(api_token.c.id).where(*_valid()), {"now": now_us}).first() is not None


def revoke_token(change: Change, token_id: str) -> Row:
    """End a token and its sessions at once; one that is revoked stays so. Raises NotFoundError."""
    row = change.c.execute(sa.select(api_token).where(api_token.c.id == token_id)).first()
    if row is None:
        raise NotFoundError(f"There is no token {token_id!r}.", "See `engage token list`.")
    if row.revoked_at is not None:
        return row
    change.c.execute(console_session.delete().where(console_session.c.token_id == token_id))
    change.record("revoke", f"token {token_id}", before={"name": row.name, "role": row.role})
    return change.update(api_token, token_id, {"revoked_at": change.now})


def find_by_secret(c: sa.Connection, secret: str, now_us: int) -> Row | None:
    """The token that someone holds, None when there is no such, or it ended."""
    if not secret.startswith(PREFIX):
        return None
    digest = secret_digest(secret)
    row = c.execute(_by_digest(), {"digest": digest, "now": now_us}).first()
    # found by an index over digests; that comparison may stop early, this one decides
    return row if row is not None and hmac.compare_digest(row.digest, digest) else None


def note_use(c: sa.Connection, row: Row, now_us: int) -> None:
    """Remember that the token was used, to the hour."""
    c.execute(api_token.update().where(api_token.c.id == row.id).values(last_used_at=hour_of(now_us)))


def has_ended(row: Row, now_us: int) -> bool:
    """Whether its time is over, for a token that was valid when it was read."""
    return row.expires_at is not None and row.expires_at <= now_us


def was_used_this_hour(row: Row, now_us: int) -> bool:
    return row.last_used_at is not None and row.last_used_at >= hour_of(now_us)


def hour_of(at_us: int) -> int:
    return at_us - at_us % _HOUR_US


def open_session(c: sa.Connection, token: Row, now_us: int, *, secret_source: SecretSource = _random_secret) -> tuple[str, int]:
    """A cookie for the holder of `token`, and the instant at which it ends; sessions that ended are cleared away."""
    c.execute(console_session.delete().where(console_session.c.expires_at <= now_us))
    cookie = base64.urlsafe_b64encode(secret_source()).decode().rstrip("=")
    expires_at = min(now_us + SESSION_US, token.expires_at or now_us + SESSION_US)
    values: dict[str, Any] = {"digest": secret_digest(cookie), "token_id": token.id, "expires_at": expires_at, "created_at": now_us}
    c.execute(console_session.insert().values(values))
    return cookie, expires_at


def find_session(c: sa.Connection, cookie: str, now_us: int) -> Row | None:
    """The token behind a cookie, None when the session or the token ended."""
    return c.execute(_by_cookie(), {"digest": secret_digest(cookie), "now": now_us}).first()


def close_session(c: sa.Connection, cookie: str) -> None:
    c.execute(console_session.delete().where(console_session.c.digest == secret_digest(cookie)))


# ---- the questions, made once: every request asks one of them


@cache
def _by_digest() -> sa.Select[*tuple[Any, ...]]:
    return sa.select(api_token).where(api_token.c.digest == sa.bindparam("digest", type_=sa.String), *_valid())


@cache
def _by_cookie() -> sa.Select[*tuple[Any, ...]]:
    joined = console_session.join(api_token, api_token.c.id == console_session.c.token_id)
    s = console_session.c
    wanted = [s.digest == sa.bindparam("digest", type_=sa.String), s.expires_at > _now(), *_valid()]
    return sa.select(api_token).select_from(joined).where(*wanted)


def _valid() -> list[sa.ColumnElement[bool]]:
    t = api_token.c
    return [t.revoked_at.is_(None), sa.or_(t.expires_at.is_(None), t.expires_at > _now())]


def _now() -> sa.BindParameter[int]:
    return sa.bindparam("now", type_=sa.BigInteger)


def secret_digest(secret: str) -> str:
    """What is kept of a token or a cookie."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
