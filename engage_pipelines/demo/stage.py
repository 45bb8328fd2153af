"""Where the demo sends to: a Segment-compatible receiver beside a file, or the fake vendor of one destination type.

A stage says what is configured and connected, and then, past everything that delivered it, who ought to be held and who is.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Protocol

import duckdb

from engage_pipelines.registry.connections import NewConnection
from engage_pipelines.settings import Settings
from engage_pipelines.snapshots.rows import Chain
from engage_pipelines.testing.receiver import Receiver

WRITE_KEY = "the-demo-receiver-asks-for-no-secret"


@dataclass(frozen=True, slots=True)
class Sample:
    """How much sample data there is; `events` is for the first 90 days, `next_events` for the day after."""

    users: int = 5_000
    accounts: int = 500
    events: int = 100_000
    next_events: int = 1_500


@dataclass(frozen=True, slots=True)
class Joined:
    """A connection as the report looks at it."""

    id: str
    audience: str
    level: str
    version: int
    destination: str
    type: str
    calls: tuple[str, ...]
    chain: Chain


class Stage(Protocol):
    """One choice of what to send to."""

    @property
    def sample(self) -> Sample:
        """The sample data that suits its pace."""
        ...

    @property
    def connections(self) -> tuple[NewConnection, ...]:
        """What is connected, as a person would, while the daemon runs."""
        ...

    @property
    def rest_s(self) -> int:
        """How long what is connected is left alone between two syncs."""
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """The secrets that the configuration refers to, by the names of their variables."""
        ...

    def configuration(self, evaluate_at: str) -> str:
        """The space, the destinations and the audiences as YAML."""
        ...

    def members(self, joined: Joined, level: str) -> set[str]:
        """Who is a member, by what the destination knows them as."""
        ...

    def held(self, joined: Joined, level: str) -> set[str]:
        """Who is there, as the destination itself says."""
        ...


@dataclass(frozen=True, slots=True)
class ReceiverStage:
    """A CRM behind a Segment-compatible receiver, and a newsletter's list in a file."""

    settings: Settings
    receiver: Receiver
    sample: Sample = Sample()
    rest_s: int = 0
    connections: tuple[NewConnection, ...] = (
        NewConnection("at_risk_accounts", "crm", ("group", "identify")),
        NewConnection("power_users", "crm", ("identify",)),
        NewConnection("power_users", "newsletter", ("identify",)),
    )

    @property
    def environment(self) -> Mapping[str, str]:
        return {"ENGAGE_DEMO_WRITE_KEY": WRITE_KEY}

    def configuration(self, evaluate_at: str) -> str:
        return template().replace("{receiver}", self.receiver.url).replace("{evaluate_at}", evaluate_at)

    def members(self, joined: Joined, level: str) -> set[str]:
        kind = "group_id" if level == "account" else "user_id"
        return {address.partition(":")[2] for address in addresses(joined, level, f"starts_with(address, '{kind}:')")}

    def held(self, joined: Joined, level: str) -> set[str]:
        if joined.type != "csv_file":
            return self.receiver.members(joined.audience, level="accounts" if level == "account" else "users")
        path = self.settings.files_dir / "lists" / f"{joined.audience}.csv"
        if not path.exists():
            return set()
        with path.open(newline="", encoding="utf-8") as file:
            return {row["user_id"] for row in csv.DictReader(file)}


def template() -> str:
    """The demo's configuration, with `{receiver}` and `{evaluate_at}` to be filled in."""
    return (files("engage_pipelines.demo") / "config" / "demo.yaml").read_text(encoding="utf-8")


def addresses(joined: Joined, level: str, where: str) -> set[str]:
    """The addresses of a level in the connection's current version that the condition holds for."""
    with duckdb.connect() as db:
        rows = db.execute(
            f"select distinct address from ({joined.chain.rows(joined.version)}) where level = $1 and ({where})", [level]
        ).fetchall()
    return {row[0] for row in rows}
