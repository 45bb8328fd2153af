"""A registry with two made-up destination types, deterministic ids and a clock that the test moves."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import ConfigurationError
from engage_pipelines.registry.audiences import NewAudience, create_audience
from engage_pipelines.registry.change import Change, Registry
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.destinations import NewDestination, create_destination
from engage_pipelines.registry.secrets import Vault
from engage_pipelines.registry.spaces import NewSpace, create_space
from engage_pipelines.registry.tables import metadata
from engage_pipelines.registry.type_settings import SettingsDesk


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: str
    api_key: SecretStr | None = None
    headers: dict[str, SecretStr] = {}


class _ListSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    path: str


@dataclass(frozen=True)
class _Action:
    key: str
    calls: frozenset[str]
    fields: dict[str, Any] = field(default_factory=lambda: {"whole": {"@path": "$."}})
    direction: str = "both"


@dataclass(frozen=True)
class _Preset:
    name: str
    call: str
    trigger: str
    action: str
    fields: dict[str, Any] | None = None


@dataclass(frozen=True)
class _Type:
    key: str
    name: str
    settings_model: type[BaseModel]
    actions: tuple[_Action, ...]
    presets: tuple[_Preset, ...]
    target_setting: str | None = None
    list_settings_model: type[BaseModel] | None = None

    def configure(self, values: Any, *, files_dir: Path) -> Any:
        try:
            return self.settings_model.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigurationError("; ".join(f"{item['loc']}: {item['msg']}" for item in error.errors()), "Mend it.") from None

    def external_target(self, settings: Any, target: Any) -> str | None:
        return None if self.target_setting is None else f"{getattr(settings, self.target_setting)}/{target.space}"


def _preset(call: str) -> _Preset:
    return _Preset(call.title(), call, f"type = '{call}' and context.personas.computation_key = '{{key}}'", "send")


CRM = _Type(
    "crm",
    "CRM",
    _Settings,
    (_Action("send", frozenset({"group", "identify", "track"})),),
    (_preset("group"), _preset("identify"), _preset("track")),
)
LIST = _Type("list", "List", _ListSettings, (_Action("send", frozenset({"track"})),), (_preset("track"),), "path")
BARE = _Type("bare", "Bare", _ListSettings, (_Action("send", frozenset({"identify"})),), ())


@dataclass
class World:
    """A registry with a space `b2b`, a clock and short words for what tests do a lot."""

    registry: Registry
    moved_us: int = 0
    ids: int = 0

    @property
    def database(self) -> Database:
        return self.registry.database

    def do(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run one function of the registry in a change of its own."""
        with self.registry.change() as change:
            return function(change, *args, **kwargs)

    def look(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self.database.read() as c:
            return function(c, *args, **kwargs)

    def rows(self, name: str, **where: Any) -> list[Any]:
        table = metadata.tables[name]
        with self.database.read() as c:
            return list(c.execute(sa.select(table).where(*(table.c[key] == value for key, value in where.items()))))

    def audience(self, key: str, *, level: Level = Level.USER, definition: str = "event('Signed In').count() >= 1", **fields: Any) -> Any:
        return self.do(create_audience, self.space, NewAudience(key=key, level=level, definition=definition, **fields))

    def destination(self, key: str, type_key: str = "crm", **settings: Any) -> Any:
        given = settings or ({"url": "https://crm.test"} if type_key == "crm" else {"path": f"lists/{key}"})
        return self.do(create_destination, self.space, NewDestination(key=key, type=type_key, settings=given))

    @property
    def space(self) -> Any:
        return self.rows("space", key="b2b")[0]

    def publish(self, audience: Any, n: int, *, size: int = 3) -> None:
        """What publishing a version leaves in the tables, without the request it writes."""
        values = {"computation_id": audience.id, "n": n, "state": "published", "evaluated_at": n, "definition": "", "size": size}
        with self.database.write() as c:
            c.execute(metadata.tables["version"].insert().values(**values, created_at=n))
            table = metadata.tables["computation"]
            c.execute(table.update().where(table.c.id == audience.id).values(current_version=n))


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    counter = iter(range(1, 10_000))
    registry = Registry(
        database=database,
        types={one.key: one for one in (CRM, LIST, BARE)},
        desk=SettingsDesk(Vault(), Path("/nowhere")),
        actor="tester",
        new_id=lambda prefix: f"{prefix}_{next(counter):05d}",
    )
    made = World(registry)
    with registry.change() as change:
        create_space(change, NewSpace(key="b2b", name="B2B"))
    return made


@pytest.fixture
def change(world: World) -> Iterator[Change]:
    with world.registry.change() as opened:
        yield opened
