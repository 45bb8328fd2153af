"""Every destination type through the whole engine: an audience, a connection, a sync, a second version, and what the vendor then holds.

What a type does with a record is held by its own tests against the same fake vendors. Here the registry keeps its settings, its presets
make the payloads, and the engine cuts them into batches and reads its answers.
"""

import hashlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from engage_pipelines.destinations.base import DestinationType
from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.destinations.sending.transport import close_idle_connections
from engage_pipelines.domain.computation import Level
from engage_pipelines.registry import computations, connections, destinations
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.secrets import Vault
from engage_pipelines.registry.type_settings import SettingsDesk
from engage_pipelines.testing import vendors
from engage_pipelines.testing.vendor import KEY, FakeApi, Switchboard, fake_vendor
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


@pytest.fixture
def home(tmp_path: Path) -> Iterator[World]:
    """The world with every type of the catalogue, and a vault that encrypts."""
    made = make_world(tmp_path)
    made.registry = replace(made.registry, types=TYPES, desk=SettingsDesk(VAULT, made.runtime.settings.files_dir))
    made.runtime = replace(made.runtime, registry=made.registry, max_changes=1_000)
    yield made
    close_idle_connections()
    made.registry.database.close()


def connected(world: World, kind: DestinationType, fake: FakeApi, url: str) -> str:
    """An audience at a destination of that type; gives the connection's id."""
    with world.registry.change() as change:
        new = computations.NewAudience(KEY, Level.USER, "trait('plan') = 'business'", name="Big spenders")
        computations.create_audience(change, world.space, new)
        destinations.create_destination(change, world.space, destinations.NewDestination("vendor", kind.key, dict(fake.settings(url))))
        made = connections.connect(change, world.space, connections.NewConnection(KEY, "vendor", ("identify",)))
    return made.connection.id


def publish(world: World, *numbers: int) -> None:
    assert world.publish({n: [f"user_id:u-{n}", f"email:{by_email(n)}"] for n in numbers}, key=KEY) == "published"


def sync(world: World, connection: str) -> None:
    """A day later, so that no vendor is asked too soon."""
    world.time.now_us += DAY_US
    world.sync_until_done(connection)
    assert world.rows(t.exception) == []
    assert world.owed() == []


@pytest.mark.parametrize("key", WITH_A_FAKE)
def test_a_vendor_holds_who_is_a_member_after_the_first_sync_and_after_the_next(home: World, key: str):
    fake, known_by = fake_vendor(key), KNOWN_BY.get(key, by_user_id)
    with Switchboard(fake).server as server:
        connection = connected(home, TYPES[key], fake, server.url)
        publish(home, 0, 1, 2, 3, 4)
        sync(home, connection)
        assert members(fake) == {known_by(n) for n in range(5)}
        publish(home, 1, 2, 3, 4, 5)
        sync(home, connection)
        assert members(fake) == {known_by(n) for n in range(1, 6)}


def members(fake: FakeApi) -> set[str]:
    return {person for person, is_in in fake.held().items() if is_in}
