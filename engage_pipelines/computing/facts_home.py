"""Where the facts of a space are: those that were ingested, or the tables of a warehouse."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from engage_pipelines.domain.computation import Audience, Computation
from engage_pipelines.facts.admission import admits_strangers
from engage_pipelines.facts.session import FactsSession, open_session
from engage_pipelines.facts.store import read_manifest
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.lookup import list_spaces
from engage_pipelines.registry.secrets import Vault
from engage_pipelines.settings import Settings

if TYPE_CHECKING:
    from engage_pipelines.domain.warehouse_mapping import WarehouseFacts
    from engage_pipelines.facts.warehouse.session import Home


def open_facts(
    settings: Settings, space: str, mapped: Mapping[str, Any] | None, *, at_us: int, known: Iterable[Computation]
) -> FactsSession:
    """The facts of a space as of an instant; `mapped` is the mapping that the space has onto a warehouse. Raises StateError.

    `known` are the computations that may be asked about: visitors are read out of a warehouse when one of them admits any.
    """
    if mapped is None:
        return open_session(settings.facts_dir, space, at_us=at_us)
    # drivers of databases are of no use to everyone else
    from engage_pipelines.domain.warehouse_mapping import read_facts  # noqa: PLC0415
    from engage_pipelines.facts.warehouse.session import open_warehouse_session  # noqa: PLC0415

    with_visitors = admits_strangers(one for one in known if isinstance(one, Audience))
    home = open_home(settings, read_facts(mapped))
    return open_warehouse_session(home, settings.facts_dir, space, at_us=at_us, with_visitors=with_visitors)


def fingerprint_now(settings: Settings, space: str, mapped: Mapping[str, Any] | None) -> Callable[[], str]:
    """What the fingerprint of a session opened now would be, looked up when it is first asked for. Raises StateError then."""

    @cache
    def look() -> str:
        if mapped is None:
            return read_manifest(settings.facts_dir / space).id
        from engage_pipelines.domain.warehouse_mapping import read_facts  # noqa: PLC0415 - see above
        from engage_pipelines.facts.warehouse.session import read_fingerprint  # noqa: PLC0415 - see above

        return read_fingerprint(open_home(settings, read_facts(mapped)))

    return look


def mapped_facts(database: Database, space: str) -> "WarehouseFacts | None":
    """The mapping that a space has onto a warehouse, if that is where its facts are."""
    from engage_pipelines.domain.warehouse_mapping import read_facts  # noqa: PLC0415 - see above

    with database.read() as c:
        stored = next((one.facts for one in list_spaces(c) if one.key == space), None)
    return None if stored is None else read_facts(stored)


def open_home(settings: Settings, facts: "WarehouseFacts") -> "Home":
    """The mapping with the login. Raises StateError, naming the reference, when the secret is not there."""
    from engage_pipelines.facts.warehouse.session import Home  # noqa: PLC0415 - see above

    return Home(facts, Vault(settings.keys).resolve(facts.url, field="The URL of the facts"))
