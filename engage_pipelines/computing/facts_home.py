"""Where the facts of a space are: those that were ingested, or the tables of a warehouse."""

from collections.abc import Mapping
from typing import Any

from engage_pipelines.domain.errors import UsageError
from engage_pipelines.facts.session import FactsSession, open_session
from engage_pipelines.registry.secrets import Vault
from engage_pipelines.settings import Settings


def open_facts(settings: Settings, space: str, mapped: Mapping[str, Any] | None, *, at_us: int) -> FactsSession:
    """The facts of a space as of an instant; `mapped` is the mapping that the space has onto a warehouse. Raises StateError."""
    if mapped is None:
        return open_session(settings.facts_dir, space, at_us=at_us)
    # drivers of databases are of no use to everyone else
    from engage_pipelines.domain.warehouse_mapping import read_facts  # noqa: PLC0415
    from engage_pipelines.facts.warehouse.session import Home, open_warehouse_session  # noqa: PLC0415

    facts = read_facts(mapped)
    home = Home(facts, Vault(settings.keys).resolve(facts.url, field="The URL of the facts"))
    return open_warehouse_session(home, settings.facts_dir, space, at_us=at_us)


def refuse_warehouse(session: FactsSession, what: str) -> None:
    """Raises UsageError for what needs the rows themselves, which stay in the warehouse."""
    if session.elsewhere is not None:
        raise UsageError(f"{what} is not there yet for facts in a warehouse.", "See docs/warehouse.md.")
