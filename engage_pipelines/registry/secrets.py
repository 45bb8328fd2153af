"""Secrets in settings: kept as a reference or encrypted, resolved only by whoever is about to use them, masked everywhere else.

A reference is `env:NAME` or `file:/absolute/path`. A secret given in the clear is encrypted with ENGAGE_KEYS (`enc:...`, Fernet; the first
key encrypts, all of them decrypt, so keys can be rotated) or refused. No function here puts a secret into a message.
"""

import hmac
import re
from pathlib import Path
from typing import Any

from engage_pipelines.domain.errors import ConfigurationError, StateError
from engage_pipelines.settings import secret_from_environment

BULLETS = "••••••••"
"""What people see instead of a secret; given back in an update it means: keep the old value."""

_ENVIRONMENT = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*\Z")
_FILE = re.compile(r"file:/.+\Z")
_ENCRYPTED = "enc:"


def is_reference(text: str) -> bool:
    """True for `env:NAME` and `file:/path`."""
    return bool(_ENVIRONMENT.match(text) or _FILE.match(text))


def masked(stored: str) -> str:
    """What may be shown of a stored secret: a reference as it is, anything else as bullets."""
    return stored if is_reference(stored) else BULLETS


class Vault:
    """Encrypts and decrypts with the operator's keys, newest first."""

    __slots__ = ("_keys",)

    def __init__(self, keys: tuple[str, ...] = ()) -> None:
        self._keys = keys

    @property
    def has_keys(self) -> bool:
        return bool(self._keys)

    def __repr__(self) -> str:
        return f"Vault({len(self._keys)} keys)"

    def keep(self, text: str, *, field: str) -> str:
        """What to store for a secret that someone gave: the reference itself, or the value encrypted.

        Raises ConfigurationError when it is neither a reference nor can be encrypted.
        """
        if is_reference(text):
            return text
        if text.startswith(("env:", "file:")):
            kind, _, rest = text.partition(":")
            raise ConfigurationError(f"{field}: {text!r} is no reference to a secret.", _REMEDY_FOR[kind] if rest else _REMEDY)
        if text.startswith(_ENCRYPTED):
            self._decrypt(text, field)
            return text
        if not self._keys:
            raise ConfigurationError(f"{field} is a secret and was given in the clear.", _REMEDY)
        return _ENCRYPTED + self._fernet().encrypt(text.encode()).decode()

    def seal(self, text: str) -> str:
        """A secret of our own making, encrypted with the newest key; there must be one (`has_keys`)."""
        return _ENCRYPTED + self._fernet().encrypt(text.encode()).decode()

    def resolve(self, stored: str, *, field: str) -> str:
        """The secret itself. Raises StateError, naming the reference, when it is not there."""
        if stored.startswith("env:"):
            value = secret_from_environment(stored.removeprefix("env:"))
            if not value:
                raise StateError(
                    f"{field} refers to {stored}, which is not set.", f"Set {stored.removeprefix('env:')} where the sync runs."
                )
            return value
        if stored.startswith("file:"):
            return _read(Path(stored.removeprefix("file:")), field)
        return self._decrypt(stored, field)

    def is_under_newest(self, stored: str, *, field: str) -> bool:
        """True for a reference, and for what the first key alone decrypts. Raises StateError when no key does."""
        if is_reference(stored):
            return True
        self._decrypt(stored, field)
        try:
            Vault(self._keys[:1])._decrypt(stored, field)
        except StateError:
            return False
        return True

    def rotated(self, stored: str, *, field: str) -> str:
        """What to store instead, so that the first key alone decrypts it; the same text when it does already. Raises StateError."""
        if self.is_under_newest(stored, field=field):
            return stored
        return _ENCRYPTED + self._fernet().encrypt(self._decrypt(stored, field).encode()).decode()

    def holds(self, stored: str, text: str) -> bool:
        """True when `stored` is `text`, as it is or encrypted; giving the same secret again changes nothing."""
        if stored == text or not stored.startswith(_ENCRYPTED) or is_reference(text):
            return stored == text
        try:
            return hmac.compare_digest(self._decrypt(stored, "").encode(), text.encode())
        except StateError:
            return False

    def _decrypt(self, stored: str, field: str) -> str:
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 - takes long to import and most secrets are references

        if not self._keys:
            raise StateError(f"{field} is encrypted and there is no key.", "Set ENGAGE_KEYS to the keys it was encrypted with.")
        try:
            return self._fernet().decrypt(stored.removeprefix(_ENCRYPTED).encode()).decode()
        except (InvalidToken, ValueError):
            raise StateError(
                f"{field} cannot be decrypted with ENGAGE_KEYS.", "Add the key it was encrypted with, or set the secret again."
            ) from None

    def _fernet(self) -> Any:
        from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415

        try:
            return MultiFernet([Fernet(key) for key in self._keys])
        except ValueError:
            raise ConfigurationError(
                "ENGAGE_KEYS holds something that is not a Fernet key.",
                'Make one with: python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"',
            ) from None


_REMEDY = "Write a reference, env:NAME or file:/path, or set ENGAGE_KEYS to have secrets encrypted."
_REMEDY_FOR = {"env": "Write env: and the name of an environment variable.", "file": "Write file: and an absolute path."}


def _read(path: Path, field: str) -> str:
    try:
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise StateError(f"{field} refers to file:{path}, which cannot be read: {why}.", "Check the path and its permissions.") from None
    if not text:
        raise StateError(f"{field} refers to file:{path}, which is empty.", "Write the secret into it.")
    return text
