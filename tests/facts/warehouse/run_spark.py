"""Spark's own answer to cases of `engage_pipelines.testing.spark_cases`; needs PySpark and a JVM, and nothing of ours.

python run_spark.py FILE        exit code 1 when an answer is another one than the reference means
"""

import json
import sys
import time

from pyspark.sql import SparkSession

TYPES = {"text": "string", "number": "decimal(38, 10)", "boolean": "boolean", "timestamp": "bigint", "datetime": "bigint", "json": "string"}
READ = {
    "timestamp": "timestamp_micros({})",
    "datetime": "CAST(timestamp_micros({}) AS TIMESTAMP_NTZ)",
    "number": "CAST({} AS DECIMAL(38, 10))",
}


def start():
    """A small Spark in a zone with daylight saving, which must not matter."""
    words = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.autoBroadcastJoinThreshold": "-1",
        "spark.sql.leafNodeDefaultParallelism": "1",
        "spark.default.parallelism": "1",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.driver.memory": "1g",
        "spark.log.level": "ERROR",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
    }
    builder = SparkSession.builder.master("local[1]").appName("engage")
    for name, value in words.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def make_views(spark, tables):
    """A view per table, in UTC, where a microsecond is told without a zone."""
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    for name, table in tables.items():
        kinds = table["columns"]
        held = ", ".join(f"`{column}` {TYPES.get(kind, 'bigint')}" for column, kind in kinds.items())
        rows = [dict(zip(kinds, row, strict=True)) for row in table["rows"]]
        text = json.dumps(rows).replace("\\", "\\\\").replace("'", "\\'")
        read = ", ".join(f"{READ.get(kind, '{}').format(f'`{column}`')} AS `{column}`" for column, kind in kinds.items())
        # a literal stays within the engine, a data frame of Python's would be read through processes of Python
        given = f"SELECT inline(from_json('{text}', 'array<struct<{held}>>'))"
        spark.sql(f"SELECT {read} FROM ({given})").createOrReplaceTempView(f"`{name}`")


def answers(spark, asked):
    """Who each SELECT finds, all in one job."""
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    parts = [f"SELECT {number} AS number, id FROM ({each['sql']})" for number, each in enumerate(asked)]
    found = [[] for _ in asked]
    for number, id_ in spark.sql(" UNION ALL ".join(parts)).collect():
        found[number].append(id_)
    return [sorted(each) for each in found]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        cases = [json.loads(line) for line in file]
    spark, wrong, asked, members, began = start(), 0, 0, 0, time.monotonic()
    for case in cases:
        make_views(spark, case["tables"])
        for each, found in zip(case["asked"], answers(spark, case["asked"]), strict=True):
            asked, members = asked + 1, members + len(each["members"])
            if found != each["members"]:
                wrong += 1
                print(f"{each['definition']}\n  Spark {found}, meant {each['members']}\n  {case['tables'] if wrong == 1 else ''}")
    print(
        f"Spark {spark.version}: {asked} definitions with {members} members in {time.monotonic() - began:.0f} s, {wrong} answered otherwise"
    )
    sys.exit(1 if wrong or not members else 0)


if __name__ == "__main__":
    main()
