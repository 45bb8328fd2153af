"""The product as its users have it: the `engage` command in a home of its own, a real daemon, a real receiver."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engage_pipelines.demo.processes import dagster_daemon

ROOT = Path(__file__).parents[2]
ENGAGE = Path(sys.executable).with_name("engage")
SHARED_DATA = ROOT.parent / "shared" / "data"
WRITE_KEY = "write-key-of-the-test"


@dataclass(frozen=True, slots=True)
class Product:
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "ENGAGE_HOME": str(self.home), "DAGSTER_HOME": str(ROOT), "CRM_KEY": WRITE_KEY, "ENGAGE_ACTOR": "test"}

    def engage(self, *words: str, code: int = 0, timeout: float = 180) -> str:
        """Run a command; its standard output. The exit code must be `code`."""
        done = subprocess.run(
            [str(ENGAGE), *words], env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == code, f"engage {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if code == 0 else done.stdout + done.stderr

    def json(self, *words: str) -> Any:
        return json.loads(self.engage(*words, "--output", "json"))

    @contextmanager
    def daemon(self) -> Generator[subprocess.Popen[bytes]]:
        self.home.mkdir(parents=True, exist_ok=True)
        with dagster_daemon(ROOT, self.environment, self.home / "daemon.log") as process:
            yield process

    def wait_until_up_to_date(self, seconds: float = 150) -> None:
        """Until every connection says so."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            rows = self.json("status")
            if all(row["sync_status"] == "Up to date" for row in rows):
                return
            time.sleep(1)
        raise AssertionError(f"still {rows}; the daemon says:\n{self.daemon_log()}")

    def daemon_log(self) -> str:
        return (self.home / "daemon.log").read_text(errors="replace")[-4000:]
