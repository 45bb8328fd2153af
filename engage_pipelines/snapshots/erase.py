"""Taking a person out of files that are otherwise never changed: versions of computations, and frozen records.

A file is written again aside and put in place by rename. Versions are gone through from the oldest on: rows that say "was added" go before
those that say "was taken away", so that whoever reads between never sees the person come back.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import duckdb

from engage_pipelines.domain.errors import StateError

_ORDER = ("full.parquet", "changes.parquet")


def erase_from_versions(folder: Path, members: Sequence[int]) -> int:
    """Take the members' rows out of every version below the space's folder, published or not; how many rows."""
    condition = f"member IN ({', '.join(map(str, members)) or 'NULL'})"
    taken = 0
    for audience in sorted(folder.glob("*")):
        numbers = sorted((entry for entry in audience.glob("*") if entry.name.isdigit()), key=lambda entry: int(entry.name))
        taken += sum(erase_rows(number / name, condition) for number in numbers for name in _ORDER)
    return taken


def erase_records(paths: Collection[Path], addresses: Sequence[str]) -> int:
    """Take the records of the addresses out of files of generations; how many. What is left keeps its seq."""
    texts = ", ".join("'{}'".format(address.replace("'", "''")) for address in addresses)
    return sum(erase_rows(path, f"address IN ({texts})") for path in sorted(paths))


def erase_rows(path: Path, condition: str) -> int:
    """Take the rows that meet the condition out of a Parquet file; how many. None, when the file is not there.

    Raises StateError when the disk refuses.
    """
    if not path.exists():
        return 0
    aside = path.with_name(f".{path.name}.writing")
    source = "read_parquet('{}')".format(str(path).replace("'", "''"))
    try:
        with duckdb.connect(config={"memory_limit": "300MB", "temp_directory": str(path.parent / ".spill"), "threads": 2}) as db:
            found = int(db.execute(f"select count(*) from {source} where {condition}").fetchall()[0][0])
            if found:
                target = str(aside).replace("'", "''")
                db.execute(f"copy (select * from {source} where not ({condition})) to '{target}' (format parquet, compression zstd)")
                aside.replace(path)
    except (OSError, duckdb.IOException) as error:
        aside.unlink(missing_ok=True)
        raise StateError(f"{path} could not be written again: {error}.", "Free disk space below ENGAGE_HOME and do it again.") from error
    return found
