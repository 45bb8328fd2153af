"""The destination types that are installed, each loaded when it is asked for: a command needs one or two of dozens."""

from collections.abc import Iterator, Mapping

from engage_pipelines.destinations.base import DestinationType
from engage_pipelines.destinations.catalog import destination_type, destination_types
from engage_pipelines.domain.errors import NotFoundError


class InstalledTypes(Mapping[str, DestinationType]):
    """Types by key; looking through all of them loads them all."""

    def __getitem__(self, key: str) -> DestinationType:
        try:
            return destination_type(key)
        except NotFoundError:
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[str]:
        return iter(destination_types())

    def __len__(self) -> int:
        return len(destination_types())
