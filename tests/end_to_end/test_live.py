"""Facts that arrive while the daemon runs reach a list at once, not with the next hour, where an audience is computed live."""

import json
import time
from pathlib import Path

import pytest

from tests.end_to_end.product import Product

pytestmark = [pytest.mark.long, pytest.mark.daemon]
WITHIN_S = 300
"""What a very busy machine may take; an idle one takes about fifteen seconds, and the next usual computation would come in an hour."""


def _calls(folder: Path, user: str) -> Path:
    path = folder / f"{user}.jsonl"
    call = {"type": "track", "event": "Signed Up", "userId": user, "messageId": user, "timestamp": "2026-01-01T00:00:00Z"}
    path.write_text(json.dumps(call) + "\n", encoding="utf-8")
    return path


def _members(home: Path) -> set[str]:
    """The user ids in the newest list."""
    lists = sorted((home / "files").rglob("*.csv"), key=lambda path: path.stat().st_mtime)
    return set() if not lists else {user for user in ("first", "second", "third") if f"{user}" in lists[-1].read_text(encoding="utf-8")}


def test_a_member_arrives_at_a_list_without_waiting_for_the_hour(tmp_path: Path) -> None:
    product = Product(tmp_path / "home")
    product.engage("ingest", str(_calls(tmp_path, "first")))
    product.engage("audience", "create", "fresh", "--query", "event('Signed Up').count() >= 1", "--cadence", "live")
    product.engage("destination", "create", "list", "--type", "csv_file", "--set", "path=lists/{audience}.csv")
    product.engage("connect", "fresh", "list")
    with product.daemon():
        product.wait_until_up_to_date()
        taken: list[float] = []
        for user in ("second", "third"):
            product.engage("ingest", str(_calls(tmp_path, user)))
            begun = time.monotonic()
            while user not in _members(product.home) and time.monotonic() - begun < WITHIN_S:
                time.sleep(0.2)
            taken.append(time.monotonic() - begun)
    print(f"from the end of ingest to the list: {', '.join(f'{each:.1f} s' for each in taken)}")
    assert max(taken) < WITHIN_S, product.daemon_log()
