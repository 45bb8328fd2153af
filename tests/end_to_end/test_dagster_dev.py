"""Dagster as people run it: audiences come and go, destinations are connected, removed and connected again, and refuse, while it runs."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from engage_pipelines.testing.receiver import Receiver
from tests.end_to_end.dagster_dev import engage_dev, eventually, free_port
from tests.end_to_end.product import WRITE_KEY, Product

pytestmark = [pytest.mark.daemon, pytest.mark.slow]

CALLS = [
    *(
        {"type": "identify", "messageId": f"i{n}", "userId": f"u{n}", "timestamp": "2026-01-01T00:00:00Z", "traits": {"n": n}}
        for n in range(9)
    ),
    *(
        {"type": "group", "messageId": f"g{n}", "userId": f"u{n}", "groupId": f"a{n % 2}", "timestamp": "2026-01-01T00:00:00Z"}
        for n in range(9)
    ),
]
ASSETS = "query { assetsOrError { ... on AssetConnection { nodes { key { path } definition { id } } } } }"
BACKFILL = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
STATUS = "query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"


def graphql(port: int, query: str, **variables: Any) -> Any:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["data"]


def assets(port: int) -> set[str]:
    nodes = graphql(port, ASSETS)["assetsOrError"]["nodes"]
    return {"/".join(node["key"]["path"]) for node in nodes if node["definition"] is not None}


@pytest.mark.long
def test_a_day_with_dagster_dev(tmp_path: Path):
    product, port = Product(tmp_path / "home"), free_port()
    calls = tmp_path / "calls.jsonl"
    calls.write_text("\n".join(json.dumps(call) for call in CALLS))
    product.json("ingest", str(calls))
    with Receiver(write_key=WRITE_KEY) as receiver, engage_dev(product, port):
        # created, connected and delivered while it runs
        product.engage("audience", "create", "few", "--query", "trait('n') < 5")
        product.engage(
            "destination", "create", "crm", "--type", "segment", "--set", "write_key=env:CRM_KEY", "--set", f"endpoint={receiver.url}"
        )
        product.engage("connect", "few", "crm", "--identify", "--wait")
        assert receiver.members("few") == {f"u{n}" for n in range(5)}
        assert {"default/audience/few", "default/sync/few"} <= assets(port)

        # removed and connected again: everyone again, once
        product.engage("disconnect", "few", "crm", "--remove")
        receiver.reset()
        product.engage("connect", "few", "crm", "--identify", "--wait")
        assert receiver.members("few") == {f"u{n}" for n in range(5)}
        assert receiver.state()["calls"] == {"identify": 5}

        # another definition sends only what changes
        product.engage("audience", "update", "few", "--query", "trait('n') < 4 OR trait('n') = 8")
        eventually(lambda: receiver.members("few") == {"u0", "u1", "u2", "u3", "u8"}, 180, "the change does not arrive")
        product.wait_until_up_to_date()
        assert receiver.state()["calls"] == {"identify": 7}

        # a backfill of chosen destinations, launched as the UI does
        started = graphql(port, BACKFILL, params={"assetSelection": [{"path": ["default", "sync", "few"]}], "partitionNames": ["crm"]})[
            "launchPartitionBackfill"
        ]
        assert started["__typename"] == "LaunchBackfillSuccess", started
        finished = {"COMPLETED_SUCCESS", "COMPLETED"}
        eventually(
            lambda: graphql(port, STATUS, id=started["backfillId"])["partitionBackfillOrError"]["status"] in finished,
            120,
            "the backfill from the UI does not end",
        )
        assert receiver.state()["calls"] == {"identify": 7}

        # deleted: its asset goes
        product.engage("disconnect", "few", "crm", "--remove")
        product.engage("audience", "delete", "few", "--yes")
        eventually(lambda: "default/audience/few" not in assets(port), 180, "the deleted audience is still there")


def test_a_destination_that_refuses_stops_with_words_and_goes_on_once_mended(tmp_path: Path):
    product = Product(tmp_path / "home")
    calls = tmp_path / "calls.jsonl"
    calls.write_text("\n".join(json.dumps(call) for call in CALLS))
    product.json("ingest", str(calls))
    product.engage("audience", "create", "all", "--query", "trait('n') >= 0")
    with Receiver(write_key="another key") as receiver:
        product.engage(
            "destination", "create", "crm", "--type", "segment", "--set", "write_key=env:CRM_KEY", "--set", f"endpoint={receiver.url}"
        )
        with product.daemon():
            said = product.engage("connect", "all", "crm", "--identify", "--wait", code=1)
            assert "401" in said or "write key" in said.lower(), said
    (row,) = product.json("status")
    assert (row["sync_status"], row["sent"], row["dead"]) == ("Stopped", 0, 0)
    with Receiver(write_key=WRITE_KEY) as receiver:
        product.engage("destination", "update", "crm", "--set", f"endpoint={receiver.url}")
        with product.daemon():
            product.engage("sync", "all", "crm", "--wait")
            assert receiver.members("all") == {f"u{n}" for n in range(9)}
