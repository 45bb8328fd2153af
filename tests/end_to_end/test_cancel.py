"""A run that is cancelled in Dagster's UI while it sends: it ends at a batch boundary and says so; what is left goes out later."""

import json
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from engage_pipelines.registry import tables as t
from engage_pipelines.registry.database import Database
from engage_pipelines.testing.faults import Rates
from engage_pipelines.testing.receiver import Receiver
from tests.end_to_end.dagster_dev import engage_dev, eventually, free_port
from tests.end_to_end.product import WRITE_KEY, Product
from tests.end_to_end.test_dagster_dev import graphql

pytestmark = [pytest.mark.daemon, pytest.mark.slow, pytest.mark.long]

PEOPLE = 6_000
TERMINATE = """mutation($id: String!) { terminateRun(runId: $id) {
    __typename ... on TerminateRunSuccess { run { status } } ... on TerminateRunFailure { message } ... on PythonError { message } } }"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
WORDS = "query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events { ... on MessageEvent { message } } } } }"


def test_a_run_cancelled_in_the_ui_stops_at_a_batch_boundary_and_the_rest_goes_out_with_a_later_one(tmp_path: Path):
    product, port = Product(tmp_path / "home"), free_port()
    calls = tmp_path / "calls.jsonl"
    people = (f"u{n:04}" for n in range(PEOPLE))
    calls.write_text(
        "\n".join(
            json.dumps(
                {"type": "identify", "messageId": user, "userId": user, "timestamp": "2026-01-01T00:00:00Z", "traits": {"plan": "paid"}}
            )
            for user in people
        )
    )
    product.json("ingest", str(calls))
    with Receiver(write_key=WRITE_KEY) as receiver, engage_dev(product, port):
        receiver.faults.set(Rates(p_slow=1, slow_s=3))
        endpoint = ("--set", "write_key=env:CRM_KEY", "--set", f"endpoint={receiver.url}")
        product.engage("destination", "create", "crm", "--type", "segment", *endpoint)
        product.engage("audience", "create", "payers", "--query", "trait('plan') = 'paid'")
        product.engage("connect", "payers", "crm", "--identify")
        eventually(lambda: bool(receiver.members("payers")), 120, product.daemon_log())
        run_id = product.json("status")[0]["run_id"]
        began = time.monotonic()
        ended = graphql(port, TERMINATE, id=run_id)["terminateRun"]
        assert ended["__typename"] == "TerminateRunSuccess", ended
        eventually(lambda: graphql(port, STATUS, id=run_id)["runOrError"]["status"] == "CANCELED", 180, "the run does not end")
        # the request under way is waited for, another is not begun
        assert time.monotonic() - began < 15
        said = " ".join(event["message"] for event in graphql(port, WORDS, id=run_id)["logsForRun"]["events"] if event)
        told = len(receiver.members("payers"))
        assert f"stopped sent={told} of={PEOPLE}" in said, said[-3000:]
        (row,) = product.json("status")
        assert row["progress"]["done"] == told < PEOPLE
        database = Database(f"sqlite:///{product.home / 'engage.db'}")
        with database.read() as c:
            request = c.execute(sa.select(t.sync_request)).one()
            connection = c.execute(sa.select(t.connection)).one()
        assert (request.state, request.attempt, request.started_at) == ("owed", 2, None)
        assert connection.lease_owner is None

        # a minute later by itself; here at once
        receiver.faults.set(Rates())
        with database.write() as c:
            c.execute(sa.update(t.sync_request).values(not_before=0))
        database.close()
        eventually(lambda: len(receiver.members("payers")) == PEOPLE, 180, product.daemon_log())
        assert receiver.state()["calls"] == {"identify": PEOPLE}
