"""The traits that ride along in the records of a generation, put beside its planned changes as they are when it is planned.

A key of a computed trait means its published values, also those of accounts on users; any other key a trait that was sent, the last value.
"""

# pyarrow has no types of its own
# pyright: reportUnknownParameterType=false, reportUnknownMemberType=false
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import sqlalchemy as sa

from engage_pipelines.delivery.state import ConnectionRow
from engage_pipelines.domain.enrichment import Enriching, enrichment_in
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.versions import published_versions
from engage_pipelines.snapshots.rows import Chain

if TYPE_CHECKING:
    from engage_pipelines.settings import Settings


@dataclass(frozen=True, slots=True)
class Riding:
    """What rides along on a connection, and where its values are: `chains` by key those of computed traits, the others in the facts."""

    traits: tuple[Enriching, ...] = ()
    chains: Mapping[str, Chain] = field(default_factory=dict[str, Chain])
    facts_dir: Path = Path()
    space: str = ""
    pinned_at_us: int | None = None

    def __bool__(self) -> bool:
        return bool(self.traits)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.traits)


def riding_of(c: sa.Connection, settings: "Settings", of_connection: ConnectionRow) -> Riding:
    """What rides along on a connection, and where its values are to be read."""
    traits, space_id = enrichment_in(of_connection.options), of_connection.space_id
    if not traits:
        return Riding()
    com = t.computation.c
    keys = {one.trait.partition(".")[0] for one in traits}
    of = c.execute(sa.select(t.space).where(t.space.c.id == space_id)).one()
    wanted = sa.and_(com.space_id == space_id, com.kind == "trait", com.key.in_(keys), com.deleted_at.is_(None))
    rows = c.execute(sa.select(com.id, com.key).where(wanted)).all()
    chains = {row.key: Chain.of(settings.snapshots_dir / of.key / row.key, published_versions(c, row.id), has_values=True) for row in rows}
    return Riding(traits, chains, settings.facts_dir, of.key, of.evaluate_at)


def add_riding(db: duckdb.DuckDBPyConnection, riding: Riding, *, level: str, now_us: int) -> None:
    """Add the column `extra` to the planned changes: a JSON object of what rides along, of those who have none of it an empty one."""
    db.execute("create or replace temp table ridden as select distinct member from owed")
    at_us = now_us if riding.pinned_at_us is None else riding.pinned_at_us
    computed = [one for one in riding.traits if one.trait.partition(".")[0] in riding.chains]
    given = [one for one in riding.traits if one not in computed]
    for one in computed:
        _add(db, riding.traits.index(one), _computed(riding.chains[one.trait.partition(".")[0]], one.trait.partition(".")[2], level))
    if given:
        from engage_pipelines.facts.session import open_session  # noqa: PLC0415 (facts are of no use to other connections)

        with open_session(riding.facts_dir, riding.space, at_us=at_us) as session:
            for one in given:
                _add(db, riding.traits.index(one), _given(db, session.connection, one.trait))
    places = range(len(riding.traits))
    texts = ", ".join(f"case when v{n}.value is not null then '\"{riding.traits[n].name}\":' || v{n}.value end" for n in places)
    joins = " ".join(f"left join riding_{n} v{n} on v{n}.member = r.member" for n in places)
    told = f"select r.member, '{{' || concat_ws(',', {texts}) || '}}' as extra from ridden r {joins}"
    db.execute(f"create or replace temp table extras as {told}")
    db.execute("alter table owed add column extra varchar")
    db.execute("update owed set extra = e.extra from extras e where e.member = owed.member")


def _add(db: duckdb.DuckDBPyConnection, place: int, rows: Any) -> None:
    if isinstance(rows, str):
        db.execute(f"create or replace temp table riding_{place} as {rows}")
        return
    db.register("riding_rows", rows)
    db.execute(f"create or replace temp table riding_{place} as select * from riding_rows")
    db.unregister("riding_rows")


def _computed(chain: Chain, inside: str, level: str) -> str:
    """SQL for the values of the published version; of a SELECT's trait those of one column."""
    if not chain.versions:
        return "select 0::bigint as member, null::varchar as value where false"
    rows = chain.rows(chain.versions[-1].n, f"level = '{level}' and member in (select member from ridden)")
    value = "value" if not inside else "json_extract(value, '$.\"{}\"')::varchar".format(inside.replace("'", "''").replace('"', ""))
    return f"select member, nullif({value}, 'null') as value from (select member, any_value(value) as value from ({rows}) group by member)"


def _given(db: duckdb.DuckDBPyConnection, facts: duckdb.DuckDBPyConnection, key: str) -> Any:
    """The last value that each of the members was given."""
    from engage_pipelines.facts.known import present_values  # noqa: PLC0415 - see above

    facts.register("ridden", db.sql("select member from ridden").to_arrow_table())
    values = f"select member, value from ({present_values(key)}) semi join ridden using (member) where value <> 'null'"
    table = facts.sql(values).to_arrow_table()
    facts.unregister("ridden")
    return table
