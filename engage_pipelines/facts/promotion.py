"""Promotion of properties to typed columns while events are written, so that reading one need not read the JSON of all.

What a sample of the rows shows to be one kind of scalar gets a column of its own beside the JSON, up to MAX_COLUMNS of them, nested ones
too. The manifest names those of each file in which every value was of that kind after all; files and properties without a column are read
from the JSON, with the same meaning.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import msgspec

from engage_pipelines.domain.query.tree import EACH, Path
from engage_pipelines.domain.query.values import Json
from engage_pipelines.facts.sql_values import NUMBERS, quote_path, quote_text

MAX_COLUMNS = 32
SAMPLED_ROWS = 2_000
MAX_DEPTH = 3
MAX_TEXT = 100
"""Longer texts on average, in signs, are left in the JSON: nobody compares them, and they would be written twice."""
RARE = 0.002

NUMBER, TEXT, BOOLEAN = "number", "text", "boolean"
_SQL_TYPES = {NUMBER: "DOUBLE", TEXT: "VARCHAR", BOOLEAN: "BOOLEAN"}
_JSON_TYPES = {NUMBER: NUMBERS, TEXT: ("VARCHAR",), BOOLEAN: ("BOOLEAN",)}
_EXACT_BELOW = 4e9
_WHOLE_UPTO = 9e15


@dataclass(frozen=True, slots=True)
class Promoted:
    """A property with a column of its own; missing where the column is null.

    `whole`: every number was written as an integer, so that its text is known. `exact`: every number has at most six places and is not too
    large to be summed as a decimal.
    """

    path: Path
    kind: str
    whole: bool = False
    exact: bool = False

    @property
    def column(self) -> str:
        """Its name in the file: of a hash, since names of columns do not tell upper from lower case."""
        return f"v_{hashlib.blake2b(json.dumps([self.path, self.kind]).encode(), digest_size=8).hexdigest()}"


def choose(engine: duckdb.DuckDBPyConnection, sampled: str) -> tuple[Promoted, ...]:
    """What is worth a column, by a sample of the rows of `sampled` (SQL with a column `properties`)."""
    query = f"SELECT properties FROM {sampled} USING SAMPLE reservoir({SAMPLED_ROWS} ROWS) REPEATABLE (1)"
    texts = [text for (text,) in engine.execute(query).fetchall() if text is not None]
    seen: Counter[tuple[Path, str]] = Counter()
    lengths: Counter[Path] = Counter()
    for text in texts:
        for path, value in _scalars(_decoded(text), ()):
            seen[path, _kind(value)] += 1
            lengths[path] += len(value) if isinstance(value, str) else 0
    kinds = Counter(path for path, _ in seen)
    fit = [
        (-count, Promoted(path, kind))
        for (path, kind), count in seen.items()
        if kinds[path] == 1 and kind in _SQL_TYPES and count >= RARE * len(texts) and lengths[path] <= MAX_TEXT * count
    ]
    return tuple(each for _, each in sorted(fit, key=lambda pair: (pair[0], pair[1].path))[:MAX_COLUMNS])


def _decoded(text: str) -> Json:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def _scalars(value: Json, path: Path) -> Iterator[tuple[Path, Json]]:
    if isinstance(value, Mapping) and len(path) < MAX_DEPTH:
        for name, inner in value.items():
            if name != EACH:
                yield from _scalars(inner, (*path, name))
    elif path and value is not None:
        yield path, value


def _kind(value: Json) -> str:
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, int | float):
        return NUMBER
    return TEXT if isinstance(value, str) else "other"


def with_columns(query: str, columns: Sequence[Promoted]) -> str:
    """The rows of a query of events, in its order, with the columns, and bits in `unfit` and `fractional` for `checked` to look at."""
    if not columns:
        return query
    paths = ", ".join(quote_path(each.path) for each in columns)
    listed, unfit, fractional = [], ["0::BIGINT"], ["0::BIGINT"]
    for place, each in enumerate(columns):
        kind, text = f"json_types[{place + 1}]", f"json_texts[{place + 1}]"
        fits = f"{kind} IN ({', '.join(map(quote_text, _JSON_TYPES[each.kind]))})"
        value = f"TRY_CAST({text} AS {_SQL_TYPES[each.kind]})" if each.kind != TEXT else text
        good = f"{fits} AND isfinite({value})" if each.kind == NUMBER else fits
        listed.append(f"CASE WHEN {good} THEN {value} END AS {each.column}")
        unfit.append(f"CASE WHEN {text} IS NOT NULL AND NOT coalesce({good}, false) THEN {1 << place} ELSE 0 END")
        if each.kind == NUMBER:
            whole = f"{kind} <> 'DOUBLE' AND abs({value}) <= {_WHOLE_UPTO}"
            fractional.append(f"CASE WHEN {text} IS NOT NULL AND NOT coalesce({whole}, false) THEN {1 << place} ELSE 0 END")
    bits = f"{' | '.join(unfit)} AS unfit, {' | '.join(fractional)} AS fractional"
    return f"""SELECT * EXCLUDE (json_types, json_texts), {", ".join(listed)}, {bits}
        FROM (SELECT *, json_type(properties, [{paths}]) AS json_types, json_extract_string(properties, [{paths}]) AS json_texts
              FROM ({query}))"""


def checked(engine: duckdb.DuckDBPyConnection, rows: str, columns: Sequence[Promoted]) -> tuple[Promoted, ...]:
    """Those of the columns of written rows that hold everything, and what is known of their numbers."""
    if not columns:
        return ()
    exact = [
        f"bool_and({name} = 0 OR (abs({name}) BETWEEN 0.001 AND {_EXACT_BELOW} AND round({name} * 1e6) / 1e6 = {name}))"
        if each.kind == NUMBER
        else "false"
        for each in columns
        for name in [each.column]
    ]
    query = f"SELECT bit_or(unfit), bit_or(fractional), {', '.join(exact)} FROM {rows}"
    unfit, fractional, *is_exact = engine.execute(query).fetchall()[0]
    return tuple(
        Promoted(each.path, each.kind, each.kind == NUMBER and not fractional >> place & 1, bool(is_exact[place]))
        for place, each in enumerate(columns)
        if not unfit >> place & 1
    )
