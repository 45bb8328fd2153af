"""Sample data: the calls of a made-up B2B product, from a seed; the same seed and sizes give the same bytes.

Accounts with plans and nested billing; users with e-mail, name and title, some in two accounts, some without any event; accounts without
users; visitors who are identified later, and some who never are; two people who were known by an older user id. A second day makes people
and accounts enter and leave. Nobody in it exists: the addresses end in `.example`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate, count
from pathlib import Path
from random import Random
from typing import IO

import orjson

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_US = 86_400_000_000
_QUIET_DAYS = 21
_FIRST_NAMES = (
    "Ada Ben Chloe David Elif Femi Grace Hugo Ines Jonas Kira Liam Mina Noah Olga Pavel Quinn Rosa Sami Tara Uma Victor Wen Yara Zoë"
)
_LAST_NAMES = (
    "Adler Baker Costa Duarte Evans Fischer Garcia Hansen Ito Jensen Kaya Lopez Müller Novak Okafor Petit Rossi Silva Tanaka Weber"
)
_TITLES = ("Account Executive", "Analyst", "Designer", "Engineer", "Founder", "Marketing Manager", "Operations Lead", "Product Manager")
_WORDS = "Amber Birch Cedar Delta Ember Falcon Granite Harbor Iris Juniper Kestrel Lumen Maple North Onyx Pine Quartz River Summit Tidal"
_ENDINGS = ("Analytics", "Bank", "Foods", "Health", "Labs", "Logistics", "Media", "Retail", "Software", "Works")
_INDUSTRIES = ("education", "finance", "healthcare", "logistics", "media", "retail", "software")
_COUNTRIES = (("DE", "EUR", "Berlin"), ("FR", "EUR", "Lyon"), ("GB", "GBP", "Leeds"), ("US", "USD", "Austin"))
_PLANS = ("trial", "free", "business", "enterprise")
_PLAN_WEIGHTS = (35, 30, 25, 10)
_EVENTS = ("Signed In", "Page", "Report Exported", "Project Created", "Seat Invited", "Checkout Started", "Order Completed")
_EVENT_WEIGHTS = (38, 20, 15, 12, 8, 4, 3)
_PAGES = ("Dashboard", "Projects", "Reports", "Billing", "Team", "Help")


@dataclass(frozen=True, slots=True)
class _Account:
    id: str
    name: str
    plan: str
    employees: int
    industry: str
    country: tuple[str, str, str]
    quiet: bool

    def traits(self, plan: str | None = None) -> dict[str, object]:
        code, currency, city = self.country
        seats = max(3, self.employees // 4)
        billing = {"currency": currency, "seats": seats, "address": {"country": code, "city": city}}
        return {"name": self.name, "plan": plan or self.plan, "employees": self.employees, "industry": self.industry, "billing": billing}


@dataclass(frozen=True, slots=True)
class _User:
    id: str
    name: str
    email: str
    title: str
    accounts: tuple[str, ...]
    weight: float
    quiet: bool
    visitor: str | None

    def traits(self, created_us: int) -> dict[str, object]:
        return {"email": self.email, "name": self.name, "title": self.title, "created_at": _text(created_us)}


@dataclass(frozen=True, slots=True)
class _World:
    accounts: list[_Account]
    users: list[_User]


def generate(
    target: Path | IO[bytes],
    *,
    seed: int = 1,
    users: int = 5_000,
    accounts: int = 500,
    events: int = 100_000,
    days: int = 90,
    end_us: int,
) -> dict[str, int]:
    """Write the calls of the `days` before `end_us`; how many of each type. `events` counts track and page calls together."""
    world = _make_world(seed, users, accounts)
    start_us = end_us - days * _DAY_US
    calls = _joined(_profiles(world, seed, start_us), _activity(world, seed, events, (start_us, end_us)))
    return _write(target, calls, f"sample-{seed}")


def generate_next_day(
    target: Path | IO[bytes], *, seed: int = 1, users: int = 5_000, accounts: int = 500, events: int = 1_500, end_us: int
) -> dict[str, int]:
    """Write the calls of the day after `end_us` for the people that `generate` made with the same seed and sizes.

    Quiet accounts wake up, plans change both ways, users leave accounts, and new ones come.
    """
    world = _make_world(seed, users, accounts)
    day = (end_us, end_us + _DAY_US)
    return _write(target, _joined(_changes(world, seed, end_us), _awakening(world, seed, events, day)), f"sample-{seed}-next")


def _make_world(seed: int, users: int, accounts: int) -> _World:
    random = Random(f"world {seed}")  # noqa: S311 - not a secret
    companies = [_make_account(random, number) for number in range(1, accounts + 1)]
    # every twenty-fifth has no users yet
    peopled = [company for number, company in enumerate(companies, start=1) if number % 25] or companies
    return _World(companies, [_make_user(random, number, peopled) for number in range(1, users + 1)])


def _make_account(random: Random, number: int) -> _Account:
    name = f"{random.choice(_WORDS.split())} {random.choice(_ENDINGS)}"
    plan = random.choices(_PLANS, _PLAN_WEIGHTS)[0]
    employees = int(random.lognormvariate(4 if plan in ("trial", "free") else 5.5, 1)) + 2
    return _Account(
        f"acct-{number:04}", name, plan, employees, random.choice(_INDUSTRIES), random.choice(_COUNTRIES), random.random() < 0.15
    )


def _make_user(random: Random, number: int, accounts: Sequence[_Account]) -> _User:
    homes = random.sample(accounts, 2 if len(accounts) > 1 and random.random() < 0.08 else 1)
    first, last = random.choice(_FIRST_NAMES.split()), random.choice(_LAST_NAMES.split())
    idle = random.random() < 0.06
    return _User(
        id=f"u-{number:05}",
        name=f"{first} {last}",
        email=f"{first}.{last}.{number}@{homes[0].id}.example".lower(),
        title=random.choice(_TITLES),
        accounts=tuple(home.id for home in homes),
        weight=0.0 if idle else random.lognormvariate(0, 1),
        quiet=all(home.quiet for home in homes),
        visitor=f"anon-{number:05}" if random.random() < 0.1 and not idle else None,
    )


def _profiles(world: _World, seed: int, start_us: int) -> Iterator[dict[str, object]]:
    """Who everybody is, within the first day: accounts, users and their links, visitors before they had a name, older user ids."""
    random = Random(f"profiles {seed}")  # noqa: S311 - not a secret
    for account in world.accounts:
        yield {"type": "group", "groupId": account.id, "timestamp": _text(start_us), "traits": account.traits()}
    for user in world.users:
        at_us = start_us + random.randrange(_DAY_US)
        if user.visitor is not None:
            yield _page(None, user.visitor, at_us - 60_000_000, "Pricing")
        yield _identify(user, at_us)
        for account in user.accounts:
            yield {"type": "group", "userId": user.id, "groupId": account, "timestamp": _text(at_us)}
    for number in range(len(world.users) // 50):
        yield _page(None, f"anon-x{number:04}", start_us + random.randrange(_DAY_US), "Pricing")
    for number, user in enumerate(world.users[:2], start=1):
        old = f"legacy-{number}"
        yield {"type": "identify", "userId": old, "timestamp": _text(start_us), "traits": {"name": user.name}}
        yield {"type": "track", "event": "Signed In", "userId": old, "timestamp": _text(start_us), "properties": {"method": "password"}}
        yield {"type": "alias", "previousId": old, "userId": user.id, "timestamp": _text(start_us + _DAY_US)}


def _identify(user: _User, at_us: int) -> dict[str, object]:
    who = {"userId": user.id} if user.visitor is None else {"userId": user.id, "anonymousId": user.visitor}
    return {"type": "identify", **who, "timestamp": _text(at_us), "traits": user.traits(at_us)}


def _activity(world: _World, seed: int, events: int, between_us: tuple[int, int]) -> Iterator[dict[str, object]]:
    """What people did, evenly spread in the order of time; people of quiet accounts stop some weeks before the end."""
    random = Random(f"activity {seed}")  # noqa: S311 - not a secret
    # the visits and sign-ins among the profiles count as events too
    own = events - sum(user.visitor is not None for user in world.users) - len(world.users) // 50 - len(world.users[:2])
    start_us, end_us = between_us
    quiet_us = end_us - _QUIET_DAYS * _DAY_US
    everybody = _Picker(world.users)
    awake = _Picker([user for user in world.users if not user.quiet])
    step = (end_us - start_us - _DAY_US) / max(own, 1)
    for number in range(own):
        at_us = start_us + _DAY_US + int((number + random.random()) * step)
        user = (everybody if at_us < quiet_us else awake).pick(random)
        yield _event(random, user, at_us)


class _Picker:
    """People by how active they are."""

    def __init__(self, users: Sequence[_User]) -> None:
        self._users = users
        self._reach = list(accumulate(user.weight for user in users))

    def pick(self, random: Random) -> _User:
        return random.choices(self._users, cum_weights=self._reach)[0]


def _event(random: Random, user: _User, at_us: int) -> dict[str, object]:
    name = random.choices(_EVENTS, _EVENT_WEIGHTS)[0]
    if name == "Page":
        return _page(user.id, None, at_us, random.choice(_PAGES))
    return {"type": "track", "event": name, "userId": user.id, "timestamp": _text(at_us), "properties": _properties(random, name)}


def _properties(random: Random, name: str) -> dict[str, object]:
    if name == "Order Completed":
        return {"order_id": f"o-{random.randrange(10**8):08}", "total": random.randrange(1_900, 250_000) / 100, "currency": "EUR"}
    if name == "Report Exported":
        return {"format": random.choice(("csv", "pdf", "xlsx")), "rows": random.randrange(1, 50_000)}
    if name == "Signed In":
        return {"method": random.choice(("password", "sso", "link"))}
    if name == "Project Created":
        return {"template": random.choice(("blank", "launch", "roadmap"))}
    return {"seats": random.randrange(1, 6)}


def _page(user: str | None, visitor: str | None, at_us: int, name: str) -> dict[str, object]:
    who = {"userId": user} if user is not None else {"anonymousId": visitor}
    return {"type": "page", "name": name, **who, "timestamp": _text(at_us), "properties": {"path": f"/{name.lower()}"}}


def _changes(world: _World, seed: int, at_us: int) -> Iterator[dict[str, object]]:
    """Plans go up and down, people leave accounts, people and accounts come."""
    random = Random(f"changes {seed}")  # noqa: S311 - not a secret
    clock = (_text(at_us + 1_000_000 * second) for second in count(1))
    few = max(1, len(world.accounts) // 50)
    for plan, new_plan in (("trial", "business"), ("business", "free")):
        for account in [account for account in world.accounts if account.plan == plan][:few]:
            yield {"type": "group", "groupId": account.id, "timestamp": next(clock), "traits": account.traits(new_plan)}
    shared = [user for user in world.users if len(user.accounts) > 1][:few]
    single = [user for user in world.users if len(user.accounts) == 1][:few]
    for user in (*shared, *single):
        yield {"type": "group", "userId": user.id, "groupId": user.accounts[0], "timestamp": next(clock), "context": {"left": True}}
    newcomer = _make_account(random, len(world.accounts) + 1)
    yield {"type": "group", "groupId": newcomer.id, "timestamp": next(clock), "traits": newcomer.traits()}
    for number in range(few):
        home = newcomer if number == 0 else random.choice(world.accounts)
        user = _make_user(random, len(world.users) + 1 + number, [home])
        yield _identify(user, at_us + _DAY_US // 2)
        yield {"type": "group", "userId": user.id, "groupId": home.id, "timestamp": _text(at_us + _DAY_US // 2)}


def _awakening(world: _World, seed: int, events: int, between_us: tuple[int, int]) -> Iterator[dict[str, object]]:
    """Half of the day's events are those of a few people from quiet accounts."""
    random = Random(f"awakening {seed}")  # noqa: S311 - not a secret
    start_us, end_us = between_us
    active = [user for user in world.users if user.weight > 0] or world.users
    sleepers = [user for user in active if user.quiet][: max(1, len(world.users) // 50)] or active
    everybody = _Picker(active)
    step = (end_us - start_us) / max(events, 1)
    for number in range(events):
        user = random.choice(sleepers) if number % 2 else everybody.pick(random)
        yield _event(random, user, start_us + int((number + random.random()) * step))


def _joined(*parts: Iterable[dict[str, object]]) -> Iterator[dict[str, object]]:
    for part in parts:
        yield from part


def _write(target: Path | IO[bytes], calls: Iterable[dict[str, object]], prefix: str) -> dict[str, int]:
    counts: Counter[str] = Counter()
    with target.open("wb") if isinstance(target, Path) else nullcontext(target) as stream:
        for number, call in enumerate(calls, start=1):
            counts[str(call["type"])] += 1
            stream.write(orjson.dumps({"messageId": f"{prefix}-{number}", **call}) + b"\n")
    return dict(sorted(counts.items()))


def _text(at_us: int) -> str:
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
