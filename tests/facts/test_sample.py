"""Sample data: the same from the same seed, and everything in it that a demo has to show."""

import io
import json
from pathlib import Path
from typing import Any

from engage_pipelines.facts.ingest import ingest
from engage_pipelines.facts.instants import parse_instant
from engage_pipelines.facts.sample import generate, generate_next_day
from engage_pipelines.facts.session import FactsSession, open_session

_END = parse_instant("2026-03-01T00:00:00Z") or 0
_DAY = 86_400_000_000
_SIZES: dict[str, Any] = {"seed": 7, "users": 300, "accounts": 40}


def _two_days(folder: Path) -> tuple[Path, Path]:
    first, second = folder / "first.jsonl", folder / "second.jsonl"
    generate(first, **_SIZES, events=5_000, end_us=_END)
    generate_next_day(second, **_SIZES, events=200, end_us=_END)
    return first, second


def _value(session: FactsSession, query: str) -> Any:
    return session.connection.execute(query).fetchall()[0][0]


def test_the_same_seed_gives_the_same_bytes_and_another_one_others() -> None:
    made = [io.BytesIO() for _ in range(3)]
    for stream, seed in zip(made, (1, 1, 2), strict=True):
        generate(stream, seed=seed, users=50, accounts=10, events=500, end_us=_END)
    assert made[0].getvalue() == made[1].getvalue() != made[2].getvalue()


def test_counts_are_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    counts = generate(path, **_SIZES, events=5_000, end_us=_END)
    kinds = [json.loads(line)["type"] for line in path.read_text().splitlines()]
    assert counts == {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    assert counts["track"] + counts["page"] == 5_000


def test_every_call_is_valid_and_new(tmp_path: Path) -> None:
    summary = ingest([str(path) for path in _two_days(tmp_path)], facts_dir=tmp_path / "facts", space="default", now_us=0)
    assert (summary.rejected, summary.duplicates) == (0, 0)


def test_the_first_day_holds_the_unusual_people_and_accounts(tmp_path: Path) -> None:
    first, _ = _two_days(tmp_path)
    ingest([str(first)], facts_dir=tmp_path / "facts", space="default", now_us=0)
    with open_session(tmp_path / "facts", "default", at_us=_END) as session:
        assert _value(session, "SELECT count(*) FROM users") == 300
        assert _value(session, "SELECT count(*) FROM accounts") == 40
        assert _value(session, "SELECT count(*) FROM (SELECT member FROM account_users GROUP BY 1 HAVING count(*) = 2)") > 5
        assert _value(session, "SELECT count(*) FROM accounts WHERE member NOT IN (SELECT account FROM account_users)") > 0
        assert _value(session, "SELECT count(*) FROM users WHERE member NOT IN (SELECT member FROM event_rows)") > 5
        assert _value(session, "SELECT count(*) FROM identifiers WHERE kind = 'anonymous_id' AND member IN (FROM users)") > 10
        assert _value(session, "SELECT count(*) FROM event_rows WHERE member NOT IN (FROM users)") > 0
        assert (
            _value(session, "SELECT count(*) FROM (SELECT member FROM identifiers WHERE kind = 'user_id' GROUP BY 1 HAVING count(*) = 2)")
            == 2
        )
        names = dict(session.connection.execute("FROM event_names").fetchall())
        assert set(names) == {
            "Signed In",
            "Project Created",
            "Report Exported",
            "Seat Invited",
            "Checkout Started",
            "Order Completed",
            "Page Viewed",
        }


def test_the_second_day_makes_people_and_accounts_enter_and_leave(tmp_path: Path) -> None:
    ingest([str(path) for path in _two_days(tmp_path)], facts_dir=tmp_path / "facts", space="default", now_us=0)
    links: list[set[Any]] = []
    accounts: list[int] = []
    plans: list[int] = []
    for at_us in (_END, _END + _DAY):
        with open_session(tmp_path / "facts", "default", at_us=at_us) as session:
            links.append(set(session.connection.execute("FROM account_users").fetchall()))
            accounts.append(_value(session, "SELECT count(*) FROM accounts"))
            plans.append(_value(session, "SELECT count(*) FROM trait_rows WHERE key = 'plan'"))
    assert links[0] - links[1]
    assert links[1] - links[0]
    assert accounts[1] == accounts[0] + 1
    assert plans[1] > plans[0]
