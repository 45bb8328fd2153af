"""Which traits ride along in the records of a connection, as people say it."""

from collections.abc import Sequence

from engage_pipelines.domain.enrichment import OPTION, parse_enrichment, stored
from engage_pipelines.domain.errors import UsageError
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.tables import connection


def enrichment_options(space: Row, of: Row, traits: Sequence[str] | None) -> dict[str, list[str]]:
    """The options of a connection of `of` that sends these too. Raises UsageError for those that cannot ride along."""
    if not traits:
        return {}
    found = parse_enrichment(traits, key=of.key)
    if space.facts is not None:
        raise UsageError("Traits do not ride along where the facts are in a warehouse.", "Leave them out.")
    return {OPTION: stored(found)}


def set_enrichment(change: Change, space: Row, row: Row, of: Row, traits: Sequence[str], *, named: str) -> Row:
    """Have other traits ride along from now on; nothing is sent for it."""
    given = enrichment_options(space, of, traits)
    before = row.options.get(OPTION, [])
    if before == given.get(OPTION, []):
        return row
    change.check_editable(row, f"The {named}")
    others = {name: value for name, value in row.options.items() if name != OPTION}
    change.record("update", named, before={OPTION: before}, after={OPTION: given.get(OPTION, [])})
    return change.update(connection, row.id, {"options": {**others, **given}})
