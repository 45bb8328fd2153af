import subprocess
import sys
from pathlib import Path

import pytest

from engage_pipelines.cli.skeleton import write_skeleton
from engage_pipelines.domain.errors import ConflictError, StateError, UsageError


def test_the_skeleton_passes_its_own_tests(tmp_path: Path) -> None:
    assert [path.name for path in write_skeleton("post_box", tmp_path)] == ["post_box.py", "fake_post_box.py", "test_post_box.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


@pytest.mark.parametrize("name", ["", "Post", "post-box", "../post", "9box", "_box", "pöst", "x" * 61])
def test_what_is_no_key_makes_no_skeleton(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no key for a destination type"):
        write_skeleton(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_overwritten_and_none_is_left_half_done(tmp_path: Path) -> None:
    (tmp_path / "test_box.py").write_text("mine")
    with pytest.raises(ConflictError, match=r"test_box\.py is there already"):
        write_skeleton("box", tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot be written to"):
        write_skeleton("box", tmp_path / "file" / "below")
