"""Ownership of a connection as pure rules: who may write, and when a request or a generation may begin.

Rules, by the names that `engage_pipelines.testing.simulate --off` knows:

    fenced    Every write carries the owner's token and is void under another owner.
    seen      A request is begun only by an owner that has just seen its token on the connection.
    quiet     No generation opens before the deadline of every unanswered request of an earlier one.
    marked    Who dies, or lets go while a request is unanswered, leaves its name on the lease.
    inherits  Who takes a lease with a name on it takes a request over that was begun then and got no answer.
    bounded   A request is begun only when the owner's own clock, too, says that the lease outlives it, so that a next owner who goes by the
              same clock, on the same machine, waits no longer than that.

The shared clock says when a lease is over, and nothing else: it may be set forward or back. Deadlines are told by the owner's own clock,
which only goes on. A lease that was watched for as long as it lives, and was not renewed, is over whatever the shared clock says.

Instants are microseconds.
"""

from dataclasses import dataclass

from engage_pipelines.domain.errors import StateError

SECOND_US = 1_000_000

SEEN_FOR_S = 1.0
"""How long a token that was seen is believed to be there, at most."""


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """How long a lease lives, how often it is renewed, and how long a request may take."""

    ttl_s: float = 60.0
    heartbeat_s: float = 15.0
    request_deadline_s: float = 30.0

    def check(self) -> None:
        """Raise StateError unless a freshly renewed lease always outlives one request."""
        if self.ttl_s - self.heartbeat_s < self.request_deadline_s:
            raise StateError(
                f"A lease of {self.ttl_s:g} s renewed every {self.heartbeat_s:g} s does not outlive a request of "
                f"{self.request_deadline_s:g} s.",
                "Shorten the request deadline.",
            )

    def renewed_until(self, now_us: int) -> int:
        """Until when a lease stands that is taken or renewed now."""
        return now_us + round(self.ttl_s * SECOND_US)


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Requests that may still take effect: the deadlines of those under way, and the last deadline of those that got no answer."""

    under_way_us: tuple[int, ...] = ()
    lost_us: int = 0

    @property
    def until_us(self) -> int:
        """When all of them are over."""
        return max((self.lost_us, *self.under_way_us))

    def begun(self, deadline_us: int) -> "Unanswered":
        """One more request that has to be over by its deadline."""
        return Unanswered((*self.under_way_us, deadline_us), self.lost_us)

    def answered(self, deadline_us: int) -> "Unanswered":
        """The request of that deadline has its answer; the others may still take effect."""
        left = list(self.under_way_us)
        left.remove(deadline_us)
        return Unanswered(tuple(left), self.lost_us)

    def lost(self, deadline_us: int) -> "Unanswered":
        """The request of that deadline got no answer: until then it may still take effect."""
        return Unanswered(self.answered(deadline_us).under_way_us, max(self.lost_us, deadline_us))


def may_take(lease_until_us: int, now_us: int, *, watched_us: int = 0, times: LeaseTimes | None = None) -> bool:
    """Whether the lease is free for a new owner, who has seen it unchanged for so long by its own clock."""
    return lease_until_us <= now_us or (times is not None and watched_us >= times.ttl_s * SECOND_US)


def outlives(lease_until_us: int, deadline_us: int) -> bool:
    """Whether a lease stands until the deadline, by one clock; if not it is renewed first.

    By the shared clock that keeps others from taking it in mid-request without need, by the owner's own it is rule `bounded`.
    """
    return deadline_us <= lease_until_us


def quiet_in_us(unanswered: Unanswered, now_us: int) -> int:
    """How long the owner waits before it opens its next generation (rule `quiet`)."""
    return max(unanswered.until_us - now_us, 0)


def is_given_back(unanswered: Unanswered, now_us: int) -> bool:
    """Whether who lets go takes its name off the lease (rule `marked`)."""
    return unanswered.until_us <= now_us


def inherited(now_us: int, times: LeaseTimes, *, is_marked: bool, over_us: int | None = None) -> Unanswered:
    """What a new owner begins with (rule `inherits`): a little more than a request, since a token was seen some time ago.

    `over_us` is when the former owner's requests are over, where it went by the same clock (rule `bounded`).
    """
    if not is_marked:
        return Unanswered()
    seen_us, longest = round(SEEN_FOR_S * SECOND_US), now_us + round(times.request_deadline_s * SECOND_US)
    return Unanswered(lost_us=seen_us + (longest if over_us is None else min(longest, over_us)))
