"""Every destination type through the whole engine: an audience, a connection, a sync, a second version, and what the vendor then holds.

What a type does with a record is held by its own tests against the same fake vendors. Here the registry keeps its settings, its presets
make the payloads, and the engine cuts them into batches and reads its answers.
"""

import hashlib
import pkgutil
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import duckdb
import pytest
from cryptography.fernet import Fernet

from engage_pipelines.delivery import generation
from engage_pipelines.destinations import salesforce_jobs
from engage_pipelines.destinations.base import DestinationType
from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.destinations.sending.transport import close_idle_connections
from engage_pipelines.domain.computation import Level
from engage_pipelines.registry import audiences, connections, destinations, lookup, mappings
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.secrets import Vault
from engage_pipelines.registry.type_settings import SettingsDesk
from engage_pipelines.testing import vendors
from engage_pipelines.testing.vendor import KEY, FakeApi, Switchboard, fake_vendor
from engage_pipelines.testing.vendors.salesforce import Fake
from tests.delivery.world import World, make_world

DAY_US = 86_400_000_000
VAULT = Vault((Fernet.generate_key().decode(),))

TYPES = destination_types()
WITH_A_FAKE = sorted(module.name for module in pkgutil.iter_modules(vendors.__path__))


def by_user_id(number: int) -> str:
    return f"u-{number}"


def by_email(number: int) -> str:
    return f"u-{number}@example.test"


def by_hashed_email(number: int) -> str:
    return hashlib.sha256(by_email(number).encode()).hexdigest()


KNOWN_BY: dict[str, Callable[[int], str]] = {
    "display_video_360": by_hashed_email,
    "google_customer_match": by_hashed_email,
    "hubspot": by_email,
    "hubspot_lists": by_email,
    "klaviyo": by_email,
    "linkedin_audiences": by_hashed_email,
    "marketo_static_lists": by_email,
    "salesforce": by_email,
    "sendgrid": by_email,
    "sendgrid_lists": by_email,
    "tiktok_audiences": by_hashed_email,
}
"""What a vendor knows people as, where it is not the user id."""


class Standing:
    """The world of all types of a run, with one audience: each type is connected to it, sees one change of its members, and is let go."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.first = 0
        with world.registry.change() as change:
            new = audiences.NewAudience(KEY, Level.USER, "trait('plan') = 'business'", name="Big spenders")
            audiences.create_audience(change, world.space, new)
        self._publish()

    def members(self) -> range:
        """The numbers of those who are in."""
        return range(self.first, self.first + 3)

    def one_leaves_and_one_enters(self) -> None:
        self.first += 1
        self._publish()

    def connect(self, kind: DestinationType, settings: Mapping[str, object]) -> str:
        """The audience at a new destination of that type; gives the connection's id."""
        with self.world.registry.change() as change:
            new = destinations.NewDestination(kind.key, kind.key, dict(settings))
            destinations.create_destination(change, self.world.space, new)
            made = connections.connect(change, self.world.space, connections.NewConnection(KEY, kind.key, ("identify",)))
        return made.connection.id

    def disconnect(self, kind: DestinationType) -> None:
        """Let go of it, so that it owes nothing of the versions that others will see."""
        with self.world.registry.change() as change:
            audience = lookup.find_audience(change.c, self.world.space.id, KEY)
            to = destinations.find_destination(change.c, self.world.space.id, kind.key)
            connections.remove(change, self.world.space, audience, to)

    def sync(self, connection: str) -> None:
        """A day later, so that no vendor is asked too soon."""
        self.world.time.now_us += DAY_US
        self.world.sync_until_done(connection)
        assert self.world.rows(t.exception) == []
        assert self.world.owed() == []

    def _publish(self) -> None:
        known = {n: [f"user_id:u-{n}", f"email:{by_email(n)}"] for n in self.members()}
        assert self.world.publish(known, key=KEY) == "published"


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    with every_type(tmp_path_factory.mktemp("home")) as made:
        yield made


@contextmanager
def every_type(home: Path) -> Generator[Standing]:
    """Every type of the catalogue, a vault that encrypts, and a planning database that is opened once for all of them."""
    made = make_world(home)
    made.registry = replace(made.registry, types=TYPES, desk=SettingsDesk(VAULT, made.runtime.settings.files_dir))
    made.runtime = replace(made.runtime, registry=made.registry, max_changes=1_000)
    with pytest.MonkeyPatch.context() as patch, duckdb.connect(config={"threads": 1}) as planning:
        patch.setattr(generation, "connect", lambda _scratch: planning.cursor())
        yield Standing(made)
    close_idle_connections()
    made.registry.database.close()


@pytest.mark.parametrize("key", WITH_A_FAKE)
def test_a_vendor_holds_who_is_a_member_after_the_first_sync_and_after_the_next(standing: Standing, key: str):
    fake, known_by = fake_vendor(key), KNOWN_BY.get(key, by_user_id)
    with Switchboard(fake).server as server:
        connection = standing.connect(TYPES[key], fake.settings(server.url))
        try:
            standing.sync(connection)
            assert members(fake) == {known_by(n) for n in standing.members()}
            standing.one_leaves_and_one_enters()
            standing.sync(connection)
            assert members(fake) == {known_by(n) for n in standing.members()}
        finally:
            standing.disconnect(TYPES[key])


def test_rows_that_a_slow_job_refuses_are_dead_letters_with_the_vendors_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(salesforce_jobs, "LOOKS_AFTER_S", (0.0,))
    fake = cast(Fake, fake_vendor("salesforce"))
    fake.looks_before_done = 2
    fake.refuse(by_email(1))
    with every_type(tmp_path) as standing, Switchboard(fake).server as server:
        connection = standing.connect(TYPES["salesforce"], {**fake.settings(server.url), "bulk": True, "jobs": True})
        with standing.world.registry.change() as change:
            to = destinations.find_destination(change.c, standing.world.space.id, "salesforce")
            (preset,) = mappings.list_mappings(change.c, to.id)
            told_apart_by = {"externalIdName": "Outside_Id__c", "externalIdValue": {"@path": "$.traits.email"}}
            mappings.update_mapping(change, to, preset, fields={**preset.fields, "bulkUpsertExternalId": told_apart_by})
        standing.world.sync_until_done(connection)
        (letter,) = standing.world.rows(t.exception)
    assert (letter.kind, letter.address) == ("rejected", f"email:{by_email(1)}")
    assert "FIELD_CUSTOM_VALIDATION_EXCEPTION" in letter.reason
    assert members(fake) == {by_email(0), by_email(2)}
    assert len(fake.jobs) == 1


def members(fake: FakeApi) -> set[str]:
    return {person for person, is_in in fake.held().items() if is_in}
