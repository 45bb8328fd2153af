"""Evaluation of audiences, in sentences; that it agrees with the reference meaning is tested at random elsewhere."""

import pytest

from engage_pipelines.domain.computation import Audience, Level
from engage_pipelines.domain.errors import DefinitionError, StateError
from engage_pipelines.domain.query.meaning import Row
from engage_pipelines.facts.evaluate import Evaluated, evaluate
from engage_pipelines.testing.plain_facts import Facts, Member, TraitRow, session_of

AT = 1_000_000_000_000_000

FACTS = Facts(
    users=[
        Member(1, [TraitRow("plan", 0, "t1", "free"), TraitRow("plan", 5, "t2", "paid")], [Row("Order", AT, "m1", {"total": 10})]),
        Member(2, [TraitRow("plan", 5, "t1", "free"), TraitRow("plan", 5, "t3", "paid"), TraitRow("plan", AT + 1, "t4", "x")]),
        Member(3, [TraitRow("plan", 5, "t5", "paid"), TraitRow("plan", 6, "t6", None)], [Row("Order", AT + 1, "m2", {"total": 10})]),
        Member(4),
    ],
    accounts=[
        Member(100, [TraitRow("tier", 5, "a1", "gold")], users=[1, 2]),
        Member(101, [TraitRow("tier", 5, "a2", "tin")], users=[2, 3]),
        Member(102),
    ],
    strangers=[Member(50, [TraitRow("plan", 5, "t9", "paid")], [Row("Order", AT, "m9", {"total": 10})])],
)


def user(key: str, definition: str) -> Audience:
    return Audience(key, key, Level.USER, definition)


def account(key: str, definition: str) -> Audience:
    return Audience(key, key, Level.ACCOUNT, definition)


def run(*audiences: Audience, context: tuple[Audience, ...] = ()) -> dict[str, Evaluated]:
    with session_of(FACTS, AT) as session:
        return evaluate(session, audiences, context=context)


def members(audience: Audience, *context: Audience) -> tuple[list[int], list[int]]:
    result = run(audience, context=context)[audience.key]
    assert result.error is None, result.error
    assert result.members
    return result.members.users.tolist(), result.members.accounts.tolist()


def test_the_last_value_of_a_trait_counts_and_null_takes_it_away() -> None:
    assert members(user("a", "trait('plan') = 'paid'")) == ([1, 2], [])
    assert members(user("a", "trait('plan').absent()")) == ([3, 4], [])


def test_only_profiles_with_a_user_id_or_an_email_are_members() -> None:
    assert members(user("a", "event('Order').count() >= 1")) == ([1], [])


def test_who_has_no_row_at_all_is_counted_as_zero() -> None:
    assert members(user("a", "event('Order').count() < 1")) == ([2, 3, 4], [])
    assert members(user("a", "NOT event('Order').sum(property('total')) > 1")) == ([2, 3, 4], [])


def test_an_account_audience_has_the_users_of_the_matching_accounts_each_once() -> None:
    assert members(account("a", "trait('tier').exists()")) == ([1, 2, 3], [100, 101])


def test_any_all_and_none_of_the_users() -> None:
    assert members(account("a", "ANY trait('plan') = 'paid'"))[1] == [100, 101]
    assert members(account("a", "ALL trait('plan') = 'paid'"))[1] == [100]
    assert members(account("a", "ALL NOT trait('plan') = 'paid'"))[1] == [102]


def test_a_user_audience_inside_an_account_audience() -> None:
    paid = user("paid", "trait('plan') = 'paid'")
    assert members(account("a", "ALL trait('paid') = true"), paid)[1] == [100]
    assert members(account("a", "trait('paid') = true"), paid)[1] == [100, 101]
    assert members(account("a", "NOT trait('paid') = true"), paid)[1] == [102]


def test_an_account_audience_inside_a_user_audience_is_true_of_the_users_of_any_matching_account() -> None:
    gold = account("gold", "trait('tier') = 'gold'")
    assert members(user("a", "trait('gold') = true"), gold)[0] == [1, 2]
    assert members(user("a", "trait('gold') = 'false'"), gold)[0] == [3, 4]


def test_an_audience_may_refer_to_one_that_refers_to_another() -> None:
    paid, buyers = user("paid", "trait('plan') = 'paid'"), user("buyers", "event('Order').count() > 0 AND trait('paid') = true")
    assert members(user("a", "trait('paid') = true AND NOT trait('buyers') = true"), paid, buyers)[0] == [2]


def test_a_loop_is_named_and_the_others_are_evaluated() -> None:
    results = run(
        user("b", "trait('c') = true"),
        user("c", "trait('a') = true"),
        user("a", "trait('b') = true"),
        user("d", "trait('b') = true"),
        user("e", "trait('plan') = 'paid'"),
    )
    for key in "abc":
        assert "loop: a -> b -> c -> a." in str(results[key].error)
    assert "refers to audience 'b', which cannot be evaluated" in str(results["d"].error)
    assert results["e"].error is None


def test_an_audience_cannot_refer_to_itself() -> None:
    assert "loop: a -> a." in str(run(user("a", "trait('a') = true"))["a"].error)


def test_one_that_cannot_be_read_does_not_fail_the_others() -> None:
    results = run(user("bad", "trait('plan' ="), user("good", "trait('plan') = 'paid'"))
    assert isinstance(results["bad"].error, DefinitionError)
    assert results["bad"].members is None
    assert results["good"].members is not None


def test_facts_that_cannot_be_read_fail_only_those_who_need_them() -> None:
    with session_of(FACTS, AT) as session:
        session.connection.execute("ALTER TABLE event_rows DROP COLUMN properties")
        results = evaluate(
            session,
            [
                user("a", "event('Order').where(property('p') = 1).count() > 0"),
                user("b", "trait('a') = true"),
                user("c", "trait('plan') = 'paid'"),
            ],
        )
    assert isinstance(results["a"].error, StateError)
    assert isinstance(results["b"].error, StateError)
    assert results["c"].members is not None


@pytest.mark.parametrize(
    ("audience", "warning"),
    [
        pytest.param(user("a", "event('Oder').count() > 0"), "no event 'Oder' has been seen. Did you mean 'Order'?", id="event"),
        pytest.param(user("a", "trait('paln') = 1"), "no trait of users 'paln' has been seen. Did you mean 'plan'?", id="trait of users"),
        pytest.param(
            account("a", "trait('teir') = 1"), "no trait of accounts 'teir' has been seen. Did you mean 'tier'?", id="trait of accounts"
        ),
        pytest.param(
            account("a", "ANY trait('tier') = 1"), "no trait of users 'tier' has been seen.", id="an account's trait asked of users"
        ),
    ],
)
def test_unknown_names_are_warned_of_with_the_nearest_one(audience: Audience, warning: str) -> None:
    result = run(audience)["a"]
    assert result.warnings == (warning,)
    assert result.members is not None
    assert result.members.users.tolist() == []


def test_facts_without_users_that_can_be_read_are_an_error_of_the_operator() -> None:
    with session_of(FACTS, AT) as session:
        session.connection.execute("DROP TABLE account_users")
        with pytest.raises(StateError, match="could not be read"):
            evaluate(session, [user("a", "trait('plan') = 'paid'")])


def test_no_facts_at_all_are_nobody() -> None:
    with session_of(Facts(), AT) as session:
        result = evaluate(session, [user("a", "NOT trait('x') = 1"), account("b", "ALL NOT event('x').count() > 0")])
    assert [each.members.users.tolist() for each in result.values() if each.members] == [[], []]


@pytest.mark.parametrize("name", ["it's", 'say "hi"', "a\\b", 'a\\"b', "x'); DROP TABLE users; --", "日本", "a%b_c", "$x", "[0]", "a b"])
def test_names_and_texts_are_quoted_whatever_they_hold(name: str) -> None:
    facts = Facts(users=[Member(1, [TraitRow("t", 1, "t1", {name: name})], [Row(name, 1, "m1", {name: name}, {}, name)])])
    quoted = "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"
    path = "'" + name.replace("\\", "\\\\\\\\").replace("'", "\\'") + "'"
    inner = path.replace("'", "'t.", 1)
    text = f"event({quoted}).where(property({path}) = {quoted}).count() = 1 AND trait({inner}).contains({quoted})"
    with session_of(facts, AT) as session:
        results = evaluate(session, [user("a", text), user("b", f"event({quoted}).sources(exclude: {quoted}).count() = 0")])
    for result in results.values():
        assert result.error is None
        assert result.members is not None
        assert result.members.users.tolist() == [1]


def test_sums_of_money_are_exact_and_huge_values_are_no_error() -> None:
    facts = Facts(
        users=[
            Member(1, [], [Row("E", 1, "a", {"p": 0.1}), Row("E", 2, "b", {"p": "0.2"})]),
            Member(2, [], [Row("E", 1, "c", {"p": 1e300}), Row("E", 2, "d", {"p": "1" * 40})]),
            Member(3, [], [Row("E", 1, "e", {"p": 1.7e308}), Row("E", 2, "f", {"p": 1.7e308})]),
        ]
    )
    with session_of(facts, AT) as session:
        results = evaluate(session, [user("a", "event('E').sum(property('p')) = 0.3"), user("b", "event('E').sum(property('p')) > 1000")])
    assert [each.members.users.tolist() for each in results.values() if each.members] == [[1], [2]]


def test_what_follows_can_ask_about_the_elements_of_the_row_it_follows() -> None:
    rows = [Row("A", AT - 10, "m1", {"m": [{"x": "abc"}]}), Row("B", AT - 5, "m2", {"m": [{"x": "no"}]})]
    text = (
        "event('A').where(event('B').within(parent: 2 hours).where(property(parent: 'm.$.x').starts_with('ab')).count() >= 1).count() >= 1"
    )
    with session_of(Facts([Member(1, [], rows)]), AT) as session:
        found = evaluate(session, [user("a", text)])["a"]
    assert found.members is not None, found.error
    assert found.members.users.tolist() == [1]
