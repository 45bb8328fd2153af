"""Access tokens of destinations with OAuth 2, one row each: every process uses the latest, and one alone buys the next.

The row holds token and refresh token encrypted with ENGAGE_KEYS, and what they were bought with, so that other credentials in the settings
begin anew. Whoever finds its token refused takes the row's lock; the others wait for what it brings. No transaction is open meanwhile. A
lock whose owner died ends after `LOCK_S`, which is longer than any request may take. Without keys a token is kept in memory, for the
process that bought it alone: a vendor that hands out a new refresh token each time needs ENGAGE_KEYS.
"""

import hashlib
import threading
import time
from collections.abc import Callable
from typing import Any

import orjson
import sqlalchemy as sa

from engage_pipelines.destinations.authentication import OAuth2, Token
from engage_pipelines.destinations.base import Backoff, DestinationType, Settings, Verdict
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.database import Database, insert_if_new
from engage_pipelines.registry.ids import random_id
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.secrets import Vault
from engage_pipelines.registry.tables import access_token

LOCK_S = 60.0
LOOK_EVERY_S = 0.1

Fetch = Callable[[Token | None], Token | Verdict]


def settings_for_sending(registry: Registry, info: DestinationType, row: Row) -> Any:
    """The settings of the destination `row` with every secret in them, and its access token where all processes find it.

    Raises what `SettingsDesk.resolve` raises.
    """
    settings: Settings = registry.desk.resolve(info, row.settings)
    if isinstance(info.authentication, OAuth2) and registry.desk.vault.has_keys:
        settings.keep_tokens_in(StoredTokens(registry.database, registry.desk.vault, row.id, credentials=_credentials(settings)))
    return settings


class StoredTokens:
    """The token of one destination; `credentials` is a digest of what it is bought with."""

    def __init__(
        self, database: Database, vault: Vault, destination_id: str, *, credentials: str, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._database = database
        self._vault = vault
        self._destination_id = destination_id
        self._credentials = credentials
        self._sleep = sleep
        self._me = random_id("tok")
        self._known: Token | None = None
        self._in_process = threading.Lock()

    def current(self) -> Token | None:
        """The token as this process knows it; the database is asked once."""
        if self._known is None:
            self._known = self._opened(self._database.ask(lambda c: _row(c, self._destination_id)))
        return self._known

    def renew(self, used: Token | None, fetch: Fetch) -> Token | Verdict:
        with self._in_process:
            if self._known is not None and self._known != used:
                return self._known
            waited_s = 0.0
            while True:
                newer, is_mine = self._take(used)
                if newer is not None and not is_mine:
                    self._known = newer
                    return newer
                if is_mine:
                    return self._buy(newer, fetch)
                if waited_s > LOCK_S:
                    return Backoff("another process buys an access token for this destination, and that takes long")
                self._sleep(LOOK_EVERY_S)
                waited_s += LOOK_EVERY_S

    def _take(self, used: Token | None) -> tuple[Token | None, bool]:
        """The latest token, and whether it is ours now to buy the next; neither while another process is at it."""

        def body(c: sa.Connection) -> tuple[Token | None, bool]:
            c.execute(insert_if_new(c, access_token), [{"destination_id": self._destination_id, "renewing_until": 0}])
            row = _row(c, self._destination_id, lock=True)
            assert row is not None
            latest = self._opened(row)
            if latest is not None and latest.access != (used.access if used else None):
                return latest, False
            now = self._database.now_us(c)
            if row.renewing_until > now and row.renewing_by != self._me:
                return None, False
            self._write(c, renewing_by=self._me, renewing_until=now + round(LOCK_S * 1_000_000))
            return latest, True

        return self._database.tell(body)

    def _buy(self, latest: Token | None, fetch: Fetch) -> Token | Verdict:
        bought: Token | None = None
        try:
            got = fetch(latest)
            bought = got if isinstance(got, Token) else None
        finally:
            self._give_back(bought)
        self._known = bought or self._known
        return got

    def _give_back(self, token: Token | None) -> None:
        """Let go, with the new token if there is one; whoever lost the lock by sleeping too long changes nothing."""

        def body(c: sa.Connection) -> None:
            row = _row(c, self._destination_id, lock=True)
            if row is None or row.renewing_by != self._me:
                return
            kept = {} if token is None else {"sealed": self._sealed(token), "renewed_at": self._database.now_us(c)}
            self._write(c, renewing_by=None, renewing_until=0, **kept)

        self._database.tell(body)

    def _write(self, c: sa.Connection, **values: Any) -> None:
        c.execute(access_token.update().where(access_token.c.destination_id == self._destination_id).values(**values))

    def _sealed(self, token: Token) -> str:
        said = {"access": token.access, "refresh": token.refresh, "expires_in_s": token.expires_in_s, "for": self._credentials}
        return self._vault.seal(orjson.dumps(said).decode())

    def _opened(self, row: Row | None) -> Token | None:
        """The token of a row; none when other credentials bought it, or no key opens it any more: then another is bought."""
        if row is None or row.sealed is None:
            return None
        try:
            said = orjson.loads(self._vault.resolve(row.sealed, field="access token"))
        except EngageError:
            return None
        return Token(said["access"], said["refresh"], said["expires_in_s"]) if said["for"] == self._credentials else None


def _row(c: sa.Connection, destination_id: str, *, lock: bool = False) -> Row | None:
    query = sa.select(access_token).where(access_token.c.destination_id == destination_id)
    return c.execute(query.with_for_update() if lock else query).first()


def _credentials(settings: Settings) -> str:
    """A digest of the settings with their secrets; it lies nowhere but inside what is encrypted."""
    plain = sorted((name, str(value)) for name, value in settings.model_dump(mode="json").items() if name not in settings.secret_fields())
    return hashlib.sha256(orjson.dumps([plain, list(settings.secret_values())])).hexdigest()


def rotate_token(c: sa.Connection, vault: Vault, destination_id: str) -> bool:
    """Encrypt the token of a destination under the newest key; True when it was under an older one. Raises StateError."""
    row = _row(c, destination_id, lock=True)
    if row is None or row.sealed is None:
        return False
    sealed = vault.rotated(row.sealed, field="access token")
    if sealed == row.sealed:
        return False
    c.execute(access_token.update().where(access_token.c.destination_id == destination_id).values(sealed=sealed))
    return True
