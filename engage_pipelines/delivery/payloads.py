"""Payloads of dead letters: where they lie in the files of generations, and when those files go.

A payload holds personal data: it is read for one record, when somebody asks for it. The file of a generation stays while the generation is
under way or a connection keeps one of its records as an exception.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import pyarrow.parquet as pq
import sqlalchemy as sa

from engage_pipelines.delivery.dead_letters import DeadLetter
from engage_pipelines.delivery.generation_file import FrozenRecord, pick
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.database import Database

Place = tuple[int, int]
"""Generation and seq."""


def frozen_record(letter: DeadLetter, folder: Path) -> FrozenRecord | None:
    """The record as it was sent, payload and all; None when its file is gone."""
    generation, seq = letter.place
    return next(iter(pick(folder / f"{generation}.parquet", [seq])), None)


def lanes_of(letters: Sequence[DeadLetter], folder: Path) -> Mapping[Place, str]:
    """The lane of each letter whose file is there; payloads are not read."""
    found: dict[Place, str] = {}
    for generation, places in groupby(sorted(letter.place for letter in letters), key=_generation):
        path = folder / f"{generation}.parquet"
        if path.exists():
            wanted = [("seq", "in", [seq for _, seq in places])]
            table = pq.read_table(path, columns=["seq", "lane"], filters=wanted)
            found.update({(generation, row["seq"]): row["lane"] for row in table.to_pylist()})
    return found


def unused_files(database: Database, folder: Path) -> list[Path]:
    """The files of generations that are over, and of which no connection keeps a record any more."""
    present = list(_files(folder))
    if not present:
        return []
    g, e, con = t.generation.c, t.exception.c, t.connection.c
    kept = sa.select(e.generation).join(t.connection, con.id == e.connection_id).where(con.removed_at.is_(None)).distinct()
    with database.read() as c:
        over = set(c.execute(sa.select(g.id).where(g.state.in_(["settled", "abandoned"]))).scalars())
        needed = set(c.execute(kept).scalars())
    return sorted(path for path in present if int(path.stem) in over - needed)


def sweep(database: Database, folder: Path) -> int:
    """Remove the files that nobody needs any more; how many there were. The exceptions of removed connections go with them."""
    gone = sa.select(t.connection.c.id).where(t.connection.c.removed_at.is_not(None))
    with database.write() as c:
        c.execute(sa.delete(t.exception).where(t.exception.c.connection_id.in_(gone)))
    files = unused_files(database, folder)
    for path in files:
        path.unlink(missing_ok=True)
    return len(files)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("*.parquet") if path.stem.isdigit())


def _generation(place: Place) -> int:
    return place[0]
