"""Real input from end to end: seasons of baseball and purchases of CDs, sizes held to plain Python, delivery to the receiver."""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engage_pipelines.testing.receiver import Receiver
from tests.end_to_end.product import SHARED_DATA, WRITE_KEY, Product

BASEBALL, CDNOW = SHARED_DATA / "baseball.jsonl.gz", SHARED_DATA / "cdnow.jsonl.gz"
AT = "2008-01-01T00:00:00Z"
SLUGGERS = "ANY event('Season Played').where(property('hr') >= 60).count() >= 1"
REGULARS = "event('Season Played').within(730 days).count() >= 2"

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.slow,
    pytest.mark.skipif(not BASEBALL.exists(), reason=f"the real input is not at hand: {BASEBALL}"),
]


def calls(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt") as lines:
        yield from map(json.loads, lines)


def at(call: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(call["timestamp"])


def seasons() -> list[dict[str, Any]]:
    return [call for call in calls(BASEBALL) if call["type"] == "track"]


def players_by_team() -> dict[str, set[str]]:
    teams: dict[str, set[str]] = defaultdict(set)
    for call in calls(BASEBALL):
        if call["type"] == "group":
            teams[call["groupId"]].add(call["userId"])
    return teams


def slugging_teams() -> dict[str, set[str]]:
    sluggers = {call["userId"] for call in seasons() if (call["properties"]["hr"] or 0) >= 60}
    return {team: players for team, players in players_by_team().items() if players & sluggers}


def regulars(before: datetime) -> set[str]:
    now = datetime(2008, 1, 1, tzinfo=UTC)
    counts: dict[str, int] = defaultdict(int)
    for call in seasons():
        if now - timedelta(days=730) <= at(call) < before:
            counts[call["userId"]] += 1
    return {player for player, count in counts.items() if count >= 2}


@pytest.fixture
def baseball(tmp_path: Path) -> Product:
    product = Product(tmp_path / "home")
    summary = product.json("ingest", str(BASEBALL))
    assert summary["calls"] == {"identify": 1228, "group": 5995, "track": 21699}
    product.engage("space", "create", "default", "--evaluate-at", AT)
    return product


def test_previews_of_baseball_agree_with_plain_python(baseball: Product):
    counts: dict[str, int] = defaultdict(int)
    homers: dict[str, int] = defaultdict(int)
    for call in seasons():
        counts[call["userId"]] += 1
        homers[call["userId"]] += call["properties"]["hr"] or 0
    expected = {
        "event('Season Played').count() >= 20": {p for p, n in counts.items() if n >= 20},
        "event('Season Played').sum(property('hr')) >= 500": {p for p, n in homers.items() if n >= 500},
        REGULARS: regulars(datetime(2008, 1, 1, tzinfo=UTC)),
        "trait('debut_year') < 1900 AND NOT event('Season Played').count() >= 15": {
            c["userId"]
            for c in calls(BASEBALL)
            if c["type"] == "identify" and c["traits"]["debut_year"] < 1900 and counts[c["userId"]] < 15
        },
    }
    for query, members in expected.items():
        preview = baseball.json("audience", "preview", "--query", query, "--type", "USERS", "--at", AT, "--members")
        assert preview == {"count": len(members), "members": sorted(members)}, query
    preview = baseball.json("audience", "preview", "--query", SLUGGERS, "--type", "ACCOUNTS", "--at", AT, "--members")
    assert preview == {"count": len(slugging_teams()), "members": sorted(slugging_teams())}


def test_previews_of_purchases_agree_with_plain_python(tmp_path: Path):
    product = Product(tmp_path / "home")
    product.json("ingest", str(CDNOW))
    now = datetime(1998, 7, 1, tzinfo=UTC)
    spent: dict[str, int] = defaultdict(int)
    recent: dict[str, int] = defaultdict(int)
    for call in calls(CDNOW):
        if call["type"] == "track":
            spent[call["userId"]] += round(call["properties"]["revenue"] * 100)
            recent[call["userId"]] += now - timedelta(days=90) <= at(call) <= now
    expected = {
        "event('CD Purchased').sum(property('revenue')) >= 500": {u for u, cents in spent.items() if cents >= 50_000},
        "event('CD Purchased').within(90 days).count() >= 2": {u for u, n in recent.items() if n >= 2},
        "NOT event('CD Purchased').within(90 days).count() >= 1": {
            c["userId"] for c in calls(CDNOW) if c["type"] == "identify" and not recent[c["userId"]]
        },
    }
    for query, members in expected.items():
        preview = product.json("audience", "preview", "--query", query, "--at", "1998-07-01T00:00:00Z", "--members")
        assert preview == {"count": len(members), "members": sorted(members)}, query


@pytest.mark.long
def test_an_account_audience_reaches_the_receiver_and_only_changes_travel_afterwards(baseball: Product):
    product, teams = baseball, slugging_teams()
    players = set().union(*teams.values())
    with Receiver(write_key=WRITE_KEY) as receiver, product.daemon():
        product.engage(
            "destination", "create", "crm", "--type", "segment", "--set", "write_key=env:CRM_KEY", "--set", f"endpoint={receiver.url}"
        )
        product.engage("audience", "create", "sluggers", "--type", "ACCOUNTS", "--query", SLUGGERS)
        product.engage("audience", "create", "regulars", "--query", REGULARS)
        product.engage("connect", "sluggers", "crm", "--group", "--identify", "--wait")
        product.engage("connect", "regulars", "crm", "--identify", "--wait")
        state = receiver.state()
        full = regulars(datetime(2008, 1, 1, tzinfo=UTC))
        assert receiver.members("sluggers", level="accounts") == set(teams)
        assert receiver.members("sluggers") == players
        assert receiver.members("regulars") == full
        assert state["calls"] == {"group": len(teams), "identify": len(players) + len(full)}
        assert (state["duplicates"], state["inversions"], state["refused_requests"]) == (0, 0, 0)

        product.engage("events", "delete", "--after", "2007-01-01T00:00:00Z", "--yes")
        fewer = regulars(datetime(2007, 1, 1, tzinfo=UTC))
        product.engage("audience", "compute", "--all", "--wait")
        product.wait_until_up_to_date()
        assert receiver.members("regulars") == fewer
        assert receiver.state()["calls"]["identify"] == len(players) + len(full) + len(full - fewer)

        product.json("ingest", str(BASEBALL))
        product.engage("audience", "compute", "--all", "--wait")
        product.wait_until_up_to_date()
        assert receiver.members("regulars") == full
        assert receiver.state()["calls"] == {"group": len(teams), "identify": len(players) + len(full) + 2 * len(full - fewer)}
        assert receiver.members("sluggers") == players
