"""Commands that ask without changing anything: preview in detail, overlap, explain, history, export."""

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from engage_pipelines.cli.app import run
from tests.computing.sample_project import BUYERS, compute_all, make_project, open_tests_registry, settings_of

AT = "2008-01-11T00:00:00Z"
MORE = "event('Order Completed').within(40 days).count() >= 1"


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Engage = Callable[..., Said]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project") / "home").home


@pytest.fixture
def say(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Engage:
    for name in ("ENGAGE_DATABASE_URL", "ENGAGE_SPACE", "ENGAGE_KEYS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ENGAGE_HOME", str(home))

    def say_it(*arguments: str) -> Said:
        code = run(("audience", *arguments))
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return say_it


def members(say: Engage, *arguments: str) -> list[str]:
    return say("preview", *arguments, "--members", "--output", "json").json["members"]


# ---- preview


def test_the_plain_preview_has_count_and_members_and_nothing_else(say: Engage) -> None:
    assert list(say("preview", "buyers", "--output", "json").json) == ["count"]
    found = say("preview", "--query", BUYERS, "--at", AT, "--members", "--output", "json").json
    assert list(found) == ["count", "members"]
    assert found["members"] == sorted(found["members"])
    assert found["count"] == len(found["members"]) > 0


def test_details_hold_a_sample_and_the_identifiers(say: Engage) -> None:
    found = say("preview", "buyers", "--details", "--sample", "3", "--output", "json").json
    assert len(found["sample"]) == 3
    assert set(found["sample"]) <= set(members(say, "buyers"))
    assert found["identifiers"]["user_id"] == found["count"]
    assert found["identifiers"]["none"] == 0
    assert "accounts_without_users" not in found


def test_details_of_accounts_say_what_becomes_of_those_without_users(say: Engage) -> None:
    never = "ALL NOT event('No Such Event').count() >= 1"
    found = say("preview", "--query", never, "--type", "ACCOUNTS", "--details", "--output", "json").json
    empty = found["accounts_without_users"]
    assert empty["accounts"] > 0
    assert empty == {
        "accounts": empty["accounts"],
        "members": empty["accounts"],
        "empty_accounts": "default",
        "members_by_option": {"default": empty["accounts"], "true": empty["accounts"], "false": 0},
    }
    assert found["identifiers"] == {"group_id": found["count"], "none": 0}
    assert found["users"] == found["user_identifiers"]["user_id"] > 0


def test_a_preview_of_a_key_under_another_definition_says_what_would_change(say: Engage) -> None:
    found = say("preview", "buyers", "--query", MORE, "--against-current", "--sample", "1000", "--output", "json").json["against_current"]
    before, after = set(members(say, "buyers")), set(members(say, "--query", MORE))
    assert (found["version"], found["evaluated_at"]) == (2, AT)
    assert set(found["sample_entered"]) == after - before
    assert (found["entered"], found["exited"], found["stay"]) == (len(after - before), len(before - after), len(before & after))
    same = say("preview", "buyers", "--against-current", "--output", "json").json["against_current"]
    assert (same["entered"], same["exited"]) == (0, 0)


def test_overlap_agrees_with_the_members(say: Engage) -> None:
    found = say("preview", "buyers", "--overlap", "buyers", "--overlap", "business", "--output", "json").json["overlap"]
    assert [each["other"] for each in found] == ["buyers", "business"]
    assert found[0]["share"] == 1
    assert found[1]["level"] == "user"
    alone = say("overlap", "buyers", "business", "--output", "json").json
    assert {**alone, "other": "business"}.items() >= found[1].items()


def test_sizes_over_time_end_at_the_instant_of_the_preview(say: Engage) -> None:
    found = say("preview", "business", "--from", "2008-01-07", "--every", "2d", "--output", "json")
    sizes = found.json["sizes"]
    assert [each["at"][:10] for each in sizes] == ["2008-01-07", "2008-01-09", "2008-01-11"]
    assert sizes[-1]["size"] == found.json["count"]
    assert [each["size"] for each in sizes] == [len(members(say, "business", "--at", each["at"])) for each in sizes]


def test_people_get_tables(say: Engage) -> None:
    asked = ("--details", "--overlap", "business", "--against-current", "--from", "2008-01-01", "--to", "2008-01-08")
    said = say("preview", "buyers", *asked)
    assert said.code == 0
    for words in ("members\n", "identifiers", "Overlap", "OTHER", "Against the current version", "Over time", "2008-01-08T00:00:00Z"):
        assert words in said.out


# ---- explain


def test_explain_says_why_and_since_when(say: Engage) -> None:
    for name in members(say, "buyers")[:3]:
        told = say("explain", "buyers", name, "--output", "json").json
        assert told["in"]
        assert told["member"] == name
        assert (told["kept"]["version"], told["kept"]["in"]) == (2, True)
        assert told["kept"]["since_version"] in (1, 2)
        assert [part["outcome"] for part in told["clause"]["parts"]] == [True, True]


def test_explain_knows_who_left_and_when(say: Engage) -> None:
    gone = sorted(set(members(say, "buyers", "--at", "2008-01-10")) - set(members(say, "buyers")))
    told = say("explain", "buyers", gone[0], "--output", "json").json
    assert not told["in"]
    assert (told["kept"]["in"], told["kept"]["since_version"], told["kept"]["since"]) == (False, 2, AT)
    then = say("explain", "buyers", gone[0], "--at", "2008-01-10", "--output", "json").json
    assert then["in"]
    assert then["kept"]["version"] == 1


def test_explain_shows_people_the_clauses_of_an_account_with_examples(say: Engage) -> None:
    account = members(say, "business")[0]
    said = say("explain", "business", account)
    assert said.code == 0
    assert said.out.startswith(f"{account} is in business as of {AT}.\nVersion 2, as of {AT}, has them: entered in version ")
    assert re.search(r"^true +ANY event\('Signed In'\)", said.out, re.MULTILINE)
    assert re.search(r"true of \d+ of \d+ of its users", said.out)
    user = say("explain", "business", account, "--output", "json").json["clause"]["parts"][1]["examples"][0]["member"]
    assert say("explain", "business", user, "--output", "json").json["in"]
    assert "of their accounts" in say("explain", "business", user).out


# ---- history and export


def test_history_lists_the_versions_newest_first(say: Engage) -> None:
    rows = say("history", "buyers", "--output", "json").json
    assert [(row["version"], row["state"], row["current"]) for row in rows] == [(2, "published", True), (1, "published", False)]
    assert rows[0]["size"] == rows[1]["size"] + rows[0]["entered"] - rows[0]["exited"] == len(members(say, "buyers"))
    assert rows[0]["definition"] == BUYERS
    assert "EVALUATED AT" in say("history", "business").out
    assert len(say("history", "buyers", "--limit", "1", "--output", "json").json) == 1


def test_export_writes_the_current_version_as_csv(say: Engage, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(say("export", "buyers").out)))
    assert list(rows[0]) == ["user_id", "email", "anonymous_id"]
    assert [row["user_id"] for row in rows] == members(say, "buyers")
    file = tmp_path / "buyers.csv"
    said = say("export", "buyers", str(file), "--version", "1")
    assert said.err.strip() == f"{len(file.read_text().splitlines()) - 1} rows of version 1 are in {file}."
    assert list(tmp_path.iterdir()) == [file]


def test_export_writes_parquet_by_the_ending_of_the_file(say: Engage, tmp_path: Path) -> None:
    file = tmp_path / "it's.parquet"
    assert say("export", "business", str(file)).code == 0
    with duckdb.connect() as db:
        ids = db.execute("select group_id from read_parquet($1)", [str(file)]).fetchall()
        assert [row[0] for row in ids] == members(say, "business")
        assert say("export", "business", str(file), "--users", "--identifiers", "--force").code == 0
        kinds = {row[0] for row in db.execute("select distinct kind from read_parquet($1)", [str(file)]).fetchall()}
    assert {"user_id", "email"} <= kinds


def test_what_a_spreadsheet_would_run_gets_an_apostrophe(tmp_path: Path, say: Engage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path / "home"))
    home = tmp_path / "home"
    home.mkdir()
    (home / "calls.jsonl").write_text(json.dumps({"type": "identify", "userId": "=HYPERLINK(1)", "traits": {"plan": "paid"}}))
    assert run(("ingest", str(home / "calls.jsonl"))) == 0
    assert say("create", "bad", "--query", "trait('plan') = 'paid'").code == 0
    settings = settings_of(home)
    compute_all(settings, open_tests_registry(settings), ["bad"])
    assert "'=HYPERLINK(1)" in say("export", "bad").out
    assert "\n=HYPERLINK(1)" in say("export", "bad", "--raw").out


# ---- faults


def test_files_that_are_gone_are_told_without_a_traceback(say: Engage, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(home, tmp_path / "home")
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path / "home"))
    shutil.rmtree(tmp_path / "home" / "snapshots" / "default" / "buyers" / "1")
    said = say("export", "buyers", "--version", "1")
    assert (said.code, said.out) == (1, "")
    assert "backup" in said.err
    for file in (tmp_path / "home" / "facts" / "default").glob("**/*.parquet"):
        file.unlink()
    for command in (("explain", "buyers", "u-00001"), ("preview", "buyers", "--details"), ("overlap", "buyers", "business")):
        said = say(*command)
        assert (said.code, said.out) == (1, "")
        assert said.err.startswith("Error: ")
        assert "Traceback" not in said.err


# ---- mistakes


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(("preview", "--query", MORE, "--against-current"), 2, "Name its KEY", id="nothing to compare with"),
        pytest.param(("preview", "buyers", "--every", "7d"), 2, "--from INSTANT", id="a step without a beginning"),
        pytest.param(("preview", "buyers", "--from", "2008-01-01", "--every", "soon"), 2, "7d", id="a step that is none"),
        pytest.param(("preview", "buyers", "--from", "2009-01-01"), 2, "after the last", id="a span backwards"),
        pytest.param(("preview", "buyers", "--from", "1970-01-01", "--every", "1h"), 2, "At most 1,000", id="too many instants"),
        pytest.param(("preview", "buyers", "--query", "trait('a') >"), 1, "line 1", id="a broken definition for a key"),
        pytest.param(("preview", "buyers", "--overlap", "busines"), 1, "Did you mean 'business'?", id="an overlap with nothing"),
        pytest.param(("overlap", "buyers", "nothing"), 1, "There is no audience 'nothing'", id="an overlap command with nothing"),
        pytest.param(("explain", "buyers", "u-0000"), 1, "Did you mean 'u-", id="a person that is none"),
        pytest.param(("explain", "buyers", "acct-0001"), 1, "is an account", id="an account in an audience of users"),
        pytest.param(("explain", "buyer", "u-1"), 1, "Did you mean 'buyers'?", id="an audience that is none"),
        pytest.param(("explain", "buyers", "u-1", "--at", "soon"), 1, "not an instant", id="an instant that is none"),
        pytest.param(("history", "buyer"), 1, "Did you mean 'buyers'?", id="the history of nothing"),
        pytest.param(("export", "buyers", "--format", "parquet"), 2, "needs a FILE", id="parquet to a terminal"),
        pytest.param(("export", "buyers", "/no/such/folder/x.csv"), 1, "no folder", id="a folder that is none"),
        pytest.param(("export", "buyers", "/"), 1, "is a folder", id="a folder instead of a file"),
        pytest.param(("export", "buyers", __file__), 2, "--force", id="a file that is there"),
        pytest.param(("export", "buyers", "--version", "9"), 1, "no published version 9", id="a version that is none"),
    ],
)
def test_mistakes_are_told_with_their_remedy(say: Engage, arguments: tuple[str, ...], code: int, words: str) -> None:
    said = say(*arguments)
    assert said.code == code, said.err
    assert words in said.err
    assert not said.out
