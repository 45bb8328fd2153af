"""SQL of other warehouses: as golden/<dialect>/ keeps it, read by a parser of each dialect. ENGAGE_WRITE_GOLDEN=1 writes it anew."""

import os
from pathlib import Path

import pytest
import sqlglot

from engage_pipelines.domain.computation import Audience, EmptyAccounts, Level, TraitComputation
from engage_pipelines.domain.errors import EngageError, UsageError
from engage_pipelines.domain.warehouse_mapping import WarehouseFacts, read_facts
from engage_pipelines.facts.warehouse.dialects import DIALECTS, find_dialect
from engage_pipelines.facts.warehouse.printing import print_select
from tests.facts.warehouse.shop import AT_US

GOLDEN = Path(__file__).parent / "golden"
_EVENT = {"anonymous_id": "anonymous_id", "message_id": "id"}
FACTS = read_facts(
    {
        "url": "env:X",
        "schema": "shop",
        "tables": {
            "users": {"table": "users", "traits": {"plan": {"column": "plan", "type": "text"}}},
            "accounts": {"table": "companies", "traits": {"tier": {"column": "tier", "type": "text"}}},
            "memberships": {"table": "staff", "left": "has_left"},
            "events": [
                {
                    "table": "Order Completed",
                    "event": "Order Completed",
                    "properties": {"total": {"column": "total", "type": "number"}, "paid_at": {"column": "paid", "type": "timestamp"}},
                    **_EVENT,
                },
                {"table": "events", "event_column": "name", "properties_json": {"column": "properties", "type": "json"}, **_EVENT},
            ],
        },
    }
)
OTHERS = [
    Audience("pro", "pro", Level.USER, "trait('plan') = 'it\\'s pro'"),
    TraitComputation("spend", "spend", Level.USER, "event('Order Completed').within(90 days).sum(property('total'))"),
]
CASES = {
    "sum_within": (Level.USER, "event('Order Completed').within(30 days).sum(property('total')) >= 100 AND trait('pro') = true"),
    "funnel": (
        Level.USER,
        "event('Order Completed').where(NOT event('Refunded').within(parent: 1 day).count() >= 1).between(7 days, 90 days).count() >= 1",
    ),
    "last_text": (Level.USER, "event('Searched').last(property('words')).contains('a\\'b', '50%')"),
    "accounts": (Level.ACCOUNT, "trait('tier') = 'business' AND ALL NOT event('Order Completed').within(21 days).count() >= 1"),
    "dates": (Level.USER, "event('Order Completed').where(property('paid_at').within_last(7 days)).count() >= 2"),
    "compared": (Level.USER, "trait('spend') >= 100 AND event('Order Completed').max(property('total')) > trait('spend')"),
    "elements": (Level.USER, "event('Searched').where(property('items.$.sku').one_of('1', 'x')).count() >= 1"),
}
TRAIT_CASES = {
    "trait_sum": (Level.USER, "event('Order Completed').within(90 days).sum(property('total'))"),
    "trait_count": (Level.ACCOUNT, "event('Order Completed').where(property('total') > trait('spend')).count()"),
    "trait_mode": (Level.ACCOUNT, "event('Searched').mode(property('words'), 3)"),
    "trait_mode_of_arrays": (Level.USER, "event('Searched').mode(property('tags') as array)"),
    "trait_first": (Level.USER, "event('Searched').first(property('words'))"),
    "trait_list": (Level.ACCOUNT, "event('Searched').unique(property('words'))"),
    "trait_session": (Level.USER, "event('Searched').expires_after(1800 seconds).unique(property('words')).count()"),
}
_CANNOT = {
    ("redshift", "elements"): "cannot look into the elements",
    ("redshift", "trait_mode_of_arrays"): "cannot take an array apart",
    ("redshift", "trait_list"): "cannot make a list",
}
NAMES = [name for name in DIALECTS if name != "databricks"]


def _sql(dialect: str, level: Level, definition: str, facts: WarehouseFacts = FACTS, *, of_trait: bool = False) -> str:
    computation = (
        TraitComputation("x", "x", level, definition) if of_trait else Audience("x", "x", level, definition, EmptyAccounts.DEFAULT)
    )
    return print_select(facts, computation, OTHERS, dialect=dialect, at_us=AT_US)


@pytest.mark.parametrize("dialect", NAMES)
@pytest.mark.parametrize("case", [*CASES, *TRAIT_CASES])
def test_sql_is_what_it_was_and_its_dialect_reads_it(dialect: str, case: str) -> None:
    level, definition = CASES.get(case) or TRAIT_CASES[case]
    if (dialect, case) in _CANNOT:
        with pytest.raises(EngageError, match=_CANNOT[dialect, case]):
            _sql(dialect, level, definition, of_trait=case in TRAIT_CASES)
        return
    sql = _sql(dialect, level, definition, of_trait=case in TRAIT_CASES)
    path = GOLDEN / dialect / f"{case}.sql"
    if os.environ.get("ENGAGE_WRITE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(sql + "\n", encoding="utf-8")
    assert sql + "\n" == path.read_text(encoding="utf-8")
    assert sqlglot.parse_one(sql, dialect=dialect).find(sqlglot.exp.Select)


@pytest.mark.parametrize("dialect", NAMES)
@pytest.mark.parametrize(
    "text",
    ["it's", "a\\", "\\'; DROP TABLE x; --", "Ä日", "%_", 'say "so"'],
    ids=["quote", "backslash", "both", "letters", "like", "double"],
)
def test_a_text_stays_a_text(dialect: str, text: str) -> None:
    written = find_dialect(dialect).text(text)
    assert sqlglot.parse_one(f"SELECT {written} AS v", dialect=dialect).selects[0].this == sqlglot.exp.Literal.string(text)


@pytest.mark.parametrize("dialect", NAMES)
@pytest.mark.parametrize("name", ['a"b', "a`b", "Order Completed"])
def test_a_name_stays_a_name(dialect: str, name: str) -> None:
    if (dialect, name) == ("bigquery", "a`b"):
        pytest.skip("the parser of BigQuery does not read the escape that BigQuery has for it")
    written = find_dialect(dialect).identifier(name)
    assert sqlglot.parse_one(f"SELECT {written}", dialect=dialect).selects[0].name == name


def test_a_column_of_unknown_type_is_asked_for() -> None:
    facts = read_facts({"url": "env:X", "tables": {"users": {"table": "users", "traits": {"plan": "plan"}}}})
    with pytest.raises(EngageError, match="Nobody says what column 'plan' of users holds") as caught:
        _sql("snowflake", Level.USER, "trait('plan') = 'pro'", facts)
    assert "{column: plan, type: text}" in caught.value.remedy


def test_an_unknown_dialect_is_refused() -> None:
    with pytest.raises(UsageError, match="'oracle' is no dialect"):
        find_dialect("oracle")


@pytest.mark.parametrize("dialect", NAMES)
def test_visitors_are_asked_for_in_words_that_the_dialect_has(dialect: str) -> None:
    visitors = Audience("x", "x", Level.USER, "event('Searched').count() >= 1", external_ids=("anonymous_id", "user_id"))
    written = print_select(FACTS, visitors, [], dialect=dialect, at_us=AT_US)
    assert "all_seen" in written
    sqlglot.parse_one(written, dialect=dialect)
