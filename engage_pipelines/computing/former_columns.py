"""Columns that the SELECT of a trait had and has no more: their values are null from then on, so that nobody keeps the last one.

All rows of a version have the same columns, so the newest row that came says which they are.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import duckdb
import orjson

from engage_pipelines.domain.computation import Computation, TraitComputation, TraitType
from engage_pipelines.facts.store import state_errors
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.versions import published_versions
from engage_pipelines.snapshots.rows import Chain


def with_former_columns(database: Database, folder: Path, computations: Sequence[Computation]) -> list[Computation]:
    """The computations, traits by a SELECT with the columns of their versions; `folder` has those of the space. Raises StateError."""
    return [_with_columns(database, folder, each) for each in computations]


def _with_columns(database: Database, folder: Path, computation: Computation) -> Computation:
    if not isinstance(computation, TraitComputation) or computation.type is not TraitType.SQL:
        return computation
    chain = Chain.of(folder / computation.key, database.ask(lambda c: published_versions(c, computation.id)), has_values=True)
    return replace(computation, former_columns=_columns(chain, computation.level.value)) if chain.versions else computation


def _columns(chain: Chain, level: str) -> tuple[str, ...]:
    first, last = chain.versions[0].n, chain.versions[-1].n
    with state_errors(chain.folder), duckdb.connect() as db:
        for path in reversed(chain.change_files(0, last)):
            came = "" if path.parent.name == str(first) else " and sign > 0"
            query = f"select value from read_parquet($1) where level = $2 and value like '{{%'{came} limit 1"
            found = db.execute(query, [str(path), level]).fetchall()
            if found:
                return tuple(orjson.loads(found[0][0]))
    return ()
