"""SQL of warehouses: what each one calls the same thing, and what it cannot say."""

from engage_pipelines.domain.errors import UsageError
from engage_pipelines.facts.warehouse.dialects.base import Dialect
from engage_pipelines.facts.warehouse.dialects.bigquery import BigQuery
from engage_pipelines.facts.warehouse.dialects.postgres import PostgreSQL
from engage_pipelines.facts.warehouse.dialects.redshift import Redshift
from engage_pipelines.facts.warehouse.dialects.snowflake import Snowflake
from engage_pipelines.facts.warehouse.dialects.spark import Spark
from engage_pipelines.facts.warehouse.dialects.trino import Trino

DIALECTS: dict[str, type[Dialect]] = {
    "postgres": PostgreSQL,
    "snowflake": Snowflake,
    "bigquery": BigQuery,
    "redshift": Redshift,
    "databricks": Spark,
    "spark": Spark,
    "trino": Trino,
}


def find_dialect(name: str) -> Dialect:
    """Raises UsageError for a name that is none."""
    if name not in DIALECTS:
        raise UsageError(f"{name!r} is no dialect.", f"Write one of {', '.join(DIALECTS)}.")
    return DIALECTS[name]()
