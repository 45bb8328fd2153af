"""The desk that tests of computing work at."""

from pathlib import Path

import pytest

from tests.computing.desk import Desk


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    for name in ("ENGAGE_DATABASE_URL", "ENGAGE_SPACE", "ENGAGE_KEYS", "ENGAGE_FILES_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path / "home"))
    return Desk(tmp_path)
