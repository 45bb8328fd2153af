"""Random facts as tables, definitions as Spark's SQL, and who the reference means: lines of JSON for a process that has Spark alone.

python -m engage_pipelines.testing.spark_cases FILE [--cases N] [--seed S]
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from engage_pipelines.domain.computation import Audience, Level
from engage_pipelines.domain.query import Definition, to_text
from engage_pipelines.domain.query.meaning import Asked, account_matches, user_matches
from engage_pipelines.domain.query.values import Json
from engage_pipelines.facts.audience_order import Readable
from engage_pipelines.facts.warehouse.catalog import Catalog
from engage_pipelines.facts.warehouse.dialects import find_dialect
from engage_pipelines.facts.warehouse.people import Warehouse
from engage_pipelines.facts.warehouse.select import select_members
from engage_pipelines.testing.plain_facts import Facts, Member, profile_of
from engage_pipelines.testing.random_definitions import AT_US, definitions, event_definitions, facts
from engage_pipelines.testing.warehouse_tables import SHAPES, Shape

_DEFINITIONS = 4
_EVERY_CHECK: Any = list(HealthCheck)
_SETTINGS: Any = partial(settings, deadline=None, phases=[Phase.generate], suppress_health_check=_EVERY_CHECK, database=None)


def cases(count: int, at: int) -> Iterator[Mapping[str, Any]]:
    """Cases with several definitions each, the same ones for the same seed."""
    made: list[Mapping[str, Any]] = []

    @seed(at)
    @_SETTINGS(max_examples=-(-count // _DEFINITIONS))
    @given(given_facts=facts(), shape=st.sampled_from(sorted(SHAPES)), data=st.data())
    def make(given_facts: Facts, shape: str, data: st.DataObject) -> None:
        of_users = st.one_of(definitions(Level.USER, []), event_definitions())
        chosen = [data.draw(of_users if number else definitions(Level.ACCOUNT, [])) for number in range(_DEFINITIONS)]
        made.append(_case(SHAPES[shape], SHAPES[shape].fit(_fitted(given_facts)), chosen))

    make()
    yield from made


def _case(shape: Shape, held: Facts, chosen: list[Definition]) -> Mapping[str, Any]:
    warehouse = Warehouse(shape.facts, find_dialect("spark"), Catalog(shape.facts), AT_US)
    tables = {
        name: {"columns": {column: str(kind) for column, kind in table.columns.items()}, "rows": table.rows}
        for name, table in shape.tables(held).items()
    }
    asked = [
        {
            "definition": to_text(each),
            "sql": select_members(warehouse, Readable(Audience("x", "x", each.level, ""), each), {}),
            "members": sorted(_meant(each, held)),
        }
        for each in chosen
    ]
    return {"tables": tables, "asked": asked}


def _meant(definition: Definition, held: Facts) -> list[str]:
    matches, everyone = (user_matches, held.users) if definition.level is Level.USER else (account_matches, held.accounts)
    return [str(each.member) for each in everyone if matches(definition.condition, profile_of(each, held, AT_US, {}), Asked(AT_US))]


def _fitted(given: Facts) -> Facts:
    """Without differences that Spark's VARIANT does not keep: it has one text for 5 and 5.0, and no room for a null beside nothing."""

    def fit(member: Member) -> Member:
        rows = [replace(row, properties=_object(row.properties), context=_object(row.context)) for row in member.rows]
        return replace(member, rows=rows, traits=[replace(row, value=_plain(row.value)) for row in member.traits])

    return Facts([fit(each) for each in given.users], [fit(each) for each in given.accounts], [fit(each) for each in given.strangers])


def _object(value: Mapping[str, Json]) -> Mapping[str, Json]:
    return {key: _plain(each) for key, each in value.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    return _object(value) if isinstance(value, Mapping) else value  # pyright: ignore[reportUnknownArgumentType]


def main(say: Callable[[str], object] = print) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    given_words = parser.parse_args()
    lines = [json.dumps(each) for each in cases(given_words.cases, given_words.seed)]
    given_words.file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    say(f"{len(lines)} sets of facts with {_DEFINITIONS} definitions each in {given_words.file}")


if __name__ == "__main__":
    main()
