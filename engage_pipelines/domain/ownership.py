"""Ownership of a connection as pure rules: how long a lease stands, and when a request or a generation may begin.

Rules, by the names that `engage_pipelines.testing.simulate --off` knows:

    fenced    Every write carries the owner's token and is void under another owner.
    outlives  A request is begun only when the lease outlives its deadline.
    quiet     No generation opens before the deadline of every unanswered request of an earlier one.
    cooling   Who lets go leaves the lease standing until the deadline of its last unanswered request.

Instants are UTC microseconds.
"""

from dataclasses import dataclass

from engage_pipelines.domain.errors import StateError

SECOND_US = 1_000_000


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


def may_take(lease_until_us: int, now_us: int) -> bool:
    """Whether the lease is free for a new owner."""
    return lease_until_us <= now_us


def outlives(lease_until_us: int, deadline_us: int) -> bool:
    """Whether a request with that deadline may be begun under the lease as it stands (rule `outlives`)."""
    return deadline_us <= lease_until_us


def quiet_in_us(unanswered: Unanswered, now_us: int) -> int:
    """How long the owner waits before it opens its next generation (rule `quiet`)."""
    return max(unanswered.until_us - now_us, 0)


def lets_go_until(unanswered: Unanswered, now_us: int) -> int:
    """Until when the lease of an owner that lets go still stands (rule `cooling`)."""
    return max(now_us, unanswered.until_us)
