"""Opening what a command works on: the database alone when it only looks, the registry with the destination types when it changes."""

from typing import TYPE_CHECKING

from engage_pipelines.registry.database import Database
from engage_pipelines.registry.lookup import DEFAULT_SPACE, find_space, list_spaces
from engage_pipelines.settings import Settings, read_settings

if TYPE_CHECKING:
    from engage_pipelines.registry.change import Registry


def open_database(settings: Settings | None = None) -> Database:
    return Database((settings or read_settings()).database_url)


def open_registry() -> "Registry":
    """The registry of this process's settings, with every destination type there is."""
    from engage_pipelines.cli.types import InstalledTypes  # noqa: PLC0415 - types bring pydantic, looking needs neither
    from engage_pipelines.registry.change import open_registry as open_with  # noqa: PLC0415

    return open_with(read_settings(), types=InstalledTypes())


def meant_space(database: Database, settings: Settings) -> str:
    """The key of the space that a command on facts means: the one named, else the only one there is, else the default."""
    with database.read() as c:
        if settings.space is None and not list_spaces(c):
            return DEFAULT_SPACE
        return settings.space or find_space(c).key
