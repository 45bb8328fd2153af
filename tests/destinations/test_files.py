import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from engage_pipelines.destinations.base import Accepted, Backoff, ListRow, Stop, Target
from engage_pipelines.destinations.csv_file import CsvFile
from engage_pipelines.destinations.files import FileDestination
from engage_pipelines.destinations.parquet_file import ParquetFile
from engage_pipelines.destinations.sending import filesystem
from engage_pipelines.domain.errors import ConfigurationError
from engage_pipelines.testing.bench import KEY, Bench
from engage_pipelines.testing.conformance import DestinationConformance

TARGET = Target("main", KEY, "user", 1)


def rows_of(path: Path) -> list[dict[str, str | None]]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))  # type: ignore[arg-type]


def replayed(folder: Path) -> dict[str, bool]:
    """Who is on the list, for somebody who reads the files of changes in the order of their names."""
    members: dict[str, bool] = {}
    for path in sorted(folder.rglob(f"{KEY}.*")):
        for row in rows_of(path):
            address = str(row["address"]).removeprefix("user_id:")
            members.pop(address, None)
            if row["change"] == "add":
                members[address] = True
    return members


class FilesConformance(DestinationConformance):
    def takings(self, folder: Path) -> object:
        return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def held(self, folder: Path) -> Mapping[str, bool]:
        return {str(row["user_id"]): True for path in folder.rglob(f"{KEY}.*") for row in rows_of(path)}


class TestCsvWhole(FilesConformance):
    destination = CsvFile()
    whole_list = True

    def settings(self, url: str, folder: Path) -> Mapping[str, object]:
        return {"path": "lists/{space}/{audience}.csv", "escape_formulas": False}


class TestParquetWhole(FilesConformance):
    destination = ParquetFile()
    whole_list = True

    def settings(self, url: str, folder: Path) -> Mapping[str, object]:
        return {"path": "{audience}.parquet"}


class ChangesConformance(FilesConformance):
    def held(self, folder: Path) -> Mapping[str, bool]:
        return replayed(folder)

    def test_a_generation_is_one_file_however_its_batches_are_cut(self, bench: Bench) -> None:
        records = [bench.record(f"u-{number}") for number in range(5)]
        bench.deliver(records[:2])
        bench.deliver(records[1:])
        (path,) = (path for path in bench.folder.rglob("*") if path.is_file())
        assert ".000000000001." in path.name
        assert [row["address"] for row in rows_of(path)] == [record.address for record in records]


class TestCsvChanges(ChangesConformance):
    destination = CsvFile()

    def settings(self, url: str, folder: Path) -> Mapping[str, object]:
        return {"path": "{audience}.csv", "changes": True, "escape_formulas": False}


class TestParquetChanges(ChangesConformance):
    destination = ParquetFile()

    def settings(self, url: str, folder: Path) -> Mapping[str, object]:
        return {"path": "{audience}.parquet", "changes": True}


def write(kind: FileDestination, folder: Path, row: ListRow, **settings: object) -> object:
    configured = kind.configure({"path": "list.csv", **settings}, files_dir=folder)
    return kind.write_list(iter([[row]]), settings=configured, target=TARGET)


PATHS = [
    "/etc/passwd",
    "../list.csv",
    "a/../../list.csv",
    "a/./../b",
    "~/list.csv",
    "C:\\list.csv",
    "a\\..\\b",
    "..",
    "lists/",
    ".hidden",
    "a\nb",
    "a\0b",
    "{home}.csv",
    "{audience.csv",
    "",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_leads_elsewhere_is_refused_when_it_is_set(path: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="path"):
        CsvFile().configure({"path": path}, files_dir=tmp_path)


def test_a_key_cannot_lead_elsewhere_either(tmp_path: Path) -> None:
    settings = CsvFile().configure({"path": "{audience}.csv"}, files_dir=tmp_path / "files")
    target = Target("main", "../../outside", "user", 1)
    assert isinstance(CsvFile().write_list(iter([]), settings=settings, target=target), Stop)
    assert list(tmp_path.rglob("outside*")) == []


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    files, elsewhere = tmp_path / "files", tmp_path / "elsewhere"
    files.mkdir()
    elsewhere.mkdir()
    (files / "out").symlink_to(elsewhere)
    settings = CsvFile().configure({"path": "out/new/list.csv"}, files_dir=files)
    assert isinstance(CsvFile().write_list(iter([]), settings=settings, target=TARGET), Stop)
    assert list(elsewhere.iterdir()) == []


def test_a_link_in_place_of_the_file_is_replaced_and_what_it_led_to_stays(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    precious = tmp_path / "precious"
    precious.write_text("keep")
    (files / "list.csv").symlink_to(precious)
    assert write(CsvFile(), files, ListRow("user_id:u-1", "u-1", None)) == Accepted()
    assert precious.read_text() == "keep"
    assert not (files / "list.csv").is_symlink()


def test_the_folder_for_files_is_the_operators_to_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="ENGAGE_FILES_DIR"):
        CsvFile().configure({"path": "x.csv", "files_dir": "/"}, files_dir=tmp_path)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        pytest.param("=HYPERLINK(1)", "'=HYPERLINK(1)", id="a formula"),
        pytest.param("@SUM(A1)", "'@SUM(A1)", id="an old formula"),
        pytest.param("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0", id="a command"),
        pytest.param("-2+3+cmd", "'-2+3+cmd", id="a sum that runs a command"),
        pytest.param("\tx", "'\tx", id="a tab"),
        pytest.param("+49 (30) 123-45", "+49 (30) 123-45", id="a phone number"),
        pytest.param("-12.5", "-12.5", id="a number"),
        pytest.param("a=b", "a=b", id="an equals sign inside"),
    ],
)
def test_formulas_are_made_harmless_in_csv_unless_switched_off(text: str, written: str, tmp_path: Path) -> None:
    row = ListRow("user_id:u-1", "u-1", None, {"note": text})
    for escape, expected in ((True, written), (False, text)):
        assert write(CsvFile(), tmp_path, row, traits=["note"], escape_formulas=escape) == Accepted()
        assert rows_of(tmp_path / "list.csv")[0]["note"] == expected


@pytest.mark.parametrize("kind", [CsvFile(), ParquetFile()], ids=["csv", "parquet"])
def test_traits_asked_for_become_columns_and_missing_ones_stay_missing(kind: FileDestination, tmp_path: Path) -> None:
    path = "list.parquet" if isinstance(kind, ParquetFile) else "list.csv"
    row = ListRow("user_id:u-1", "u-1", "a@b.test", {"plan": "pro", "seats": 3, "vip": True, "tags": ["a"], "other": 1})
    assert write(kind, tmp_path, row, path=path, traits=["plan", "seats", "vip", "tags", "none"]) == Accepted()
    (read,) = rows_of(tmp_path / path)
    assert {**read, "none": read["none"] or None} == {
        "address": "user_id:u-1",
        "user_id": "u-1",
        "email": "a@b.test",
        "plan": "pro",
        "seats": "3",
        "vip": "true",
        "tags": '["a"]',
        "none": None,
    }


def test_what_a_killed_process_left_is_swept_and_the_files_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / ".list.csv.0123abcd.aside").write_text("half")
    (tmp_path / ".other.csv.0123abcd.aside").write_text("not ours")
    write(CsvFile(), tmp_path, ListRow("user_id:u-1", "u-1", None))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.csv.0123abcd.aside", "list.csv"]


def test_a_full_disk_is_tried_again_and_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(CsvFile(), tmp_path, ListRow("user_id:u-1", "u-1", None))
    before = (tmp_path / "list.csv").read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(filesystem.os, "fsync", full)
    verdict = write(CsvFile(), tmp_path, ListRow("user_id:u-2", "u-2", None))
    assert isinstance(verdict, Backoff)
    assert "make room" in verdict.reason
    assert [path.name for path in tmp_path.iterdir()] == ["list.csv"]
    assert (tmp_path / "list.csv").read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_stops(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert isinstance(write(CsvFile(), tmp_path, ListRow("user_id:u-1", "u-1", None)), Stop)


def test_a_file_in_place_of_a_folder_stops(tmp_path: Path) -> None:
    (tmp_path / "lists").write_text("")
    verdict = write(CsvFile(), tmp_path, ListRow("user_id:u-1", "u-1", None), path="lists/a.csv")
    assert isinstance(verdict, Stop)


def test_somebody_elses_file_in_the_place_of_changes_stops(tmp_path: Path) -> None:
    (tmp_path / "list.000000000001.csv").write_text("name,age\nana,3\n")
    settings = CsvFile().configure({"path": "list.csv", "changes": True}, files_dir=tmp_path)
    bench = Bench(CsvFile(), settings, tmp_path, replayed, replayed, None)
    verdict = bench.send([bench.record("u-1")])
    assert isinstance(verdict, Stop)
    assert "not one of ours" in verdict.reason
