"""PostgreSQL by one variable: registry, ledger and Dagster's storage in a real server, which is restarted in the middle of the work."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa

from engage_pipelines.testing.faults import Rates
from engage_pipelines.testing.receiver import Receiver
from tests.end_to_end.product import WRITE_KEY, Product
from tests.own_postgres import Server, own_server

pytestmark = [pytest.mark.daemon, pytest.mark.slow, pytest.mark.postgres, pytest.mark.long]

QUERY = "trait('plan') = 'paid'"
PEOPLE = 6_000
"""Several requests full: one takes 500 KB."""


@dataclass(frozen=True, slots=True)
class ProductOnPostgres(Product):
    """The product with ENGAGE_DATABASE_URL set and nothing else changed."""

    url: str = field(kw_only=True)

    @property
    def environment(self) -> dict[str, str]:
        return {**super(ProductOnPostgres, self).environment, "ENGAGE_DATABASE_URL": self.url}


@pytest.fixture
def server() -> Iterator[Server]:
    with own_server() as started:
        yield started


def write_calls(path: Path, plans: dict[str, str], day: int) -> Path:
    with path.open("w") as file:
        for user, plan in plans.items():
            call = {"type": "identify", "userId": user, "traits": {"plan": plan, "email": f"{user}@x.test"}}
            print(json.dumps({**call, "messageId": f"{user}-{day}", "timestamp": f"2026-01-0{day}T00:00:00Z"}), file=file)
    return path


def plans(paid: Callable[[int], bool]) -> dict[str, str]:
    return {f"u{n:04}": "paid" if paid(n) else "free" for n in range(PEOPLE)}


def paying(of: dict[str, str]) -> set[str]:
    return {user for user, plan in of.items() if plan == "paid"}


def schemas_with(url: str, table: str) -> list[str]:
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg2://", 1), poolclass=sa.NullPool)
    with engine.connect() as c:
        query = sa.text("SELECT table_schema FROM information_schema.tables WHERE table_name = :name ORDER BY 1")
        return list(c.execute(query, {"name": table}).scalars())


def test_registry_ledger_and_dagster_move_and_a_restart_of_the_server_loses_nothing(server: Server, tmp_path: Path):
    product = ProductOnPostgres(tmp_path / "home", url=server.url)
    refused = product.engage("audience", "list", code=1)
    assert "engage db upgrade" in refused
    product.engage("db", "upgrade")
    first = plans(lambda n: n % 2 == 0)
    product.json("ingest", str(write_calls(tmp_path / "1.jsonl", first, 1)))
    with Receiver(write_key=WRITE_KEY) as receiver, product.daemon():
        endpoint = ("--set", "write_key=env:CRM_KEY", "--set", f"endpoint={receiver.url}")
        product.engage("destination", "create", "crm", "--type", "segment", *endpoint)
        product.engage("audience", "create", "payers", "--query", QUERY)
        product.engage("connect", "payers", "crm", "--identify", "--wait")
        assert receiver.members("payers") == paying(first)
        product.wait_until_up_to_date()
        assert product.json("status")[0]["sent"] == len(paying(first))
        found = {one["check"]: one for one in product.json("doctor")}
        assert found["database"]["what"].startswith("PostgreSQL 1")
        assert {one["state"] for one in found.values()} == {"ok"}, found

        second = plans(lambda n: n % 3 == 0)
        product.json("ingest", str(write_calls(tmp_path / "2.jsonl", second, 2)))
        told = receiver.state()["calls"]["identify"]
        receiver.faults.set(Rates(p_slow=1, slow_s=1.5))
        product.engage("audience", "compute", "payers")
        wait_for(lambda: receiver.state()["calls"]["identify"] > told, product)
        server.restart()
        # the run that it ends is tried again after a minute, when its lease has run out
        product.wait_until_up_to_date(240)
        assert receiver.members("payers") == paying(second)
        state = receiver.state()
        # what came twice came under its old id, which the receiver drops; nothing came under a new one
        assert state["calls"]["identify"] == told + len(paying(first) ^ paying(second))
        assert state["inversions"] == 0

    assert (schemas_with(server.url, "sync_request"), schemas_with(server.url, "runs")) == (["public"], ["dagster"])
    assert not list((tmp_path / "home").rglob("*.db")), "something is kept in SQLite after all"


def wait_for(happens: Callable[[], bool], product: Product, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, product.daemon_log()
        time.sleep(0.01)
