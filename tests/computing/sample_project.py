"""A project on sample data for tests: two audiences and a trait with two versions each, a day apart."""

from collections.abc import Sequence
from pathlib import Path

from engage_pipelines.computing.compute import compute_audiences
from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.domain.computation import Level
from engage_pipelines.facts.ingest import ingest
from engage_pipelines.facts.sample import generate, generate_next_day
from engage_pipelines.registry.audiences import NewAudience, create_audience
from engage_pipelines.registry.change import Registry, open_registry
from engage_pipelines.registry.lookup import find_space
from engage_pipelines.registry.spaces import NewSpace, create_space, update_space
from engage_pipelines.registry.traits import NewTrait, create_trait
from engage_pipelines.settings import Settings, read_settings

END_US = 1_199_923_200_000_000
"""2008-01-10: the end of the sample data, and the instant of the first versions; the second ones are of the day after."""
DAY_US = 86_400_000_000
BUYERS = "event('Order Completed').within(20 days).count() >= 1 AND NOT trait('title') = 'Founder'"
SPEND = "event('Order Completed').within(20 days).sum(property('total'))"
BUSINESS = "trait('plan') = 'business' AND ANY event('Signed In').within(2 days).count() >= 1"


def settings_of(home: Path) -> Settings:
    return read_settings({"ENGAGE_HOME": str(home), "ENGAGE_ACTOR": "tests"})


def make_project(home: Path) -> Settings:
    """The settings of the project; its space is pinned to the day after END_US."""
    settings = settings_of(home)
    home.mkdir(parents=True)
    sizes = {"users": 120, "accounts": 30}
    generate(home / "calls.jsonl", events=3_000, end_us=END_US, **sizes)
    generate_next_day(home / "next.jsonl", events=200, end_us=END_US, **sizes)
    files = [str(home / name) for name in ("calls.jsonl", "next.jsonl")]
    ingest(files, facts_dir=settings.facts_dir, space="default", now_us=END_US)
    registry = open_tests_registry(settings)
    with registry.change() as change:
        space = create_space(change, NewSpace(key="default", evaluate_at=END_US))
        create_audience(change, space, NewAudience(key="buyers", level=Level.USER, definition=BUYERS))
        create_audience(change, space, NewAudience(key="business", level=Level.ACCOUNT, definition=BUSINESS))
        create_trait(change, space, NewTrait("spend", Level.USER, SPEND))
    compute_all(settings, registry, ["buyers", "business", "spend"])
    with registry.change() as change:
        update_space(change, find_space(change.c).key, evaluate_at=END_US + DAY_US)
    compute_all(settings, registry, ["buyers", "business", "spend"])
    registry.database.close()
    return settings


def open_tests_registry(settings: Settings) -> Registry:
    return open_registry(settings, types=destination_types())


def compute_all(settings: Settings, registry: Registry, keys: Sequence[str]) -> None:
    found = compute_audiences(settings, registry, "default", keys, log=lambda _line: None)
    assert [each.error for each in found] == [None] * len(keys)
