"""The console as people use it: the whole story of connecting an audience in a real browser, by mouse and keyboard, light, dark and small.

Screenshots of every page are kept in `screenshots/` for eyes.
"""

import re
import shutil
import subprocess
import tarfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engage_pipelines.demo.processes import ended_together
from engage_pipelines.facts.sample import generate
from engage_pipelines.testing.receiver import Receiver
from tests.end_to_end.product import ENGAGE, ROOT, WRITE_KEY, Product

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
SHOTS = ROOT / "screenshots"
END = "2026-01-01T00:00:00Z"
AT_RISK = "trait('plan') = 'business' AND ANY event('Signed In').within(30 days).count() >= 1"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.daemon,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, fetched once from the registry of npm."""
    folder, npm = tmp_path_factory.mktemp("axe"), shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, so axe-core cannot be fetched")
    done = subprocess.run([npm, "pack", "axe-core@4"], cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    packed = list(folder.glob("axe-core-*.tgz"))
    if done.returncode or not packed:
        pytest.skip("axe-core cannot be fetched from the registry of npm")
    with tarfile.open(packed[0]) as archive:
        source = archive.extractfile("package/axe.min.js")
        assert source is not None
        return source.read().decode()


@pytest.fixture(scope="module")
def browser() -> Generator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        # a sync takes its seconds, on a busy machine some more
        sync_api.expect.set_options(timeout=90_000)
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"])
        yield found
        found.close()


@contextmanager
def serving(product: Product) -> Iterator[str]:
    """`engage serve` on a free port; gives its address once it says that it is ready."""
    with ended_together() as started:
        process = subprocess.Popen(
            [str(ENGAGE), "serve", "--port", "0"],
            env=product.environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://[\d.]+:\d+", line)
        assert found, line
        yield found[0]


def make_product(home: Path, receiver: Receiver) -> Product:
    """Sample data, two audiences computed once, and a source whose configuration may be imported."""
    product = Product(home)
    calls = home.parent / "calls.jsonl"
    generate(calls, users=300, accounts=40, events=4_000, end_us=1_767_225_600_000_000)
    product.engage("ingest", str(calls))
    product.engage("space", "create", "default", "--evaluate-at", END)
    product.engage("source", "create", "website", "--name", "Website")
    product.engage("destination", "create", "crm", "--name", "CRM", "--type", "segment", "--source", "website",
                   "--set", "write_key=env:CRM_KEY", "--set", f"endpoint={receiver.url}")  # fmt: skip
    product.engage("audience", "create", "at_risk", "--name", "At-risk accounts", "--type", "ACCOUNTS", "--query", AT_RISK)
    product.engage("audience", "create", "exporters", "--name", "Exporters", "--query", "event('Report Exported').count() >= 1")
    product.engage("trait", "create", "exports", "--name", "Reports exported", "--query", "event('Report Exported').count()")
    return product


def violations(page: "sync_api.Page", axe: str) -> list[str]:
    """What axe-core finds wrong with the page as it is."""
    run = "axe.run(document, {resultTypes: ['violations']})"
    script = f"{axe}; {run}.then(r => r.violations.map(v => v.id + ' ' + v.nodes.map(n => n.target)))"
    return page.evaluate(script)


def check(page: "sync_api.Page", axe: str | None, name: str) -> None:
    """The page is clean, nothing of it is wider than the window, and a picture of it is kept; without axe the last two."""
    width = page.viewport_size["width"] if page.viewport_size else 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} is wider than {width}"
    SHOTS.mkdir(exist_ok=True)
    # the caret is left alone: hiding it writes styles into the page, which its policy refuses to have copied
    page.screenshot(path=SHOTS / f"{name}.png", caret="initial")
    assert axe is None or violations(page, axe) == [], name


def test_a_marketer_connects_an_audience_watches_it_adds_a_mapping_and_removes_it_again(  # noqa: PLR0915 - one story, told in order
    tmp_path: Path, browser: "sync_api.Browser", axe: str
):
    expect = sync_api.expect
    with Receiver(write_key=WRITE_KEY) as receiver:
        product = make_product(tmp_path / "home", receiver)
        with product.daemon(), serving(product) as url:
            page = browser.new_page(viewport={"width": 1360, "height": 900})
            page.set_default_timeout(45_000)
            problems: list[str] = []
            page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: problems.append(str(error)))

            # an audience is opened; its first version is computed while one looks
            page.goto(f"{url}/")
            page.get_by_role("link", name="At-risk accounts").click()
            expect(page.get_by_text("Live", exact=True)).to_be_visible()
            check(page, axe, "console-overview")

            # + Add destination: a configuration of a source is imported
            page.get_by_role("link", name="+ Add destination").click()
            dialog = page.get_by_role("dialog")
            expect(dialog.get_by_text("from source website")).to_be_visible()
            check(page, axe, "console-add-destination")
            dialog.get_by_role("link", name="Import CRM").click()
            dialog.get_by_role("button", name="Import and go on").click()

            # what is sent, to the call, before anything is
            expect(page.get_by_text("Step 1 of 2")).to_be_visible()
            check(page, axe, "console-connect")
            page.get_by_role("button", name="See what would be sent").click()
            sentence = page.get_by_text(re.compile(r"[\d,]+ Group and [\d,]+ Identify calls, about \d+ request"))
            expect(sentence).to_be_visible()
            groups, users = (int(number.replace(",", "")) for number in re.findall(r"([\d,]+) (?:Group|Identify)", sentence.inner_text()))
            check(page, axe, "console-review")
            assert receiver.state()["calls"] == {}
            page.get_by_role("button", name="Connect and send").click()

            # the first sync is watched, without loading the page again
            expect(page.get_by_role("heading", name="This audience is synced to 1 destination")).to_be_visible()
            expect(page.get_by_role("cell", name="Up to date")).to_be_visible()
            assert (len(receiver.members("at_risk", level="accounts")), len(receiver.members("at_risk"))) == (groups, users)
            expect(page.get_by_role("cell", name="2 enabled")).to_be_visible()
            check(page, axe, "console-connected")

            # the panel of the connected destination
            page.get_by_role("link", name="CRM", exact=True).click()
            panel = page.get_by_role("dialog")
            expect(panel.get_by_role("heading", name="Matching mappings")).to_be_visible()
            expect(panel.get_by_text("env:CRM_KEY")).to_be_visible()
            check(page, axe, "console-panel")

            # a mapping is tried, added and switched on
            panel.get_by_role("link", name="+ Add mapping").click()
            sheet = page.locator("dialog.sheet")
            sheet.get_by_label("Name").fill("Accounts, once more")
            sheet.get_by_role("button", name="Try it, send nothing").click()
            expect(sheet.get_by_text(f"POST {receiver.url}/v1/batch").first).to_be_visible()
            check(page, axe, "console-mapping")
            sheet.get_by_role("button", name="Add mapping").click()
            expect(page.get_by_text("Mapping Accounts, once more is added, switched off.")).to_be_visible()
            told = receiver.state()["requests"]
            page.get_by_role("switch", name="Accounts, once more").click()
            expect(page.get_by_role("heading", name="Switch on Accounts, once more?")).to_be_visible()
            page.get_by_label("Only those who enter or leave from now on").check()
            page.get_by_role("button", name="Switch on").click()
            expect(page.get_by_role("switch", name="Accounts, once more")).to_have_attribute("aria-checked", "true")
            assert receiver.state()["requests"] == told

            # switched off, and removed: two verbs
            page.get_by_role("switch", name="Connected").click()
            expect(page.get_by_role("switch", name="Connected")).to_have_attribute("aria-checked", "false")
            page.get_by_role("link", name="Remove from this audience").click()
            expect(page.get_by_text("Nothing is sent").first).to_be_visible()
            check(page, axe, "console-remove")
            page.get_by_role("button", name="Remove", exact=True).click()
            expect(page.get_by_role("heading", name="This audience is not synced anywhere")).to_be_visible()
            assert product.json("status") == []
            assert problems == []
            page.close()
            look_at_every_page(browser, url, axe, product)
            make_a_mapping_field_by_field(browser, url, axe)


def look_at_every_page(browser: "sync_api.Browser", url: str, axe: str, product: Product) -> None:
    """Each page, light and dark, on a desk and on a phone."""
    product.engage("connect", "exporters", "crm", "--identify", "--wait")
    product.engage("destination", "create", "iterable", "--name", "Iterable", "--type", "iterable_lists", "--set", "api_key=env:CRM_KEY")
    product.engage("connect", "exporters", "iterable", "--no-backfill", "--on-disconnect", "exit_all")
    space = f"{url}/s/default"
    (member, *_) = product.json("audience", "preview", "exporters", "--members")["members"]
    exporters = "/audiences/exporters"
    pages = {
        "list": "/audiences",
        "new": "/audiences/new",
        "audience": exporters,
        "definition": "/audiences/at_risk/definition",
        "members": f"{exporters}/members",
        "settings": f"{exporters}/settings",
        "deliveries": f"{exporters}/deliveries",
        "connection": f"{exporters}/destinations/crm",
        "destinations": "/destinations",
        "destination": "/destinations/crm",
        "types": "/destinations/new",
        "dead-letters": "/dead-letters",
        "profile": f"/profiles?audience=exporters&member={member}",
        "audit": "/audit",
        "traits": "/traits",
        "trait": "/traits/exports",
        "trait-definition": "/traits/exports/definition",
        "trait-values": "/traits/exports/values",
        "trait-new": "/traits/new",
        "mapping-fields": f"{exporters}/destinations/iterable/mappings/new",
        "connection-settings": f"{exporters}/destinations/iterable/settings",
        "remove": f"{exporters}/destinations/crm/do/remove",
    }
    for scheme, width, height in (("light", 1360, 900), ("dark", 1360, 900), ("dark", 390, 844)):
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        for name, path in pages.items():
            answer = page.goto(f"{space}{path}")
            assert answer is not None
            assert answer.status == 200, path
            # the colours of the desk in the dark are those of the phone in the dark
            check(page, None if (scheme, width) == ("dark", 1360) else axe, f"console-{name}-{scheme}-{width}")
        page.close()


def make_a_mapping_field_by_field(browser: "sync_api.Browser", url: str, axe: str) -> None:
    """In the dialog: where a field comes from is chosen, a row is added, what is missing is marked, and the same is seen as JSON."""
    expect = sync_api.expect
    page = browser.new_page(viewport={"width": 1360, "height": 900})
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(f"{url}/s/default/audiences/exporters")
    page.get_by_role("link", name="Iterable", exact=True).click()
    page.get_by_role("dialog").get_by_role("link", name="+ Add mapping").click()
    sheet = page.locator("dialog.sheet")
    name = sheet.get_by_label("Name", exact=True)
    name.fill("By hand")
    sheet.get_by_label("Where email comes from").select_option("template")
    expect(sheet.get_by_label("email", exact=True)).to_have_attribute("placeholder", "Hello {{traits.name}}")
    sheet.get_by_label("email", exact=True).fill("{{traits.email}}")
    sheet.get_by_role("button", name="+ Field of another name").click()
    sheet.get_by_label("Name of the field").fill("plan")
    check(page, axe, "console-mapping-fields-dialog")
    assert problems == []
    sheet.get_by_role("button", name="Add mapping").click()
    expect(sheet.get_by_text("No path is named.")).to_be_visible()
    sheet.get_by_label("plan", exact=True).fill("$.traits.plan")
    sheet.get_by_role("button", name="Edit as JSON").click()
    expect(sheet.get_by_label("Fields")).to_have_value(re.compile(r'"plan": \{\s*"@path": "\$\.traits\.plan"'))
    name.press("Enter")
    expect(page.get_by_text("Mapping By hand is added, switched off.")).to_be_visible()
    page.close()


def test_the_keyboard_alone_connects_an_audience(tmp_path: Path, browser: "sync_api.Browser"):
    expect = sync_api.expect
    with Receiver(write_key=WRITE_KEY) as receiver:
        product = make_product(tmp_path / "home", receiver)
        product.engage("destination", "create", "list", "--name", "List", "--type", "csv_file", "--set", "path=lists/{audience}.csv")
        with serving(product) as url:
            page = browser.new_page()
            page.goto(f"{url}/s/default/audiences/exporters")
            page.keyboard.press("Tab")
            page.keyboard.press("Enter")  # skips to the content
            go_to(page, "+ Add destination")
            page.keyboard.press("Enter")
            expect(page.get_by_role("dialog")).to_be_visible()
            go_to(page, "Connect List")
            page.keyboard.press("Enter")
            expect(page.get_by_text("Step 1 of 2")).to_be_visible()
            go_to(page, "See what would be sent")
            page.keyboard.press("Enter")
            expect(page.get_by_text("Step 2 of 2")).to_be_visible()
            page.keyboard.press("Escape")
            expect(page.get_by_role("dialog")).to_have_count(0)
            expect(page.get_by_role("link", name="+ Add destination")).to_be_focused()
            page.close()


def go_to(page: "sync_api.Page", name: str) -> None:
    """Press Tab until what has the focus says so."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText.replace(/\\s+/g, ' ').trim()") == name:
            return
    raise AssertionError(f"{name} is not reached by the keyboard")
