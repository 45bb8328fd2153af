"""Digests of values: what the database keeps of the value of a trait that was tried, to know it again without keeping it."""

import hashlib

DIGEST_LENGTH = 32


def digest_of(value: str) -> str:
    """The digest of a value's JSON text; in DuckDB `left(sha256(value), DIGEST_LENGTH)`."""
    return hashlib.sha256(value.encode()).hexdigest()[:DIGEST_LENGTH]
