"""The fake vendor of a destination type as what the demo sends to: it behaves as the vendor's documents say, on this machine."""

import difflib
import hashlib
import pkgutil
import re
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import yaml

from engage_pipelines.demo.stage import Joined, Sample, addresses, template
from engage_pipelines.destinations.base import DestinationType, MembershipAs
from engage_pipelines.domain.errors import NotFoundError, UsageError
from engage_pipelines.registry.connections import NewConnection
from engage_pipelines.registry.type_settings import replace_secrets
from engage_pipelines.testing import vendors
from engage_pipelines.testing.local_server import LocalServer, Received, Reply
from engage_pipelines.testing.vendor import KEY, FakeApi, fake_vendor

AUDIENCE = {
    "key": KEY,
    "name": "Big spenders",
    "description": "Users who ordered for at least 1,000 in the last 30 days, so that time alone makes some leave.",
    "level": "user",
    "definition": "event('Order Completed').within(30 days).sum(property('total')) >= 1000",
}
SMALL = Sample(users=400, accounts=40, events=8_000, next_events=800)
"""Some vendors take one message a second, or one person a request."""
IN_THE_USUAL_DEMO = frozenset({"segment", "csv_file"})


def fake_types() -> list[str]:
    """The types that have a fake vendor, by key."""
    return sorted(module.name for module in pkgutil.iter_modules(vendors.__path__))


def type_with_a_fake(key: str, types: Mapping[str, DestinationType]) -> DestinationType:
    """Raises NotFoundError with the nearest names for an unknown type, UsageError for one that no fake vendor stands in for."""
    there = fake_types()
    listed = f"There are: {', '.join(there)}."
    if key in there and key in types:
        return types[key]
    if key not in types:
        near = difflib.get_close_matches(key.lower(), there, n=3, cutoff=0.5)
        meant = f"Did you mean {' or '.join(near)}? " if near else ""
        raise NotFoundError(f"There is no destination type {key[:80]!r}.", meant + listed)
    if key in IN_THE_USUAL_DEMO:
        raise UsageError(f"{key} is in the demo already.", "Run `engage demo` without --destination.")
    raise UsageError(f"No fake vendor stands in for destination type {key!r}.", listed)


@dataclass(frozen=True, slots=True)
class VendorStage:
    """One audience, and one destination of the type at the fake vendor's address."""

    type: DestinationType
    fake: FakeApi
    url: str
    sample: Sample = SMALL
    _secrets: dict[str, str] = field(default_factory=dict[str, str], repr=False)

    @property
    def connections(self) -> tuple[NewConnection, ...]:
        return (NewConnection(KEY, self.type.key, ("identify",)),)

    @property
    def rest_s(self) -> int:
        return self.type.min_interval_s

    @property
    def environment(self) -> Mapping[str, str]:
        self._settings()
        return dict(self._secrets)

    def configuration(self, evaluate_at: str) -> str:
        told: dict[str, Any] = yaml.safe_load(template().replace("{evaluate_at}", evaluate_at))
        told["audiences"] = [AUDIENCE]
        told["destinations"] = [{"key": self.type.key, "type": self.type.key, "name": self.type.name, "settings": self._settings()}]
        del told["sources"]
        return yaml.safe_dump(told, sort_keys=False, allow_unicode=True)

    def members(self, joined: Joined, level: str) -> set[str]:
        """By their addresses as the type takes them: a list has those that count now alone, as vendors merge people but not lists."""
        kinds = self.type.user_address_kinds
        alone = "" if "user_id" not in kinds else " and sole"
        taken = [f"(starts_with(address, '{kind}:'){'' if kind == 'user_id' else alone})" for kind in kinds]
        now = "current" if self.type.membership_as is MembershipAs.USER_LIST else "true"
        return {address.partition(":")[2] for address in addresses(joined, level, f"{now} and ({' or '.join(taken)})")}

    def held(self, joined: Joined, level: str) -> set[str]:
        """A name of a member is that member; what is nobody's name stays as it is, and so disagrees."""
        known = {name: address for address in self.members(joined, level) for name in _names(address)}
        return {known.get(name, name) for name, is_in in self.fake.held().items() if is_in}

    def _settings(self) -> dict[str, Any]:
        """The fake's settings with references in place of the secrets."""
        return replace_secrets(self.type, self.fake.settings(self.url), self._refer)

    def _refer(self, text: str, setting: str) -> str:
        name = f"ENGAGE_DEMO_{re.sub(r'[^A-Za-z0-9]', '_', setting).upper()}"
        self._secrets[name] = text
        return f"env:{name}"


@contextmanager
def vendor_stage(type_: DestinationType) -> Generator[VendorStage]:
    """The fake vendor, for as long as the block lasts; one request at a time reaches it."""
    fake, lock = fake_vendor(type_.key), Lock()

    def respond(request: Received) -> Reply:
        with lock:
            return fake.respond(request)

    with LocalServer(respond) as server:
        yield VendorStage(type_, fake, server.url)


def _names(value: str) -> Iterable[str]:
    """What a vendor may know somebody of that user id or e-mail address as."""
    lower = value.strip().lower()
    return value, lower, hashlib.sha256(lower.encode()).hexdigest()
