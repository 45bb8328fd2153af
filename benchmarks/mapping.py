"""What a mapping costs per record: ours as a function, ours filled in by the database, and Segment's own mapping kit in Node, in one run.

Run as `python benchmarks/mapping.py [--node FOLDER]`. Five typical mappings are applied to the same records; the figures are CPU
microseconds a record, up to JSON text (the wire needs it), and in brackets the mapping alone: the least of a few rounds, in which both take
turns, so that what else the machine does meets both. Node's package is installed into FOLDER, or
into a temporary one, from the npm registry; without Node its column is missing, said aloud.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import orjson

from engage_pipelines.delivery.patterns import json_sql
from engage_pipelines.domain.computation import ComputationRef
from engage_pipelines.domain.mapping import compile_mapping
from engage_pipelines.domain.mapping.pieces import Hole, Pieces, hands_on, pieces_of
from engage_pipelines.domain.records import RENDER, Envelope, Subject
from engage_pipelines.domain.trigger import parse_trigger

RECORDS = 2_000
ROWS_IN_SQL = 500_000
ROUNDS = 3
BUDGET_S = 0.4
PACKAGES = ("@segment/actions-core@3.170.0", "liquidjs@10.25.7")
"""The kit, and what it needs without saying so."""
MAPPINGS: dict[str, dict[str, Any]] = {
    "profile update": {
        "external_id": {"@path": "$.userId"},
        "email": {"@path": "$.traits.email"},
        "custom_attributes": {"@path": "$.traits"},
        "time": {"@path": "$.timestamp"},
    },
    "fallback": {
        "email": {
            "@if": {
                "exists": {"@path": "$.traits.email"},
                "then": {"@path": "$.traits.email"},
                "else": {"@path": "$.context.traits.email"},
            }
        },
        "id": {"@path": "$.userId"},
        "enable_batching": True,
    },
    "list member": {
        "email": {"@path": "$.traits.email"},
        "external_id": {"@path": "$.userId"},
        "list": {"@path": "$.context.personas.computation_key"},
        "name": {"@template": "{{context.personas.computation_key}} ({{userId}})"},
    },
    "flat": {"attributes": {"@flatten": {"separator": ".", "value": {"@path": "$.context"}}}, "id": {"@path": "$.userId"}},
    "merged": {
        "data": {"@merge": {"objects": [{"@path": "$.traits"}, {"id": {"@path": "$.userId"}}], "direction": "right"}},
        "sent": {"@path": "$.sentAt"},
        "type": {"@path": "$.type"},
    },
}
TRIGGER = 'type = "identify" and context.personas.computation_key = "big_spenders"'
_AT = "2026-03-01T10:00:00.000Z"
_ENVELOPE = Envelope(ComputationRef("aud_1", "big_spenders", "spa_1"), _AT, _AT, {"All": False, "Braze": True})
_NODE = """
const fs = require("fs"), path = require("path")
const kit = require(path.join(path.dirname(require.resolve("@segment/actions-core")), "mapping-kit/index.js"))
const { records, mappings, budget } = JSON.parse(fs.readFileSync(process.argv[2]))
const best = (work) => {
  let least = Infinity
  for (const end = Date.now() + budget * 1000; Date.now() < end; ) {
    const before = process.cpuUsage()
    for (const record of records) work(record)
    const spent = process.cpuUsage(before)
    least = Math.min(least, (spent.user + spent.system) / records.length)
  }
  return least
}
const out = {}
for (const [name, mapping] of Object.entries(mappings)) {
  out[name] = [best((r) => JSON.stringify(kit.transform(mapping, r))), best((r) => kit.transform(mapping, r))]
}
console.log(JSON.stringify(out))
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU microseconds a record, with and without the JSON text."""

    to_json_us: float
    alone_us: float | None = None

    def least(self, other: "Cost | None") -> "Cost":
        """The lesser of each figure."""
        if other is None:
            return self
        alone = None if self.alone_us is None or other.alone_us is None else min(self.alone_us, other.alone_us)
        return Cost(min(self.to_json_us, other.to_json_us), alone)


def _best(work: Callable[[Any], object], records: Sequence[Any]) -> float:
    least, end = float("inf"), time.monotonic() + BUDGET_S
    while time.monotonic() < end:
        before = time.process_time()
        for record in records:
            work(record)
        least = min(least, (time.process_time() - before) / len(records) * 1e6)
    return least


def _record(user_id: str, email: str, message_id: str) -> dict[str, Any]:
    return RENDER["identify"](Subject(user_id=user_id, email=email), _ENVELOPE, message_id=message_id, entered=True)


def _in_python(fields: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> Cost:
    apply = compile_mapping(fields)
    return Cost(_best(lambda record: orjson.dumps(apply(record)), records), _best(apply, records))


def _in_sql(fields: Mapping[str, Any], db: duckdb.DuckDBPyConnection) -> Cost | None:
    """The database's work alone, from rows of a table to rows of JSON text in Arrow's form."""
    sample = _record(Hole("user_id"), Hole("email"), Hole("message_id"))
    found = pieces_of(compile_mapping(fields), sample) if hands_on(fields) else None
    if found is None:
        return None
    query = f"select {_filled(found[1])} as body from people"
    least = float("inf")
    for _ in range(3):
        before = time.process_time()
        db.sql(query).to_arrow_table()
        least = min(least, (time.process_time() - before) / ROWS_IN_SQL * 1e6)
    return Cost(least)


def _filled(pieces: Pieces) -> str:
    """SQL for the pieces with the columns of the same names in their holes."""
    texts = ["'{}'".format(text.replace("'", "''")) for text in pieces.texts]
    filled = [part for hole, text in zip(pieces.holes, texts[1:], strict=True) for part in (json_sql(hole), text)]
    return f"concat({', '.join([texts[0], *filled])})"


def _in_node(records: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, Cost]:
    if not all((folder / "node_modules" / name).exists() for name in ("@segment/actions-core", "liquidjs")):
        install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", "--prefix", str(folder), *PACKAGES]
        subprocess.run(install, check=True, timeout=300)  # noqa: S603 - the arguments are ours
    given = folder / "mapping-benchmark.json"
    given.write_text(json.dumps({"records": records, "mappings": MAPPINGS, "budget": BUDGET_S}))
    script = folder / "mapping-benchmark.js"
    script.write_text(_NODE)
    done = subprocess.run(["node", str(script), str(given)], check=True, capture_output=True, text=True, cwd=folder)  # noqa: S603, S607
    return {name: Cost(*costs) for name, costs in json.loads(done.stdout).items()}


@contextmanager
def _folder(given: Path | None) -> Generator[Path]:
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="engage-bench-") as made:
        yield Path(made)


def _people() -> duckdb.DuckDBPyConnection:
    db = duckdb.connect(config={"threads": 1})
    db.execute(f"""create table people as select 'user-' || i as user_id, 'person.' || i || '@example.com' as email,
        'personas_12:' || i || ':i0' as message_id from range({ROWS_IN_SQL}) t(i)""")
    return db


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--node", type=Path, help="a folder that holds, or is to hold, Segment's package")
    arguments = parser.parse_args()
    records = [_record(f"user-{n}", f"person.{n}@example.com", f"personas_12:{n}:i0") for n in range(RECORDS)]
    node, ours = _in_turn(records, arguments.node)
    print(f"{'CPU us a record':18}{'Node':>16}{'function':>16}{'in SQL':>9}{'Node / function':>18}{'Node / SQL':>12}")
    db = _people()
    for name, fields in MAPPINGS.items():
        print(_line(name, node.get(name), ours[name], _in_sql(fields, db)))
    print(f"trigger: {_best(parse_trigger(TRIGGER).matches, records):.2f} us a record (limit 1)")


def _in_turn(records: Sequence[Mapping[str, Any]], given: Path | None) -> tuple[dict[str, Cost], dict[str, Cost]]:
    """What each mapping costs in Node, where there is one, and in Python."""
    node: dict[str, Cost] = {}
    ours: dict[str, Cost] = {}
    has_node = shutil.which("npm") is not None
    if not has_node:
        print("SKIPPED Segment's mapping kit: Node is not on this machine")
    with _folder(given) as folder:
        for _ in range(ROUNDS):
            if has_node:
                node = {name: cost.least(node.get(name)) for name, cost in _in_node(records, folder).items()}
            ours = {name: _in_python(fields, records).least(ours.get(name)) for name, fields in MAPPINGS.items()}
    return node, ours


def _line(name: str, peer: Cost | None, ours: Cost, sql: Cost | None) -> str:
    def shown(cost: Cost | None) -> str:
        return "-" if cost is None else f"{cost.to_json_us:.2f}" + ("" if cost.alone_us is None else f" ({cost.alone_us:.2f})")

    alone = f"{peer.alone_us / ours.alone_us:.1f} (limit 4)" if peer and peer.alone_us and ours.alone_us else "-"
    with_json = f"{peer.to_json_us / sql.to_json_us:.1f} (limit 6)" if peer and sql else "-"
    return f"{name:18}{shown(peer):>16}{shown(ours):>16}{shown(sql):>9}{alone:>18}{with_json:>16}"


if __name__ == "__main__":
    main()
