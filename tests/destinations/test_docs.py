"""The example of docs/writing-a-destination.md, run as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "writing-a-destination.md"


def test_the_examples_of_the_page_pass_the_conformance_suite(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 6
    (tmp_path / "test_postbox.py").write_text("\n\n".join(blocks))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) > 60


def test_the_table_of_destinations_names_every_type_of_ours() -> None:
    table = (PAGE.parent / "destinations.md").read_text()
    folder = PAGE.parents[1] / "engage_pipelines" / "destinations"
    keys = re.findall(r'^    key = "(\w+)"', "\n".join(path.read_text() for path in sorted(folder.glob("*.py"))), flags=re.MULTILINE)
    assert len(keys) >= 5
    assert all(f"**{key}**" in table for key in keys)
