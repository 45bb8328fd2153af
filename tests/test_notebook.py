"""The public Python API: what it exports, what its frames hold, and the page about it, run as it stands."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from engage_pipelines import notebook
from engage_pipelines.domain.errors import DefinitionError, NotFoundError, UsageError
from engage_pipelines.notebook import Project, open_project
from tests.computing.sample_project import BUYERS, make_project

PAGE = Path(__file__).parents[1] / "docs" / "notebooks.md"
AT = "2008-01-11"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project") / "home").home


@pytest.fixture
def project(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    for name in ("ENGAGE_DATABASE_URL", "ENGAGE_SPACE"):
        monkeypatch.delenv(name, raising=False)
    with open_project(home) as opened:
        yield opened


def test_the_exported_names_are_sorted_and_all_there() -> None:
    assert notebook.__all__ == sorted(notebook.__all__)
    assert all(hasattr(notebook, name) for name in notebook.__all__)


def test_the_methods_are_these_and_no_others() -> None:
    public = {name for name in vars(Project) if not name.startswith("_")}
    assert public == {
        "audiences", "changes", "close", "desk", "explain", "figures", "history", "members", "overlap", "preview", "preview_values",
        "sizes_over_time", "traits", "value_changes", "values",
    }  # fmt: skip


def test_the_page_runs_as_it_stands(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGAGE_HOME", str(home))
    monkeypatch.delenv("ENGAGE_DATABASE_URL", raising=False)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 8
    names: dict[str, object] = {}
    exec("\n".join(blocks), names)
    frames = [value for value in names.values() if isinstance(value, pd.DataFrame)]
    assert len(frames) >= 10
    assert not [name for name, value in names.items() if isinstance(value, pd.DataFrame) and not len(value)]
    assert names["verdict"] is not None
    assert all(f"project.{method}(" in PAGE.read_text() for method in vars(Project) if not method.startswith("_") and method != "desk")


def test_audiences_come_with_the_figures_of_their_current_versions(project: Project) -> None:
    frame = project.audiences().set_index("key")
    assert list(frame.index) == ["business", "buyers"]
    assert frame.loc["buyers", "version"] == 2
    assert frame.loc["buyers", "size"] == len(project.members("buyers"))
    assert frame.loc["business", "users"] == len(project.members("business", users=True))
    assert frame.loc["buyers", "evaluated_at"] == pd.Timestamp(AT, tz="UTC")


def test_changes_lead_from_one_version_to_the_other(project: Project) -> None:
    for key in ("buyers", "business"):
        changes = project.changes(key, 1, 2)
        entered, exited = (set(changes.loc[changes["change"] == each, "member"]) for each in ("entered", "exited"))
        assert entered
        assert exited
        before, after = (set(project.members(key, version)["member"]) for version in (1, 2))
        assert (before | entered) - exited == after
        assert set(project.changes(key, 0, 2)["member"]) == after
        back = project.changes(key, 2, 1)
        assert set(back.loc[back["change"] == "entered", "member"]) == exited


def test_a_preview_of_what_is_saved_is_its_version(project: Project) -> None:
    saved = project.members("buyers")
    pd.testing.assert_frame_equal(project.preview(BUYERS, at=AT), saved)
    pd.testing.assert_frame_equal(project.preview("buyers"), saved)
    pd.testing.assert_frame_equal(project.preview("business"), project.members("business"))
    figures = project.figures(BUYERS, against="buyers").set_index("figure")["value"]
    assert (figures["size"], figures["would enter"], figures["would exit"]) == (len(saved), 0, 0)


def test_the_same_instant_may_be_said_in_many_ways(project: Project) -> None:
    wanted = len(project.preview("buyers", at=AT))
    for at in (date(2008, 1, 11), datetime(2008, 1, 11, tzinfo=UTC), datetime(2008, 1, 11), pd.Timestamp(AT, tz="UTC")):  # noqa: DTZ001
        assert len(project.preview("buyers", at=at)) == wanted
    with pytest.raises(Exception, match="not an instant"):
        project.preview("buyers", at="yesterday")


def test_overlap_of_one_level_counts_members_and_of_two_levels_users(project: Project) -> None:
    row = project.overlap("buyers", "business").iloc[0]
    users = set(project.members("business", users=True)["member"])
    assert (row["level"], row["size_b"]) == ("user", len(users))
    assert row["common"] == len(users & set(project.members("buyers")["member"]))
    same = project.overlap("business", "business").iloc[0]
    assert (same["level"], same["share_of_a"], same["common"]) == ("account", 1.0, len(project.members("business")))


def test_sizes_over_time_are_those_of_previews(project: Project) -> None:
    sizes = project.sizes_over_time("buyers", "2007-11-20", "2008-01-11", timedelta(days=26))
    assert sizes["at"].dt.strftime("%Y-%m-%d").tolist() == ["2007-11-20", "2007-12-16", "2008-01-11"]
    assert sizes["size"].tolist() == [len(project.preview("buyers", at=at)) for at in sizes["at"]]
    assert sizes["entered"].isna().tolist() == [True, False, False]
    assert (sizes["size"].diff()[1:] == (sizes["entered"] - sizes["exited"])[1:]).all()


def test_an_explanation_is_a_row_per_clause(project: Project) -> None:
    why = project.explain("buyers", project.members("buyers")["user_id"].iloc[0])
    assert why["depth"].tolist() == [0, 1, 1, 2]
    assert why["outcome"].tolist() == [True, True, True, False]
    assert why["seen"].iloc[1]["value"] >= 1


@pytest.mark.parametrize(
    ("ask", "error", "words"),
    [
        pytest.param(lambda p: p.members("buyer"), NotFoundError, "Did you mean 'buyers'", id="a key that is none"),
        pytest.param(lambda p: p.members("buyers", 7), NotFoundError, "Published are 1 to 2", id="a version that is none"),
        pytest.param(lambda p: p.changes("buyers", 1, 9), NotFoundError, "no published version 9", id="changes to a version that is none"),
        pytest.param(lambda p: p.preview("trait('plan') ="), DefinitionError, "line 1", id="a broken query"),
        pytest.param(lambda p: p.overlap("buyers", "busines"), NotFoundError, "Did you mean 'business'", id="an overlap with nothing"),
        pytest.param(lambda p: p.sizes_over_time("buyers", "2008-01-02", "2008-01-01", "1d"), UsageError, "after", id="a span backwards"),
        pytest.param(lambda p: p.sizes_over_time("buyers", "1990-01-01", AT, "1h"), UsageError, "At most 1,000", id="too many instants"),
        pytest.param(lambda p: p.sizes_over_time("buyers", AT, AT, "soon"), UsageError, "7d", id="a step that is none"),
        pytest.param(lambda p: p.sizes_over_time("buyers", AT, AT, timedelta(0)), UsageError, "positive", id="a step of nothing"),
        pytest.param(lambda p: p.figures("business", against="buyers"), UsageError, "like with like", id="a level against another"),
        pytest.param(lambda p: p.explain("buyers", "u-0000"), NotFoundError, "Did you mean 'u-0000", id="a person that is none"),
    ],
)
def test_what_cannot_be_done_is_said(project: Project, ask, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        ask(project)


def test_a_misspelt_trait_gives_a_warning(project: Project) -> None:
    with pytest.warns(UserWarning, match="Did you mean 'title'"):
        project.preview("trait('titel') = 'Founder'")


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no folder"):
        open_project(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_values_of_traits_come_as_what_they_are(project: Project) -> None:
    spend = project.traits().set_index("key").loc["spend"]
    values = project.values("spend")
    assert list(values.columns) == ["member", "user_id", "email", "anonymous_id", "value"]
    assert (len(values), spend["version"], spend["type"]) == (spend["size"], 2, "computed")
    assert all(isinstance(value, int | float) for value in values["value"])
    assert values["value"].sum() == pytest.approx(project.preview_values("spend", at="2008-01-11")["value"].sum())


def test_changes_of_values_lead_from_one_version_to_the_other(project: Project) -> None:
    was, now = (project.values("spend", version).set_index("member")["value"].to_dict() for version in (1, 2))
    changes = project.value_changes("spend", 1, 2).set_index("member")
    assert set(changes["change"]) <= {"entered", "updated", "exited"}
    assert set(changes.index) == {member for member in was.keys() | now.keys() if was.get(member) != now.get(member)}
    assert all(was.get(member) == row["before"] and now.get(member) == row["value"] for member, row in changes.iterrows())


def test_values_of_a_text_are_previewed(project: Project) -> None:
    values = project.preview_values("event('Signed In').unique(property('device'))", level="account", at="2008-01-10")
    assert list(values.columns) == ["member", "group_id", "value"]
    with pytest.raises(DefinitionError, match="this is a condition"):
        project.preview_values("event('A').count() > 1")
