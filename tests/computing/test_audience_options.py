"""Options of audiences: who can be a member, which events count, when it is computed, and who is kept out."""

from typing import Any

import pytest

from tests.computing.desk import Desk

PAID = {"plan": "paid"}


def order(who: str, at: str, **more: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Order", "userId": who, "timestamp": at, **more}


@pytest.fixture
def people(desk: Desk) -> Desk:
    desk.ingest(
        {"type": "identify", "userId": "u1", "traits": PAID},
        {"type": "identify", "anonymousId": "a2", "traits": {**PAID, "email": "two@x.test"}},
        {"type": "identify", "anonymousId": "a3", "traits": PAID},
        {"type": "track", "event": "Order", "anonymousId": "a4"},
    )
    return desk


def made(desk: Desk, query: str, *flags: str, key: str = "vips") -> list[str]:
    assert desk.say("audience", "create", key, "--query", query, *flags) == 0
    (result,) = desk.compute(key)
    assert result.error is None
    return desk.addresses(key)


def test_who_cannot_be_a_member_is_not_one_of_those_who_have_not_done_it(people: Desk) -> None:
    have_not = "event('Order').count() = 0"
    assert made(people, have_not) == ["anonymous_id:a2", "email:two@x.test", "user_id:u1"]
    strangers = ["anonymous_id:a2", "anonymous_id:a3", "email:two@x.test", "user_id:u1"]
    assert made(people, have_not, "--include-anonymous", key="all") == strangers
    assert made(people, have_not, "--filter-by", "email", key="mail") == ["anonymous_id:a2", "email:two@x.test"]
    assert made(people, f"NOT ({have_not})", "--filter-by", "anonymous_id", key="anon") == ["anonymous_id:a4"]


def test_audiences_that_admit_more_and_less_are_evaluated_together(people: Desk) -> None:
    made(people, "trait('plan') = 'paid'", "--include-anonymous", key="wide")
    made(people, "trait('wide') = true", key="narrow")
    made(people, "NOT trait('narrow') = true", "--include-anonymous", key="rest")
    people.compute()
    assert people.addresses("narrow") == ["anonymous_id:a2", "email:two@x.test", "user_id:u1"]
    assert people.addresses("rest") == ["anonymous_id:a3", "anonymous_id:a4"]


def test_who_is_identified_later_leaves_as_a_stranger_and_enters_by_name(people: Desk) -> None:
    made(people, "event('Order').count() >= 1", "--include-anonymous")
    people.ingest({"type": "identify", "anonymousId": "a4", "userId": "u4"})
    people.compute()
    assert people.addresses("vips") == ["user_id:u4"]


def test_admission_never_changes_after_creation(people: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    made(people, "trait('plan') = 'paid'")
    (people.folder / "engage.yaml").write_text(
        "audiences: [{key: vips, definition: trait('plan') = 'paid', options: {include_anonymous: true}}]", encoding="utf-8"
    )
    assert people.say("apply", str(people.folder / "engage.yaml")) == 1
    assert "was decided when it was made" in capsys.readouterr().err


def test_without_historical_data_only_events_since_the_creation_count(people: Desk) -> None:
    people.ingest(order("u1", "2020-01-01T00:00:00Z"))
    query = "event('Order').count() >= 1 AND trait('plan') = 'paid'"
    assert made(people, query, "--no-historical-data") == []
    assert made(people, query, "--backfill-days", "30", key="month") == []
    assert made(people, query, key="ever") == ["user_id:u1"]
    assert made(people, "event('Order').count() = 0", "--no-historical-data", "--filter-by", "user_id", key="none") == ["user_id:u1"]
    (row, *_) = [row for row in people.rows("computation") if row.key == "vips"]
    since = people.rows("computation")[0].created_at
    assert row.created_at == since
    people.ingest(order("u1", _iso(since)))
    people.compute()
    assert people.addresses("vips") == ["user_id:u1"]
    assert people.addresses("month") == ["user_id:u1"]


def test_events_of_a_funnel_are_limited_too(people: Desk) -> None:
    people.ingest(order("u1", "2026-01-02T00:00:00Z"), {**order("u1", "2026-01-02T01:00:00Z"), "event": "Paid"})
    query = "event('Order').where(event('Paid').within(parent: 1 day).count() >= 1).count() >= 1"
    assert made(people, query) == ["user_id:u1"]
    assert made(people, query, "--no-historical-data", key="later") == []


def test_what_counts_from_creation_on_starts_its_destinations_empty(people: Desk) -> None:
    made(people, "trait('plan') = 'paid'", "--no-historical-data")
    people.say("destination", "create", "list", "--type", "csv_file", "--set", "path=l.csv")
    assert people.say("connect", "vips", "list") == 0
    (connection,) = people.rows("connection")
    assert connection.options["backfill"] is False
    assert [row.version for row in people.rows("base")] == [1]


def test_an_audience_for_destinations_alone_is_computed_once_it_has_one(people: Desk) -> None:
    assert people.say("audience", "create", "vips", "--query", "trait('plan') = 'paid'", "--compute-when-connected") == 0
    assert people.rows("compute_request") == []
    assert [result.state for result in people.compute("vips")] == ["waiting"]
    people.say("destination", "create", "list", "--type", "csv_file", "--set", "path=l.csv")
    people.say("connect", "vips", "list")
    assert len(people.rows("compute_request")) == 1
    assert [result.state for result in people.compute("vips")] == ["published"]
    people.say("disconnect", "vips", "list", "--remove")
    assert [result.state for result in people.compute("vips")] == ["waiting"]


def test_a_suppressed_profile_leaves_every_audience_and_stays_out(people: Desk) -> None:
    made(people, "trait('plan') = 'paid'")
    made(people, "NOT trait('vips') = true OR trait('plan') = 'paid'", "--include-anonymous", key="all")
    assert people.say("profile", "suppress", "u1") == 0
    assert {one.state for one in people.compute()} == {"published"}
    assert "user_id:u1" not in people.addresses("vips") + people.addresses("all")
    people.ingest({"type": "alias", "previousId": "u1", "userId": "u9"}, {"type": "identify", "userId": "u9", "traits": PAID})
    people.compute()
    assert "user_id:u9" not in people.addresses("vips")
    assert people.say("profile", "unsuppress", "u1") == 0
    people.compute()
    assert {"user_id:u1", "user_id:u9"} <= set(people.addresses("vips"))


def test_users_of_an_account_are_suppressed_one_by_one(people: Desk) -> None:
    people.ingest(*({"type": "group", "groupId": "acme", "userId": user, "traits": {"tier": "gold"}} for user in ("u1", "u5")))
    assert people.say("profile", "suppress", "u5") == 0
    assert made(people, "trait('tier') = 'gold'", "--type", "ACCOUNTS") == ["user_id:u1"]


def test_by_email_everyone_who_ever_had_it_is_suppressed(people: Desk) -> None:
    people.ingest({"type": "identify", "userId": "u1", "traits": {"email": "two@x.test"}, "timestamp": "2025-01-01T00:00:00Z"})
    people.ingest({"type": "identify", "userId": "u1", "traits": {"email": "new@x.test"}})
    people.say("profile", "suppress", "two@x.test", "--by", "email")
    assert made(people, "trait('plan') = 'paid'") == []


def _iso(at_us: int) -> str:
    from engage_pipelines.domain.instants import to_iso

    return to_iso(at_us + 1_000)


def test_a_connection_enters_the_addresses_of_its_strategy_and_takes_all_of_them_back(people: Desk) -> None:
    people.ingest(
        {"type": "identify", "userId": "u1", "traits": {"email": "old@x.test"}, "timestamp": "2025-01-01T00:00:00Z"},
        {"type": "identify", "userId": "u1", "traits": {"email": "new@x.test"}},
    )
    made(people, "trait('plan') = 'paid'", "--filter-by", "user_id")
    people.say("destination", "create", "list", "--type", "csv_file", "--set", "path=lists/{audience}.csv", "--set", "changes=true")
    assert people.say("connect", "vips", "list", "--id", "email:last") == 0
    people.sync()
    assert _told(people) == [("email:new@x.test", True)]
    people.say("profile", "suppress", "u1")
    people.compute()
    people.sync()
    assert _told(people) == [("email:new@x.test", False), ("email:new@x.test", True), ("email:old@x.test", False)]


def _told(desk: Desk) -> list[tuple[str, bool]]:
    """Whom the files of changes name, and whether they entered."""
    import csv

    told: list[tuple[str, bool]] = []
    for path in sorted(desk.settings.files_dir.rglob("*.csv")):
        with path.open(encoding="utf-8", newline="") as lines:
            told.extend((row["address"], row["change"] == "add") for row in csv.DictReader(lines))
    return sorted(told)
