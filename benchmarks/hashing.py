"""Hashing for advertising lists: SHA-256 of normalised e-mail addresses and phone numbers, on one core.

    python benchmarks/hashing.py

The promise is 500,000 hashes of e-mail addresses a second and core. Phone numbers cost what parsing them costs; a number seen before costs
next to nothing.
"""

import time
from collections.abc import Callable, Sequence

from engage_pipelines.destinations.fields import UnusableError
from engage_pipelines.destinations.normalising import email_hash, google_email, phone_hash

EMAILS = 400_000
PHONES = 20_000
TRIES = 3


def rate(hash_one: Callable[[str], str], values: Sequence[str]) -> float:
    """Hashes per second of process time, the best of a few tries."""
    best = float("inf")
    for _ in range(TRIES):
        began = time.process_time()
        for value in values:
            hash_one(value)
        best = min(best, time.process_time() - began)
    return len(values) / best


def _tried(value: str) -> str:
    try:
        return email_hash(value)
    except UnusableError:
        return ""


def main() -> None:
    """Prints one line for each kind of value."""
    emails = [f"  Person.{n}@Mail-{n % 50}.Example.com" for n in range(EMAILS)]
    hashed = [email_hash(value) for value in emails[: EMAILS // 4]]
    rows = [
        ("e-mail", rate(email_hash, emails)),
        ("e-mail, as Google compares", rate(lambda value: email_hash(value, google_email), emails)),
        ("hashed already", rate(email_hash, hashed)),
        ("no e-mail address", rate(_tried, [f"person {n}" for n in range(EMAILS // 4)])),
        ("phone", rate(phone_hash, [f"+49 151 {23_400_000 + n}" for n in range(PHONES)])),
        ("phone seen before", rate(phone_hash, ["+49 151 23456789"] * PHONES)),
    ]
    print(f"{'value':<28}{'hashes a second':>16}")
    for name, per_s in rows:
        print(f"{name:<28}{per_s:>16,.0f}")


if __name__ == "__main__":
    main()
