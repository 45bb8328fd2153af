"""Texts that people write and others read: names, descriptions, definitions and triggers, whichever way they come in."""

from collections.abc import Mapping
from typing import Any

from engage_pipelines.domain.errors import ConfigurationError

MOST_NAME = 300
MOST_DESCRIPTION = 10_000
_LINES = {"name": MOST_NAME}
_TEXTS = {"description": MOST_DESCRIPTION, "definition": None, "trigger": None}
_BREAKS = "\n\r\t"


class TextError(ConfigurationError):
    """A text that cannot be kept; `field` says which."""

    def __init__(self, what: str, remedy: str, field: str) -> None:
        super().__init__(what, remedy)
        self.field = field


def check_texts(values: Mapping[str, Any]) -> None:
    """Those of the columns that hold a text: within bounds, and nothing in it that nobody can see. Raises TextError."""
    for name, most in {**_LINES, **_TEXTS}.items():
        text = values.get(name)
        if not isinstance(text, str):
            continue
        if most is not None and len(text) > most:
            raise TextError(f"The {name} has {len(text):,} characters; at most {most:,} can be kept.", "Shorten it.", name)
        breaks = _BREAKS if name in _TEXTS else ""
        found = next((at for at, each in enumerate(text) if is_control(each) and each not in breaks), None)
        if found is not None:
            what = f"The {name} {text[:80]!r} holds a control character at place {found + 1}: {text[found]!r}."
            raise TextError(what, "Take it out.", name)


def is_control(character: str) -> bool:
    return ord(character) < 32 or 127 <= ord(character) < 160
