"""The delivery overview over the API: records of a destination by what became of them, in buckets of time."""

from typing import Any

import pytest

from engage_pipelines.registry import tables as t
from tests.server.world import World

DAY_US = 86_400_000_000
START_US = 1_704_067_200_000_000
"""2024-01-01."""
WINDOW = "startTime=2024-01-01T00:00:00Z&endTime=2024-01-04T00:00:00Z&granularity=DAY"


@pytest.fixture
def delivered(world: World) -> tuple[World, str]:
    """A connection with generations settled on two days, and the beginning of every question about it."""
    _audience, to, made = world.connected()
    base = {"connection_id": made["connection"]["id"], "replica": "users", "lo": "", "target": 1, "current_when_planned": 1}
    base |= {"sends_exits": True, "resync_no": 0, "mapping_revisions": {}, "kind": "sync", "planned_at": 1}
    rows = [
        ("settled", START_US + 5, {"identify": {"entered": 10, "rejected": 2}, "track": {"entered": 3, "exited": 1}}),
        ("settled", START_US + 2 * DAY_US, {"identify": {"exited": 4, "left_out": 5, "retryable": 1}}),
        ("settled", START_US + 3 * DAY_US, {"identify": {"entered": 100}}),
        ("open", None, {"identify": {"entered": 1_000}}),
    ]
    with world.registry.database.write() as c:
        for state, settled_at, counts in rows:
            c.execute(t.generation.insert().values(**base, state=state, settled_at=settled_at, counts=counts))
    return world, f"/delivery-overview/{{}}?sourceId={world.space.id}&destinationConfigId={to['id']}&{WINDOW}"


def test_records_are_counted_by_day_and_only_in_the_window(delivered: tuple[World, str]) -> None:
    world, path = delivered
    told = world.data("GET", path.format("successful-delivery"))
    (dataset,) = told["dataset"]
    assert dataset == {
        "total": 18,
        "series": [
            {"time": "2024-01-01T00:00:00.000000Z", "count": 14},
            {"time": "2024-01-02T00:00:00.000000Z", "count": 0},
            {"time": "2024-01-03T00:00:00.000000Z", "count": 4},
        ],
    }
    assert told["pagination"]["totalEntries"] == 1
    assert world.data("GET", path.format("failed-delivery"))["dataset"][0]["total"] == 2
    assert world.data("GET", path.format("filtered-at-destination"))["dataset"][0]["total"] == 5


@pytest.mark.parametrize(
    "spelling", ["groupBy=eventType,eventName", "groupBy.0=eventType&groupBy.1=eventName", "groupBy[0]=eventType&groupBy[1]=eventName"]
)
def test_datasets_are_apart_by_what_is_asked_for(delivered: tuple[World, str], spelling: str) -> None:
    world, path = delivered
    dataset = world.data("GET", f"{path.format('successful-delivery')}&{spelling}")["dataset"]
    assert [(one["eventType"], one.get("eventName"), one["total"]) for one in dataset] == [
        ("identify", None, 14),
        ("track", "Audience Entered", 3),
        ("track", "Audience Exited", 1),
    ]
    (reason,) = world.data("GET", f"{path.format('failed-delivery')}&groupBy=discardReason")["dataset"]
    assert reason["discardReason"] == "refused by the destination"
    (tracked,) = world.data("GET", f'{path.format("successful-delivery")}&filter={{"eventType":["track"]}}')["dataset"]
    assert tracked["total"] == 4
    page = world.data("GET", f"{path.format('successful-delivery')}&{spelling}&pagination.count=1")
    assert (len(page["dataset"]), "next" in page["pagination"]) == (1, True)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"sourceId": ""}, "sourceId", id="no source"),
        pytest.param({"sourceId": "src_nothing"}, "sourceId", id="a source that there is not"),
        pytest.param({"destinationConfigId": "../x"}, "destinationConfigId", id="a destination that there is not"),
        pytest.param({"startTime": "yesterday"}, "startTime", id="no instant"),
        pytest.param({"endTime": "2023-01-01T00:00:00Z"}, "endTime", id="an end before the start"),
        pytest.param({"granularity": "WEEK"}, "granularity", id="a bucket that there is not"),
        pytest.param({"granularity": "MINUTE", "endTime": "2034-01-01T00:00:00Z"}, "granularity", id="too many buckets"),
        pytest.param({"groupBy": "email"}, "groupBy", id="a dimension that there is not"),
        pytest.param({"filter": "[]"}, "filter", id="a filter that is no object"),
        pytest.param({"filter": '{"eventType":"track"}'}, "filter.eventType", id="a filter that is no list"),
    ],
)
def test_what_cannot_be_is_refused_by_name(delivered: tuple[World, str], change: dict[str, Any], field: str) -> None:
    world, path = delivered
    address, _, query = path.format("successful-delivery").partition("?")
    said = dict(part.partition("=")[::2] for part in query.split("&")) | change
    answer = world.ask("GET", f"{address}?" + "&".join(f"{name}={value}" for name, value in said.items()))
    assert answer.status_code in {404, 422}
    assert answer.json()["errors"][0]["field"] == field
