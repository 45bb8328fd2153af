"""The condition builder: rows say a text of the query language, and a text is read back into the same rows, or not at all."""

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.query import parse, to_text
from engage_pipelines.server.console.building import Builder, BuilderRow, read_builder, rows_of


@pytest.mark.parametrize(
    ("row", "text"),
    [
        pytest.param(BuilderRow(name="A", count="3", days="14"), "event('A').within(14 days).count() >= 3", id="often, lately"),
        pytest.param(BuilderRow("did_not", "A"), "NOT event('A').count() >= 1", id="never"),
        pytest.param(BuilderRow("trait", "plan", value="pro"), "trait('plan') = 'pro'", id="a trait that is text"),
        pytest.param(BuilderRow("trait", "seats", compares="at_least", value="5"), "trait('seats') >= 5", id="a trait that is a number"),
        pytest.param(BuilderRow("trait", "zip", value="'0815'"), "trait('zip') = '0815'", id="text that looks like a number"),
        pytest.param(BuilderRow("trait", "plan", compares="exists"), "trait('plan').exists()", id="a trait that is there"),
        pytest.param(BuilderRow("not_audience", "vip"), "NOT trait('vip') = true", id="not in an audience"),
        pytest.param(
            BuilderRow(name="A", property="total", compares="greater_than", value="9.5"),
            "event('A').where(property('total') > 9.5).count() >= 1",
            id="with a property",
        ),
    ],
)
def test_a_row_says_its_text_and_is_read_back(row: BuilderRow, text: str):
    builder = Builder(Level.USER, rows=(row,))
    assert builder.text() == text
    again = rows_of(text, Level.USER)
    assert again.fits
    assert again.text() == text


def test_rows_are_joined_by_all_or_any_and_accounts_ask_about_their_users():
    rows = (BuilderRow("trait", "plan", value="pro"), BuilderRow(name="A", whose="none"))
    text = Builder(Level.ACCOUNT, "any", rows).text()
    assert text == "trait('plan') = 'pro' OR ALL NOT event('A').count() >= 1"
    assert rows_of(text, Level.ACCOUNT).rows[1].whose == "none"


@pytest.mark.parametrize(
    "text",
    ["event('A').sum(property('x')) > 3", "NOT (trait('a') = 1 AND trait('b') = 2)", "nonsense", "event('A').first(property('x')) = 'y'"],
)
def test_a_text_that_says_more_is_left_as_text(text: str):
    assert not rows_of(text, Level.USER).fits


def test_a_row_with_a_gap_says_nothing_and_a_form_cannot_hold_more_rows_than_there_are():
    assert Builder(Level.USER, rows=(BuilderRow(), BuilderRow(name="A", count="many"))).text() == ""
    form = {f"b.{order}.kind": "did" for order in range(40)} | {"b.add": "yes"}
    assert len(read_builder(form, Level.USER).rows) == 20
    assert len(read_builder({"b.0.kind": "did", "b.1.kind": "<b>", "b.remove": "0"}, Level.USER).rows) == 1


words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).map(str.strip).filter(bool)


# a number of more than 30 digits, such as 1e40, is refused where the text is read
values = words.filter(lambda text: not re.search(r"\d[eE]\+?\d", unicodedata.normalize("NFKC", text)))


@settings(max_examples=60, deadline=None)
@given(name=words, value=values, compares=st.sampled_from(["equals", "differs", "contains", "starts_with"]), days=st.integers(1, 400))
def test_whatever_is_typed_makes_a_text_that_parses_to_itself(name: str, value: str, compares: str, days: int):
    row = BuilderRow(name=name, days=str(days), property="p", compares=compares, value=value)
    text = Builder(Level.USER, rows=(row,)).text()
    if text:
        assert to_text(parse(text, level=Level.USER)) == text
