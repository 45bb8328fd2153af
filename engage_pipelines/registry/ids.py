"""Ids of the control plane: a prefix that says what is named, then 22 random characters that are never given out twice."""

import secrets
import string
from collections.abc import Callable

IdSource = Callable[[str], str]
"""From a prefix (`aud`) to a new id (`aud_...`)."""

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_LENGTH = 22


def random_id(prefix: str) -> str:
    """A new id; 22 characters of 62 hold 131 random bits."""
    return f"{prefix}_{''.join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))}"
