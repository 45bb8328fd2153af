"""Sessions: facts as of one instant, with or without any facts, and real input."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engage_pipelines.facts.ingest import ingest
from engage_pipelines.facts.instants import parse_instant
from engage_pipelines.facts.session import FactsSession, open_session
from engage_pipelines.testing.plain_calls import SPACE, instant, take_in

_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def _rows(session: FactsSession, query: str) -> list[tuple[Any, ...]]:
    return sorted(session.connection.execute(query).fetchall())


def _call(kind: str, at_us: int, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "timestamp": instant(at_us), "messageId": f"m{at_us}", **fields}


def _members(session: FactsSession, ids: Sequence[str]) -> list[int]:
    return [_rows(session, f"SELECT member FROM identifiers WHERE id = '{id_}'")[0][0] for id_ in ids]


RELATIONS = {
    "users": ["BIGINT"],
    "accounts": ["BIGINT"],
    "account_users": ["BIGINT"] * 2,
    "account_calls": ["BIGINT"] * 3,
    "identifiers": ["BIGINT", "VARCHAR", "VARCHAR", "BOOLEAN", "BIGINT", "BIGINT"],
    "event_rows": ["BIGINT", "VARCHAR", "BIGINT", "VARCHAR", "VARCHAR", "VARCHAR", "VARCHAR", "VARCHAR"],
    "trait_rows": ["BIGINT", "VARCHAR", "BIGINT", "VARCHAR", "VARCHAR", "VARCHAR"],
    "event_names": ["VARCHAR", "BIGINT"],
    "trait_keys": ["VARCHAR", "VARCHAR"],
    "late_claims": ["BIGINT", "BIGINT", "VARCHAR", "BIGINT"],
}


@pytest.mark.parametrize("filled", [pytest.param(False, id="no facts"), pytest.param(True, id="some facts")])
@pytest.mark.parametrize("relation", RELATIONS)
def test_relations_have_the_same_types_with_and_without_facts(tmp_path: Path, relation: str, filled: bool) -> None:
    if filled:
        take_in(tmp_path, [_call("track", 1, userId="u1", event="Ran")])
    with open_session(tmp_path, SPACE, at_us=0) as session:
        assert [str(row[1]) for row in session.connection.execute(f"DESCRIBE {relation}").fetchall()] == RELATIONS[relation]
        assert session.connection.execute(f"FROM {relation}").fetchall() == []


def test_without_facts_there_is_no_fingerprint_and_nothing_is_written(tmp_path: Path) -> None:
    with open_session(tmp_path, SPACE, at_us=0) as session:
        assert session.fingerprint == ""
    assert list(tmp_path.iterdir()) == []


def test_the_fingerprint_changes_when_facts_do_and_only_then(tmp_path: Path) -> None:
    def fingerprint() -> str:
        with open_session(tmp_path, SPACE, at_us=0) as session:
            return session.fingerprint

    take_in(tmp_path, [_call("track", 1, userId="u1", event="Ran")])
    first = fingerprint()
    take_in(tmp_path, [_call("track", 1, userId="u1", event="Ran")])
    assert fingerprint() == first
    take_in(tmp_path, [_call("track", 2, userId="u1", event="Ran")])
    assert fingerprint() != first


def test_numbers_of_members_stay_when_more_is_taken_in(tmp_path: Path) -> None:
    take_in(tmp_path, [_call("track", 5, userId="u5", event="Ran"), _call("group", 6, groupId="g1", userId="u6")])
    with open_session(tmp_path, SPACE, at_us=99) as session:
        before = _members(session, ["u5", "u6", "g1"])
    take_in(tmp_path, [_call("track", 1, userId="u1", event="Ran"), _call("track", 7, userId="u5", event="Ran")])
    with open_session(tmp_path, SPACE, at_us=99) as session:
        assert _members(session, ["u5", "u6", "g1"]) == before
        assert len(set(_members(session, ["u1", "u5", "u6", "g1"]))) == 4


def test_a_late_link_moves_what_a_visitor_did_before(tmp_path: Path) -> None:
    take_in(tmp_path, [_call("track", 1, anonymousId="a1", event="Ran"), _call("identify", 5, anonymousId="a1", userId="u1")])
    with open_session(tmp_path, SPACE, at_us=4) as session:
        assert _rows(session, "FROM users") == []
        assert len(_rows(session, "FROM event_rows")) == 1
    with open_session(tmp_path, SPACE, at_us=5) as session:
        assert _rows(session, "SELECT member FROM event_rows") == _rows(session, "FROM users")


def test_a_chain_of_aliases_ends_in_one_member_and_cycles_do_no_harm(tmp_path: Path) -> None:
    chain = [_call("alias", at, previousId=f"u{at}", userId=f"u{at + 1}") for at in range(1, 60)]
    take_in(tmp_path, [*chain, _call("alias", 90, previousId="u60", userId="u1")])
    with open_session(tmp_path, SPACE, at_us=99) as session:
        assert len(_rows(session, "FROM users")) == 1
        assert len(_rows(session, "FROM identifiers")) == 60


def test_a_user_in_an_account_leaves_it_and_comes_back(tmp_path: Path) -> None:
    group = {"userId": "u1", "groupId": "g1"}
    take_in(tmp_path, [_call("group", 1, **group), _call("group", 3, **group, context={"left": True}), _call("group", 5, **group)])
    found: list[int] = []
    for at_us in range(6):
        with open_session(tmp_path, SPACE, at_us=at_us) as session:
            found.append(len(_rows(session, "FROM account_users")))
    assert found == [0, 1, 1, 0, 0, 1]


def test_every_email_is_an_identifier_and_the_last_one_is_current(tmp_path: Path) -> None:
    emails = ["one@x.test", "two@x.test", None, "one@x.test"]
    take_in(tmp_path, [_call("identify", at, userId="u1", traits={"email": email}) for at, email in enumerate(emails)])
    current: list[list[str]] = []
    for at_us in range(4):
        with open_session(tmp_path, SPACE, at_us=at_us) as session:
            current.append([row[0] for row in _rows(session, "SELECT id FROM identifiers WHERE kind = 'email' AND current")])
    assert current == [["one@x.test"], ["two@x.test"], [], ["one@x.test"]]


def test_a_visitor_with_an_email_is_a_user(tmp_path: Path) -> None:
    take_in(
        tmp_path, [_call("identify", 1, anonymousId="a1", traits={"email": "a@x.test"}), _call("track", 2, anonymousId="a2", event="Ran")]
    )
    with open_session(tmp_path, SPACE, at_us=9) as session:
        assert _rows(session, "FROM users") == [(_members(session, ["a1"])[0],)]


def test_a_kept_view_says_the_same(tmp_path: Path) -> None:
    take_in(tmp_path, [_call("identify", 1, userId="u1", traits={"email": "a@x.test"})])
    with open_session(tmp_path, SPACE, at_us=9) as session:
        before = _rows(session, "FROM identifiers")
        session.materialize("identifiers")
        assert _rows(session, "FROM identifiers") == before != []


@pytest.mark.parametrize(
    ("name", "at", "expected"),
    [
        pytest.param("baseball", "2008-01-01T00:00:00Z", {"users": 1_228, "accounts": 132, "event_rows": 21_699}, id="baseball"),
        pytest.param("cdnow", "1998-07-01T00:00:00Z", {"users": 23_570, "accounts": 0, "event_rows": 69_659}, id="cdnow"),
    ],
)
def test_real_input_has_the_sizes_it_is_known_for(tmp_path: Path, name: str, at: str, expected: dict[str, int]) -> None:
    path = _DATA / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"the real input {path} is not here")
    summary = ingest([str(path)], facts_dir=tmp_path, space=SPACE, now_us=0)
    assert (summary.rejected, summary.duplicates) == (0, 0)
    with open_session(tmp_path, SPACE, at_us=parse_instant(at) or 0) as session:
        assert {name: len(_rows(session, f"FROM {name}")) for name in expected} == expected
        values = [json.loads(row[0]) for row in _rows(session, "SELECT value FROM trait_rows WHERE key = 'email'")]
        assert len(set(values)) == expected["users"]
