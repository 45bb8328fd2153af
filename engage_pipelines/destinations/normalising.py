"""Personal data as advertising and mailing vendors want it: normalised, then hashed with SHA-256, lower-case hexadecimal.

A value that is a SHA-256 already (64 hexadecimal digits) is taken as it is, in lower case. A value that cannot be normalised raises
UnusableError, which names the kind of value and never the value; the record is then rejected and the others go.

| kind | normalised to | sources |
|---|---|---|
| e-mail | without spaces around, lower case | Google Customer Match, Meta, LinkedIn, TikTok, The Trade Desk |
| e-mail, google | and at gmail.com without dots and what follows a plus | support.google.com/google-ads/answer/7659867 |
| phone | E.164, with or without the plus | Google, TikTok: with; Meta: without |
| name | lower case, spaces around and punctuation gone | developers.facebook.com/docs/marketing-api/audiences/guides/custom-audiences |
| country | two letters, ISO 3166-1, lower case | Meta |
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from typing import Any, Literal

from engage_pipelines.destinations.fields import UnusableError

_EMAIL = re.compile(r"[^\s@,;<>\"()]+@[^\s@.,;<>\"()]+(?:\.[^\s@.,;<>\"()]+)+").fullmatch
_HASH = re.compile(r"[0-9a-fA-F]{64}").fullmatch
_NOT_IN_NAMES = re.compile(r"[\W_]+")
_DIGITS = re.compile(r"\D+")
_PUNCTUATION = str.maketrans("", "", " -().")
_GOOGLE_MAIL = ("@gmail.com", "@googlemail.com")


def is_hashed(value: str) -> bool:
    """True for what is a SHA-256 in hexadecimal digits already."""
    return len(value) == 64 and _HASH(value) is not None


def hashed(value: str) -> str:
    """SHA-256 of a value that is normalised already."""
    return sha256(value.encode()).hexdigest()


def email(value: str) -> str:
    """An e-mail address without spaces around, in lower case. Raises UnusableError when it is none."""
    text = value.strip().lower()
    if _EMAIL(text) is None:
        raise UnusableError("the e-mail address cannot be used: it is not of the form name@host.tld")
    return text


def google_email(value: str) -> str:
    """An e-mail address as Google compares them: dots, and what follows a plus, mean nothing before @gmail.com."""
    text = email(value)
    if not text.endswith(_GOOGLE_MAIL):
        return text
    name, _, host = text.partition("@")
    return f"{name.partition('+')[0].replace('.', '')}@{host}"


def email_hash(value: str, normalise: Callable[[str], str] = email) -> str:
    """SHA-256 of an e-mail address, or the hash itself when it is one."""
    text = value.strip()
    if len(text) == 64 and _HASH(text) is not None:
        return text.lower()
    return sha256(normalise(text).encode()).hexdigest()


def phone(value: str, *, region: str | None = None) -> str:
    """A phone number as E.164: `+` and digits. `region` (ISO 3166-1, such as `DE`) tells the country of numbers without one.

    Raises UnusableError when it is no number that can exist, or its country is unknown.
    """
    text = value.strip()
    return _plain_phone(text) or _parsed_phone(text, region.strip().upper() if region else None)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the numbers of one calling code are built: how many digits follow the code, and what is no part of a number in front of them."""

    digits_of_code: int
    lengths: frozenset[int]
    prefix: str | re.Pattern[str]
    """Text where it can be no more than that, which is quicker to look for; empty for none."""


def _plain_phone(text: str) -> str | None:
    """A number that is international and complete already, as E.164; None when it takes parsing to know. Parsing would give the same."""
    if not text.startswith("+"):
        return None
    numerals = text[1:].replace(" ", "")
    if not numerals.isdecimal():
        numerals = numerals.translate(_PUNCTUATION)
    if not (numerals.isdecimal() and numerals.isascii()):
        return None
    plan = _plan(numerals[:3])
    if plan is None:
        return None
    national = numerals[plan.digits_of_code :]
    if len(national) not in plan.lengths:
        return None
    prefix = plan.prefix
    if isinstance(prefix, str):
        return None if prefix and national.startswith(prefix) else f"+{numerals}"
    in_front = prefix.match(national)
    return None if in_front is not None and in_front.end() else f"+{numerals}"


@cache
def _plan(start: str) -> _Plan | None:
    """The plan of the calling code that a number starts with; None for codes of no country."""
    import phonenumbers  # noqa: PLC0415 (heavy, and only some types need it)

    for size in (1, 2, 3):
        regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(start[:size] or 0))
        if regions:
            known: Any = phonenumbers.PhoneMetadata.metadata_for_region(regions[0])
            if known is None:
                return None
            prefix: str = known.national_prefix_for_parsing or ""
            pattern = prefix if not prefix or prefix.isdecimal() else re.compile(prefix)
            return _Plan(size, frozenset(known.general_desc.possible_length), pattern)
    return None


@lru_cache(maxsize=1 << 14)
def _parsed_phone(value: str, region: str | None) -> str:
    import phonenumbers  # noqa: PLC0415 (heavy, and only some types need it)

    try:
        number = phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        hint = "" if region else "; write it with a plus and the country code, or give the country"
        raise UnusableError(f"the phone number cannot be used{hint}") from None
    if not phonenumbers.is_possible_number(number):
        raise UnusableError("the phone number cannot be used: it has too few or too many digits")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def phone_hash(value: str, *, region: str | None = None, plus: Literal["with", "without"] = "with") -> str:
    """SHA-256 of a phone number in E.164, with its plus or (as Meta wants it) without; the hash itself when it is one."""
    text = value.strip()
    if is_hashed(text):
        return text.lower()
    number = phone(text, region=region)
    return hashed(number if plus == "with" else number[1:])


def name(value: str) -> str:
    """A name in lower case, without punctuation, digits kept, letters of any script as they are (NFC)."""
    text = _NOT_IN_NAMES.sub("", unicodedata.normalize("NFC", value).lower())
    if not text:
        raise UnusableError("the name cannot be used: there is no letter in it")
    return text


def country(value: str) -> str:
    """A country as two lower-case letters of ISO 3166-1."""
    text = value.strip().lower()
    if len(text) != 2 or not text.isascii() or not text.isalpha():
        raise UnusableError("the country cannot be used: it must be two letters, such as de")
    return text


def postal_code(value: str) -> str:
    """A postal code in lower case, without spaces and dashes."""
    text = re.sub(r"[\s-]+", "", value).lower()
    if not text:
        raise UnusableError("the postal code cannot be used: it is empty")
    return text


def digits(value: str) -> str:
    """The digits of a value alone."""
    found = _DIGITS.sub("", value)
    if not found:
        raise UnusableError("the number cannot be used: there is no digit in it")
    return found


def text_hash(value: str, normalise: Callable[[str], str] = str.strip) -> str:
    """SHA-256 of any value after `normalise`; the hash itself when it is one."""
    text = value.strip()
    return text.lower() if is_hashed(text) else hashed(normalise(text))
