"""Access tokens that several processes use: bought once, kept encrypted, and bought anew when the settings say other credentials."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from engage_pipelines.destinations.authentication import MemoryTokens, Token
from engage_pipelines.destinations.base import Accepted, Stop
from engage_pipelines.destinations.linkedin_audiences import LinkedinAudiences
from engage_pipelines.registry.access_tokens import LOCK_S, StoredTokens, settings_for_sending
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.destinations import NewDestination, create_destination, update_destination
from engage_pipelines.registry.secret_care import rotate_secrets
from engage_pipelines.registry.secrets import Vault
from engage_pipelines.registry.spaces import NewSpace, create_space
from engage_pipelines.registry.tables import access_token, destination
from engage_pipelines.registry.type_settings import SettingsDesk
from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import Switchboard, reply_json, sent_form
from engage_pipelines.testing.vendors.linkedin_audiences import Fake

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


class RotatingFake(Fake):
    """A vendor that hands out a new refresh token with each access token and takes the old one no more."""

    def __init__(self) -> None:
        super().__init__()
        self.refresh_token = "the-refresh-token"
        self.sold = 0

    def respond(self, request: Received) -> Reply:
        if request.path != self.token_path:
            return super().respond(request)
        if sent_form(request)["refresh_token"] != self.refresh_token:
            return Reply(400, b'{"error": "invalid_grant"}')
        self.sold += 1
        self.refresh_token = f"refresh-token-{self.sold}"
        self.access = f"access-token-{self.sold}"
        return reply_json({"access_token": self.access, "refresh_token": self.refresh_token, "expires_in": 3600})


class Offices:
    """Several processes at one destination of a fake vendor: each has a registry of its own over the same database."""

    def __init__(self, database: Database, database_url: str, vendor: RotatingFake, url: str) -> None:
        self.type, self.vendor, self.database = LinkedinAudiences(), vendor, database
        self.url, self._database_url, self._more = url, database_url, list[Database]()
        with self.registry().change() as change:
            self.space = create_space(change, NewSpace("default"))
            create_destination(change, self.space, NewDestination("ads", self.type.key, vendor.settings(url)))

    def registry(self, keys: tuple[str, ...] = (OLD,), database: Database | None = None) -> Registry:
        desk = SettingsDesk(Vault(keys), Path("/nowhere"))
        return Registry(database=database or self.database, types={self.type.key: self.type}, desk=desk, actor="test")

    def settings(self, keys: tuple[str, ...] = (OLD,), database: Database | None = None) -> Any:
        """The settings as a process that has just begun has them."""
        return settings_for_sending(self.registry(keys, database), self.type, self.destination())

    def destination(self) -> Any:
        with self.database.read() as c:
            return c.execute(sa.select(destination)).one()

    def another_database(self) -> Database:
        self._more.append(Database(self._database_url))
        return self._more[-1]

    def rows(self) -> list[Any]:
        with self.database.read() as c:
            return list(c.execute(sa.select(access_token)))

    def close(self) -> None:
        for database in self._more:
            database.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def offices(request: pytest.FixtureRequest) -> Iterator[Offices]:
    database_url = request.getfixturevalue(f"{request.param}_url")
    database, vendor = Database(database_url), RotatingFake()
    board = Switchboard(vendor)
    with board.server as server:
        made = Offices(database, database_url, vendor, server.url)
        yield made
        made.close()
    database.close()


def test_two_processes_that_find_their_token_refused_together_buy_one(offices: Offices):
    offices.type.test(offices.settings())
    processes = [offices.settings(database=offices.another_database()) for _ in range(2)]
    assert [offices.type.test(settings) for settings in processes] == [Accepted(), Accepted()]
    sold = offices.vendor.sold
    offices.vendor.access = "another-one-counts-now"
    verdicts: list[Any] = []
    threads = [threading.Thread(target=lambda s=settings: verdicts.append(offices.type.test(s))) for settings in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts == [Accepted(), Accepted()]
    assert offices.vendor.sold == sold + 1


def test_a_new_refresh_token_is_what_the_next_process_begins_with(offices: Offices):
    for number in (1, 2):
        offices.vendor.expire()
        assert offices.type.test(offices.settings()) == Accepted()
        assert offices.vendor.sold == number


def test_nothing_of_a_token_is_readable_in_the_database(offices: Offices):
    offices.type.test(offices.settings())
    (row,) = offices.rows()
    assert row.sealed.startswith("enc:")
    assert not [secret for secret in ("access-token", "refresh-token") if secret in repr(row)]


def test_other_credentials_in_the_settings_begin_anew(offices: Offices):
    offices.type.test(offices.settings())
    offices.vendor.refresh_token = "consented-again"
    registry = offices.registry()
    with registry.change() as change:
        given = {**offices.vendor.settings(offices.url), "refresh_token": "consented-again"}
        update_destination(change, offices.space, offices.destination(), settings=given)
    assert offices.type.test(offices.settings()) == Accepted()


def test_a_token_that_no_key_opens_any_more_is_bought_again_from_the_settings(offices: Offices):
    offices.type.test(offices.settings())
    stored = StoredTokens(offices.database, Vault((NEW,)), offices.rows()[0].destination_id, credentials="")
    assert stored.current() is None


def test_rotating_keys_brings_the_token_under_the_newest(offices: Offices):
    offices.type.test(offices.settings())
    rotated = rotate_secrets(offices.registry((NEW, OLD)))
    assert (rotated.rotated, rotated.failed) == (1, ())
    assert offices.type.test(offices.settings((NEW,))) == Accepted()
    assert offices.vendor.sold == 1


def test_without_keys_a_token_stays_in_the_process(offices: Offices, monkeypatch: pytest.MonkeyPatch):
    for name in ("client_secret", "refresh_token"):
        monkeypatch.setenv(name.upper(), f"the-{name.replace('_', '-')}")
    with offices.database.write() as c:
        given = {**offices.vendor.settings(offices.url), "client_secret": "env:CLIENT_SECRET", "refresh_token": "env:REFRESH_TOKEN"}
        c.execute(destination.update().values(settings=given))
    settings = offices.settings(())
    assert offices.type.test(settings) == Accepted()
    assert isinstance(settings.tokens, MemoryTokens)
    assert offices.rows() == []


def test_a_verdict_in_place_of_a_token_gives_the_lock_back_and_keeps_nothing(offices: Offices):
    offices.vendor.refresh_token = "withdrawn"
    assert isinstance(offices.type.test(offices.settings()), Stop)
    (row,) = offices.rows()
    assert (row.sealed, row.renewing_by, row.renewing_until) == (None, None, 0)


def test_a_process_that_died_while_it_bought_is_waited_for_no_longer_than_its_lock(offices: Offices):
    database, name = offices.database, offices.destination().id
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            with database.write() as c:
                c.execute(access_token.update().values(renewing_until=0))

    with database.write() as c:
        now = database.now_us(c)
        c.execute(access_token.insert().values(destination_id=name, renewing_by="tok_dead", renewing_until=now + round(LOCK_S * 1e6)))
    stored = StoredTokens(database, Vault((OLD,)), name, credentials="x", sleep=sleep)
    assert stored.renew(None, lambda _latest: Token("access")) == Token("access")
    assert len(slept) == 3
