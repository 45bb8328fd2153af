"""A person to be erased whose facts are in a warehouse, which nothing is ever written to."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engage_pipelines.computing.facts_home import open_home
from engage_pipelines.facts.erase import Person
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.suppression import Profile
from engage_pipelines.settings import Settings

if TYPE_CHECKING:
    from engage_pipelines.facts.warehouse.erase import WarehousePerson


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """How the warehouse, and what is kept of it in `folder`, knows the person."""

    folder: Path
    found: "WarehousePerson"

    @property
    def person(self) -> Person:
        return self.found.person

    @property
    def is_there(self) -> bool:
        """Whether the warehouse itself still has the person."""
        return self.found.is_in_warehouse

    def forget(self) -> int:
        """Take away what is kept beside versions and records: the numbers of the person's identifiers; how many."""
        from engage_pipelines.facts.warehouse.erase import forget_in_warehouse  # noqa: PLC0415 - see below

        return forget_in_warehouse(self.folder, self.found)


def find_elsewhere(settings: Settings, space: Row, profile: Profile, *, at_us: int) -> Elsewhere:
    """Raises ConflictError when several profiles hold the identifier, StateError when the warehouse or a file cannot be read."""
    # drivers of databases are of no use to everyone else
    from engage_pipelines.domain.warehouse_mapping import read_facts  # noqa: PLC0415
    from engage_pipelines.facts.warehouse.erase import find_in_warehouse  # noqa: PLC0415
    from engage_pipelines.facts.warehouse.session import open_warehouse_session  # noqa: PLC0415

    folder, home = settings.facts_dir / space.key, open_home(settings, read_facts(space.facts))
    with open_warehouse_session(home, settings.facts_dir, space.key, at_us=at_us, with_visitors=True) as session:
        found = find_in_warehouse(session, folder, settings.snapshots_dir / space.key, profile.kind, profile.id)
    return Elsewhere(folder, found)
