"""What people see in the Dagster UI, in a real browser; screenshots are kept in `screenshots/` for eyes."""

import re
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

from engage_pipelines.facts.sample import generate
from engage_pipelines.testing.receiver import Receiver
from tests.end_to_end.dagster_dev import engage_dev, eventually, free_port
from tests.end_to_end.product import ROOT, WRITE_KEY, Product

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
SHOTS = ROOT / "screenshots"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.daemon,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"),
]


@pytest.fixture
def page() -> Generator["sync_api.Page"]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"])
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        page.set_default_timeout(45_000)
        yield page
        browser.close()


def test_a_marketer_finds_the_audience_its_destinations_and_what_was_sent(tmp_path: Path, page: "sync_api.Page"):
    product, port = Product(tmp_path / "home"), free_port()
    calls = tmp_path / "calls.jsonl"
    generate(calls, users=200, accounts=20, events=3_000, end_us=1_767_225_600_000_000)
    product.json("ingest", str(calls))
    product.engage("space", "create", "default", "--evaluate-at", "2026-01-01T00:00:00Z")
    product.engage("audience", "create", "exporters", "--name", "Exporters", "--query", "event('Report Exported').count() >= 1")
    SHOTS.mkdir(exist_ok=True)
    with Receiver(write_key=WRITE_KEY) as receiver, engage_dev(product, port):
        product.engage(
            "destination", "create", "crm", "--type", "segment", "--set", "write_key=env:CRM_KEY", "--set", f"endpoint={receiver.url}"
        )
        product.engage("connect", "exporters", "crm", "--identify", "--wait")
        product.engage("destination", "create", "list", "--type", "csv_file", "--set", "path=lists/{audience}.csv")
        product.engage("connect", "exporters", "list", "--wait")
        told = len(receiver.members("exporters"))
        url = f"http://127.0.0.1:{port}"

        page.goto(f"{url}/asset-groups")
        sync_api.expect(page.get_by_text("exporters").first).to_be_visible()
        page.screenshot(path=SHOTS / "lineage.png")

        page.goto(f"{url}/assets/default/sync/exporters?view=partitions&partition=crm")
        sync_api.expect(page.get_by_text("Identify records sent").first).to_be_visible()
        sync_api.expect(page.get_by_text(str(told), exact=True).first).to_be_visible()
        page.screenshot(path=SHOTS / "partitions.png")

        page.goto(f"{url}/assets/default/audience/exporters")
        sync_api.expect(page.get_by_text("Exporters").first).to_be_visible()
        page.screenshot(path=SHOTS / "audience.png")

        # a backfill of chosen destinations, clicked
        receiver.reset()
        page.goto(f"{url}/assets/default/sync/exporters?view=partitions")
        page.get_by_role("button", name="Materialize").first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="All", exact=True).click()
        page.screenshot(path=SHOTS / "launch.png")
        dialog.get_by_role("button", name=re.compile("^Launch")).click()
        eventually(lambda: any(row["run_id"] for row in product.json("status")), 180, "no run is known")
        page.goto(f"{url}/runs")
        sync_api.expect(page.get_by_text("Success").first).to_be_visible()
        page.screenshot(path=SHOTS / "runs.png")
        product.wait_until_up_to_date()
        assert receiver.state()["calls"] == {}, "nothing was owed, so nothing is sent again"
