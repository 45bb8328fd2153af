"""Explanations in sentences: what a clause saw, accounts through their users, who can be a member at all, and since when."""

from pathlib import Path

import pytest

from engage_pipelines.computing.explain import Clause, explain, why
from engage_pipelines.computing.history import load_history
from engage_pipelines.computing.kept_members import standing
from engage_pipelines.computing.member_names import find_member
from engage_pipelines.computing.questions import Desk, Draft
from engage_pipelines.domain.computation import Audience, EmptyAccounts, Level
from engage_pipelines.domain.errors import ConflictError, DefinitionError, EngageError, NotFoundError
from engage_pipelines.domain.query.meaning import Row
from engage_pipelines.facts.ingest import ingest
from engage_pipelines.registry.lookup import find_audience
from engage_pipelines.registry.suppression import Profile, suppress
from engage_pipelines.testing.plain_facts import Facts, Member, TraitRow, session_of
from tests.computing.sample_project import settings_of
from tests.delivery.world import make_world

HOUR = 3_600_000_000
AT = 1_199_923_200_000_000  # 2008-01-10
FACTS = Facts(
    users=[
        Member(
            1,
            [TraitRow("plan", 0, "t1", "free"), TraitRow("plan", AT - HOUR, "t2", "paid"), TraitRow("tags", 5, "t3", ["a", "b"])],
            [
                Row("Order", AT - 100 * HOUR, "m0", {"total": 7}),
                Row("Order", AT - 2 * HOUR, "m1", {"total": 10}),
                Row("Order", AT - HOUR, "m2", {"total": 2.5}),
                Row("Order", AT - HOUR, "m3", {"total": 1}),
            ],
        ),
        Member(2, [TraitRow("plan", 5, "t4", "free"), TraitRow("seen", 5, "t5", "2008-01-09T12:00:00Z")]),
        Member(3),
    ],
    accounts=[Member(100, [TraitRow("tier", 5, "a1", "gold")], users=[1, 2]), Member(101, users=[2]), Member(102)],
)


def clause_of(member: int, definition: str, *, level: Level = Level.USER, of: Level | None = None, **options: object) -> Clause:
    audience = Audience("a", "a", level, definition, **options)  # type: ignore[arg-type]
    with session_of(FACTS, AT) as session:
        return explain(session, audience, member, level=of or level).clause


def test_a_condition_on_events_shows_what_each_filter_left_and_its_window() -> None:
    clause = clause_of(1, "event('Order').where(property('total') >= 2).within(2 days).sum(property('total')) > 12")
    assert clause.outcome
    assert clause.seen == {
        "event": "Order",
        "rows": 4,
        "filters": [
            {"filter": "where(property('total') >= 2)", "rows": 3},
            {"filter": "within(2 days)", "from": "2008-01-08T00:00:00Z", "to": "2008-01-10T00:00:00Z", "rows": 2},
        ],
        "value": 12.5,
        "first_at": "2008-01-09T22:00:00Z",
        "last_at": "2008-01-09T23:00:00Z",
    }


def test_without_any_row_the_count_is_zero_and_a_sum_is_missing() -> None:
    assert clause_of(3, "event('Order').count() = 0").seen["value"] == 0
    assert clause_of(3, "event('Order').sum(property('total')) > 0").seen["value"] is None


def test_a_trait_shows_its_latest_value_and_when_it_was_set() -> None:
    assert clause_of(1, "trait('plan') = 'paid'").seen == {"trait": "plan", "value": "paid", "set_at": "2008-01-09T23:00:00Z"}
    assert clause_of(3, "trait('plan').absent()").seen == {"trait": "plan", "value": None, "set_at": None}
    assert clause_of(1, "trait('tags.$') = 'b'").seen["values"] == ["a", "b"]


def test_a_comparison_with_time_shows_its_bounds_as_instants() -> None:
    seen = clause_of(2, "trait('seen').within_last(1 day)").seen
    assert (seen["from"], seen["to"]) == ("2008-01-09T00:00:00Z", "2008-01-10T00:00:00Z")
    assert clause_of(2, "trait('seen').before_date(2008-01-01)").seen["to"] == "2007-12-31T23:59:59.999999Z"


def test_clauses_nest_as_they_are_written() -> None:
    clause = clause_of(2, "trait('plan') = 'paid' OR NOT (trait('plan') = 'free' AND event('Order').count() >= 1)")
    assert (clause.kind, [part.kind for part in clause.parts]) == ("or", ["comparison", "not"])
    inner = clause.parts[1].parts[0]
    assert (inner.text, inner.outcome) == ("trait('plan') = 'free' AND event('Order').count() >= 1", False)
    assert [part.outcome for part in inner.parts] == [True, False]


def test_an_account_is_explained_through_its_users_with_an_example_each_way() -> None:
    for definition in ("ANY trait('plan') = 'paid'", "ALL trait('plan') = 'paid'"):
        users = clause_of(100, definition, level=Level.ACCOUNT).users
        assert users
        assert (users.matching, users.total) == (1, 2)
        assert users.example
        assert users.counterexample
        assert (users.example.member, users.example.clause.outcome) == (1, True)
        assert (users.counterexample.member, users.counterexample.clause.seen["value"]) == (2, "free")


def test_a_bare_condition_on_events_of_an_account_is_about_any_of_its_users() -> None:
    clause = clause_of(100, "trait('tier') = 'gold' AND event('Order').count() >= 4", level=Level.ACCOUNT)
    assert [part.kind for part in clause.parts] == ["comparison", "any"]
    assert clause.outcome


def test_an_account_without_users_follows_the_option() -> None:
    never = "ALL NOT event('Order').count() >= 1"
    assert clause_of(102, never, level=Level.ACCOUNT).outcome
    clause = clause_of(102, never, level=Level.ACCOUNT, empty_accounts=EmptyAccounts.FALSE)
    assert not clause.outcome
    assert clause.users
    assert clause.users.total == 0


def test_a_user_is_in_an_audience_of_accounts_through_any_account() -> None:
    clause = clause_of(2, "ANY trait('plan') = 'paid'", level=Level.ACCOUNT, of=Level.USER)
    assert clause.kind == "accounts"
    assert clause.outcome
    assert clause.users
    assert (clause.users.matching, clause.users.total) == (1, 2)
    assert not clause_of(3, "trait('tier').absent()", level=Level.ACCOUNT, of=Level.USER).outcome


def test_events_before_the_history_that_counts_are_shown_to_be_left_out() -> None:
    clause = clause_of(1, "event('Order').count() >= 4", events_since_us=AT - 24 * HOUR)
    assert not clause.outcome
    assert clause.text == "event('Order').count() >= 4"
    assert clause.seen["filters"][0]["from"] == "2008-01-09T00:00:00Z"  # type: ignore[index]
    assert (clause.seen["rows"], clause.seen["value"]) == (4, 3)


def test_membership_in_another_audience_is_looked_up_and_loops_are_named() -> None:
    paid = Audience("paid", "paid", Level.USER, "trait('plan') = 'paid'")
    loop = Audience("loop", "loop", Level.USER, "trait('asked') = true")
    with session_of(FACTS, AT) as session:
        asked = Audience("asked", "asked", Level.USER, "trait('paid') = true")
        assert explain(session, asked, 1, level=Level.USER, context=[paid]).clause.seen == {"audience": "paid", "member": True}
        round_about = Audience("asked", "asked", Level.USER, "trait('loop') = true")
        with pytest.raises(DefinitionError, match="loop"):
            explain(session, round_about, 1, level=Level.USER, context=[loop, round_about])


# ---- named members


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    home = tmp_path_factory.mktemp("named")
    world = make_world(home)
    calls = [
        '{"type":"identify","userId":"ada-1","traits":{"email":"ada@x.example","plan":"paid"}}',
        '{"type":"identify","userId":"ben-1","traits":{"email":"both@x.example"}}',
        '{"type":"identify","userId":"ben-2","traits":{"email":"both@x.example"}}',
        '{"type":"identify","anonymousId":"visitor","traits":{"plan":"paid"}}',
        '{"type":"group","userId":"ada-1","groupId":"acme"}',
    ]
    (home / "calls.jsonl").write_text("\n".join(calls))
    settings = settings_of(home)
    ingest([str(home / "calls.jsonl")], facts_dir=settings.facts_dir, space=world.space.key, now_us=AT)
    with world.registry.change() as change:
        suppress(change, world.space, Profile("email", "ada@x.example"))
    return Desk(settings, world.registry.database, world.space.key)


USERS = Audience("u", "u", Level.USER, "trait('plan') = 'paid'")
ACCOUNTS = Audience("a", "a", Level.ACCOUNT, "trait('plan').absent()")


def test_a_member_is_named_by_user_id_email_or_group_id(desk: Desk) -> None:
    with desk.session(AT) as session:
        ada = find_member(session, "ada-1", USERS)
        assert find_member(session, "ada@x.example", USERS) == ada
        assert find_member(session, "ada-1", ACCOUNTS) == ada
        assert find_member(session, "acme", ACCOUNTS).level is Level.ACCOUNT


@pytest.mark.parametrize(
    ("name", "audience", "error", "words"),
    [
        pytest.param("ada-11", USERS, NotFoundError, "Did you mean 'ada-1'", id="a near name"),
        pytest.param("zzz", USERS, NotFoundError, "Name a user id", id="no near name"),
        pytest.param("acme", USERS, NotFoundError, "is an account", id="an account in an audience of users"),
        pytest.param("both@x.example", USERS, ConflictError, "ben-1, ben-2", id="an e-mail address of two people"),
        pytest.param("visitor", USERS, NotFoundError, "no user 'visitor'", id="a visitor where visitors cannot be in"),
    ],
)
def test_a_name_that_means_nobody_is_refused(desk: Desk, name: str, audience: Audience, error: type[EngageError], words: str) -> None:
    with desk.session(AT) as session, pytest.raises(error, match=words):
        find_member(session, name, audience)


def test_before_a_person_came_there_is_nobody_of_that_name(desk: Desk) -> None:
    with desk.session(AT - 1) as session, pytest.raises(NotFoundError, match="no user 'ada-1'"):
        find_member(session, "ada-1", USERS)


def test_visitors_are_explained_where_they_may_be_members(desk: Desk) -> None:
    visitors = Audience("v", "v", Level.USER, "trait('plan') = 'paid'", external_ids=("anonymous_id",))
    with desk.session(AT) as session:
        visitor = find_member(session, "visitor", visitors)
        assert explain(session, visitors, visitor.member, level=Level.USER).verdict
        ada = explain(session, visitors, find_member(session, "ada-1", visitors).member, level=Level.USER)
    assert not ada.verdict
    assert ada.clause.parts[1].seen == {"identifiers": {"anonymous_id": 0}}


def test_a_suppressed_person_is_out_and_told_why(desk: Desk) -> None:
    question = desk.question(draft=Draft("trait('plan') = 'paid'"), at_us=AT)
    with desk.session(AT) as session:
        found = why(session, question, find_member(session, "ada-1", question.audience))
    assert not found.verdict
    assert [(part.kind, part.outcome) for part in found.clause.parts] == [("comparison", True), ("suppression", False)]


# ---- since when


def test_since_when_a_member_is_in_or_out_follows_the_versions(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.audience()
    addresses = {n: [f"user_id:u{n}"] for n in range(1, 60)}
    without = {n: each for n, each in addresses.items() if n != 7}
    for turn, members in enumerate((without, addresses, without, addresses, {**addresses, 8: ["user_id:other"]})):
        world.evaluated_at = AT + (turn - 1) * HOUR  # publishing adds an hour
        world.publish(members)
    with world.registry.database.read() as c:
        folder = tmp_path / "snapshots" / "default" / "vips"
        history = load_history(c, find_audience(c, world.space.id, "vips"), folder)

    def since(member: int, until: int = 9) -> tuple[bool, int | None]:
        found = standing(history.until(AT + until * HOUR), member, Level.USER)
        assert found
        return found.is_in, None if found.since is None else found.since.n

    assert since(7) == (True, 4)
    assert since(7, until=2) == (False, 3)
    assert since(7, until=0) == (False, None)
    assert since(8) == (True, 1)
    assert since(999) == (False, None)
    assert standing(history.until(AT - 1), 7, Level.USER) is None
    world.registry.database.close()
