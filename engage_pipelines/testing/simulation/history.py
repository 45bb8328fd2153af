"""The scheduler: a seed becomes a history of people, operators, runs and faults, with every check on the way."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from engage_pipelines.delivery.outcome import RETRY_AFTER_S
from engage_pipelines.delivery.runtime import DATABASE_MAY_BE_AWAY_S
from engage_pipelines.domain.ownership import SECOND_US
from engage_pipelines.domain.protocol import FIRST_ADDRESS, BaseRow
from engage_pipelines.testing.simulation.checks import Checks
from engage_pipelines.testing.simulation.moods import MOODS, STILL
from engage_pipelines.testing.simulation.outside import BrokenPromiseError, Outside
from engage_pipelines.testing.simulation.owner import Owner, Turns
from engage_pipelines.testing.simulation.people import ACCOUNT, ACCOUNTS, ADDRESSES, USER, People
from engage_pipelines.testing.simulation.rules import Rules
from engage_pipelines.testing.simulation.store import FencedError, FullError, MakeStore, Replica, Store, Switch

STEPS = 60
ROUNDS_TO_REST = 1_500
CLOCK_JUMPS_S = (-86_400, -3_600, -90, -20, 20, 45, 90, 3_600)
IDLE_S = RETRY_AFTER_S[-1] - 600
"""What no mapping would send is looked at hourly, each record by itself: two that are minutes apart leave this much between them."""
LEAVE_SHARE = 0.25
"""Of the histories, those whose connection leaves in their course."""
TRAIT_SHARE = 0.3
"""Of the histories, those in which the values of a trait are sent."""
CLOCKS = ("here", "here", "elsewhere")
"""Whose own clock a run goes by: that of one machine or of another."""
STILL_SHARE = 0.15
"""Of those, the ones in which little changes."""
BOTH = frozenset({True, False})
SHAPES = {
    "identify": (Switch("identify", USER, "identify", "identify", BOTH),),
    "identify and track": (Switch("identify", USER, "identify", "identify", BOTH), Switch("track", USER, "track", "track", BOTH)),
    "add and remove": (
        Switch("add", USER, "identify", "list", frozenset({True})),
        Switch("remove", USER, "identify", "list", frozenset({False})),
    ),
}
"""What a connection's mappings make of users; mappings that feed one channel feed one list."""


@dataclass
class History:
    """One history; `story` is what happened."""

    seed: int
    rules: Rules
    steps: int = STEPS
    make_store: MakeStore = Store
    story: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        r = self.chance = random.Random(self.seed)  # noqa: S311 (chance that repeats, not secrecy)
        self.mood = r.choice(MOODS)
        has_accounts = r.random() < 0.35
        self.people = People(r, has_accounts, with_former=r.random() < 0.5)
        # chance of its own, so that the other histories stay as they were
        own = random.Random(f"values {self.seed}")  # noqa: S311
        if own.random() < TRAIT_SHARE:
            self.people.with_values(own)
            self.mood = STILL if random.Random(f"still {self.seed}").random() < STILL_SHARE else self.mood  # noqa: S311
        for _ in range(2):
            self.people.churn()
        self._publish()
        shape = [Switch(s.name, s.level, s.call, s.channel, s.sends) for s in SHAPES[r.choice(list(SHAPES))]]
        if shape[0].name == "add" and r.random() < 0.4:
            shape[1].enabled = False
        group = [Switch("group", ACCOUNT, "group", "group", BOTH)] if has_accounts else []
        version = self.people.current if r.random() < 0.2 else 0
        base = (BaseRow(FIRST_ADDRESS, version, version),)
        replicas = {"users": Replica("users", USER, base)}
        if has_accounts:
            replicas["accounts"] = Replica("accounts", ACCOUNT, base)
        self.store = self.make_store(self.rules, self.mood.times, [*group, *shape], replicas)
        self.outside = Outside(r, self.store, self.people, self.mood.fates, checks_groups=not version)
        self.checks = Checks(self.store, self.outside, self.people)
        if version:
            self.say(f"connected without backfill at v{version}")
            self.checks.baseline = {
                one.name: {address: self.people.state(one.level, version, address) for address in self.people.ids(one.level, version)}
                for one in replicas.values()
            }
        self.owners: list[tuple[Owner, Turns]] = []
        self._clocks = random.Random(f"clocks {self.seed}")  # noqa: S311
        self._beat_at = 0
        self._named = 0
        own = random.Random(f"leaves {self.seed}")  # noqa: S311
        self._leaves_at = own.randrange(self.steps) if own.random() < LEAVE_SHARE else None

    def say(self, text: str) -> None:
        store = getattr(self, "store", None)
        self.story.append(f"t={(store.now if store else 0) / SECOND_US:.0f} {text}")

    def play(self) -> None:
        """Raises BrokenPromiseError."""
        for number in range(self.steps):
            if number == self._leaves_at:
                self._leave()
            self._step()
            if self.chance.random() < 0.04:
                self.come_to_rest("a check")
        self.come_to_rest("the end")
        if (n := self.people.release()) is not None:
            self.say(f"release v{n}")
            self.store.want(self.store.now)
            self.come_to_rest("released")
        for switch in self.store.switches:
            if not switch.enabled:
                self._toggle(switch)
        self.come_to_rest("every mapping enabled")
        if self.store.leaves:
            self.checks.gone()

    # ---- what may happen

    def _step(self) -> None:
        r = self.chance
        events: list[Callable[[], None]] = [
            self._drive_any, self._time_passes, self._launch, self._kill, self._heart, self._churn, self._release, self._pause,
            self._resync, self._toggle_any, self._poison, self._clock, self._database, self._disk, self._answer,
        ]  # fmt: skip
        r.choices(events, self.mood.events)[0]()

    def _drive_any(self) -> None:
        if self.owners:
            self._drive(self.chance.randrange(len(self.owners)))

    def _drive(self, index: int) -> None:
        owner, turns = self.owners[index]
        if owner.is_frozen:
            return
        if self.store.is_away:
            self._wait_for_database(index)
            return
        try:
            next(turns)
        except StopIteration:
            self.owners.pop(index)
        except FencedError:
            self.say(f"{owner.name} is fenced off")
            self.store.want(self.store.now)
            self.owners.pop(index)

    def _wait_for_database(self, index: int) -> None:
        """A run waits in its place for as long as its patience lasts; what it ends with it can tell nobody."""
        owner = self.owners[index][0]
        if owner.waits_since is None:
            owner.waits_since = self.store.steady
        if self.store.steady - owner.waits_since > DATABASE_MAY_BE_AWAY_S * SECOND_US:
            self.say(f"{owner.name} ends: the database is away")
            self.owners.pop(index)
            self.store.want(self.store.now + 60 * SECOND_US)

    def _time_passes(self) -> None:
        self.tick(self.chance.choice(self.mood.jumps))

    def tick(self, seconds: int) -> None:
        """Time passes, and with it heartbeats and requests on the way."""
        for _ in range(min(seconds, 400) // 15 + 1):
            self.store.passes(min(seconds, 15))
            seconds -= 15
            self.outside.time_passes()
            if self.store.steady >= self._beat_at:
                self._beat_at = self.store.steady + round(self.store.times.heartbeat_s * SECOND_US)
                self._beat()
            if seconds <= 0:
                return

    def _beat(self) -> None:
        for owner, _ in () if self.store.is_away else self.owners:
            try:
                owner.beat()
            except FencedError:
                owner.heart_beats = False
            except FullError:
                pass

    def _launch(self) -> None:
        if len(self.owners) < self.mood.rivals:
            self.launch()

    def launch(self) -> Owner:
        """Start a run."""
        self._named += 1
        owner = Owner(f"run{self._named}", self.rules, self.store, self.people, self.outside, self.checks, self.say)
        owner.clock = self._clocks.choice(CLOCKS)
        owner.max_changes += self.seed % 2  # more than a batch: then several are under way at once
        self.owners.append((owner, owner.run()))
        return owner

    def _kill(self) -> None:
        if not self.owners:
            return
        index = self.chance.randrange(len(self.owners))
        owner = self.owners[index][0]
        if self.chance.random() < 0.3:
            self.say(f"{owner.name} is asked to stop")
            owner.is_asked_to_stop = True
            return
        self.say(f"{owner.name} dies")
        self.owners.pop(index)
        self.store.failures += 1
        self.store.want(self.store.now + 60 * SECOND_US)

    def _heart(self) -> None:
        """An owner is frozen, wholly or its heartbeat alone; or it goes on."""
        if self.owners:
            owner = self.chance.choice(self.owners)[0]
            owner.heart_beats = not owner.heart_beats
            owner.is_frozen = not owner.heart_beats and self.chance.random() < 0.5
            self.say(f"the heart of {owner.name} {'beats' if owner.heart_beats else 'stops'}")

    def _clock(self) -> None:
        """The clock that all share is set, forward or back."""
        seconds = self.chance.choice(CLOCK_JUMPS_S)
        self.store.now = max(self.store.now + seconds * SECOND_US, 0)
        self.say(f"the clock is set by {seconds} s")

    def _database(self) -> None:
        self.store.is_away = not self.store.is_away
        for owner, _ in self.owners:
            owner.waits_since = None
        self.say(f"the database is {'away' if self.store.is_away else 'back'}")

    def _disk(self) -> None:
        self.store.is_full = not self.store.is_full
        self.say(f"the disk is {'full' if self.store.is_full else 'free again'}")

    def _answer(self) -> None:
        """The next commit goes through, and whoever made it does not hear of it."""
        self.store.loses_answer = True

    def _churn(self) -> None:
        self.people.churn()
        if self.store.is_full or self.store.is_away:
            return  # nothing can be published; the next version has it
        self._publish()
        self.store.want(self.store.now)

    def _publish(self) -> None:
        self.say(self.people.publish())

    def _release(self) -> None:
        if (n := self.people.release()) is not None:
            self.say(f"release v{n}")
            self.store.want(self.store.now)

    def _pause(self) -> None:
        self.store.is_paused = not self.store.is_paused
        self.say("pause" if self.store.is_paused else "resume")
        if not self.store.is_paused:
            self.store.want(self.store.now)

    def _leave(self) -> None:
        self.say("exit all: it leaves")
        self.store.leaves = True
        self.store.want(self.store.now)

    def _resync(self) -> None:
        self._ask_again(self.chance.choice(list(self.store.replicas)))

    def _ask_again(self, name: str) -> None:
        self.say(f"resync {name}")
        replica = self.store.replicas[name]
        self.store.ask_again(replica)
        if not self.rules.keeps_base:
            replica.base = (BaseRow(FIRST_ADDRESS, 0, 0, replica.resync_no),)
        self.store.want(self.store.now)

    def _toggle_any(self) -> None:
        self._toggle(self.chance.choice([switch for switch in self.store.switches if switch.level == USER]))

    def _toggle(self, switch: Switch) -> None:
        """A mapping is switched; an entry mapping that is switched on has its replica sent again."""
        switch.enabled = not switch.enabled
        self.say(f"mapping {switch.name} {'en' if switch.enabled else 'dis'}abled")
        self.outside.epochs["users"] = self.outside.epochs.get("users", 0) + 1
        if not switch.enabled and switch.sends == BOTH:
            self.checks.gaps.add(("users", switch.channel))
        if switch.enabled and True in switch.sends:
            self._ask_again("users")
            self.checks.since["users", switch.channel] = self.store.replicas["users"].resync_no
        self.store.want(self.store.now)

    def _poison(self) -> None:
        replica = self.chance.choice(list(self.store.replicas.values()))
        channel = self.chance.choice([switch.channel for switch in self.store.switches if switch.level == replica.level])
        address = self.chance.choice(ACCOUNTS if replica.level == ACCOUNT else ADDRESSES)
        self.outside.poison ^= {(replica.name, channel, address)}
        self.say(f"{channel} of {address} is {'' if (replica.name, channel, address) in self.outside.poison else 'no longer '}refused")

    # ---- faults stop

    def come_to_rest(self, why: str) -> None:
        """Faults stop: everything comes to rest, and is right."""
        if self.store.is_paused:
            self._pause()
        self.outside.is_flaky = False
        self.store.is_full = self.store.is_away = False
        if self._frozen:
            self.store.want(self.store.now)  # somebody starts a run by hand
        self.say(f"-- faults stop for {why}")
        for _ in range(ROUNDS_TO_REST):
            if self._is_at_rest():
                break
            self._round()
        else:
            raise BrokenPromiseError("it does not come to rest")
        if any(switch.enabled for switch in self.store.switches):
            self.checks.at_rest()
        self.outside.is_flaky = True

    def _is_at_rest(self) -> bool:
        """Nobody works and nothing is owed; what no enabled mapping would send is only looked at once an hour.

        What is owed is waited for, however far a clock that was set back has moved it away. Runs that were frozen come to themselves when
        all the others are done.
        """
        if len(self.owners) > len(self._frozen) or not self.outside.is_quiet:
            return False
        sends = [
            {v for s in self.store.switches if s.enabled and s.level == one.level for v in s.sends} for one in self.store.replicas.values()
        ]
        looked_at = IDLE_S * SECOND_US if any(len(values) < 2 for values in sends) else None
        wanted_at, now = self.store.wanted_at, self.store.now
        is_done = wanted_at is None or (looked_at is not None and self.store.is_for_refused and wanted_at - now >= looked_at)
        if not is_done or not self._frozen:
            return is_done
        for owner in self._frozen:
            self.say(f"{owner.name} comes to itself")
            owner.is_frozen, owner.heart_beats = False, True
        return False

    @property
    def _frozen(self) -> list[Owner]:
        return [owner for owner, _ in self.owners if owner.is_frozen]

    def _round(self) -> None:
        """Every run goes a step; time passes as far as nobody is there to work."""
        if len(self.owners) == len(self._frozen) and self.store.wanted_at is not None:
            if not self.store.may_send:
                self.store.wanted_at = None
                return
            self.store.passes(max(self.store.wanted_at - self.store.now, 0) / SECOND_US)
            self.launch()
        self.tick(1)
        for index in reversed(range(len(self.owners))):
            self._drive(index)
