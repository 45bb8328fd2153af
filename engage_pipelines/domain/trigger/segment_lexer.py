"""The tokens of a trigger as Segment's own lexer cuts them, defects included.

Source: npm @segment/fql-ts, observed. A text that it refuses has no tokens at all.
"""

import re
from typing import NamedTuple

_WHITESPACE = " \t\n"
_TERMINATORS = ("", *_WHITESPACE, ",", "]", ")")
_SINGLE = {".": "dot", "[": "brackleft", "]": "brackright", ",": "comma", "(": "parenleft", ")": "parenright"}
_WORDS = {"a": ("and", "conditional"), "o": ("or", "conditional"), "n": ("null", "null")}
_LETTER = re.compile("[A-Za-z]")
_DIGIT = re.compile("[0-9]")
_IN_IDENT = re.compile(r"[A-Za-z0-9_\-\\]")
_IDENT_START = re.compile(r"[A-Za-z_\\]")


class Token(NamedTuple):
    type: str
    value: str


END = Token("eos", "eos")


class LexerFault(Exception):  # noqa: N818 - the fault is the peer's
    """The text has no tokens."""


def segment_tokens(text: str) -> list[Token]:
    """All tokens with the end mark; empty when the lexer refuses the text."""
    units = text if text.isascii() else _utf16(text)
    try:
        return _Lexer(units).run()
    except LexerFault:
        return []


def _utf16(text: str) -> str:
    raw = text.encode("utf-16-le", "surrogatepass")
    return "".join(chr(raw[n] | raw[n + 1] << 8) for n in range(0, len(raw), 2))


def _joined(units: str) -> str:
    return units if units.isascii() else units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


class _Lexer:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def run(self) -> list[Token]:
        tokens: list[Token] = []
        while self.at < len(self.text):
            c = self._next()
            if c not in _WHITESPACE:
                tokens.append(self._token(c))
        return [Token(kind, _joined(value)) for kind, value in [*tokens, END]]

    def _token(self, c: str) -> Token:
        if c == "!" and (_LETTER.match(self._peek()) or self._peek() == "("):
            return Token("operator", "!")
        if _IDENT_START.match(c):
            return self._word(c) or self._identifier(c)
        if c in "!=<>":
            return self._operator(c)
        if c in "+-" or _DIGIT.match(c):
            return self._number(c)
        if c in "\"'":
            return self._string(c)
        if c in _SINGLE:
            return Token(_SINGLE[c], c)
        raise LexerFault

    def _next(self) -> str:
        c = self.text[self.at : self.at + 1]
        self.at += len(c)
        return c

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _operator(self, c: str) -> Token:
        if c == "=":
            return Token("operator", c)
        if self._accept("="):
            return Token("operator", c + "=")
        if c == "!":
            raise LexerFault
        return Token("operator", c)

    def _word(self, c: str) -> Token | None:
        word, kind = _WORDS.get(c, ("", ""))
        return Token(kind, word) if word and self._accept(word[1:]) else None

    def _accept(self, rest: str) -> bool:
        """Takes the characters if they come next and end there; at the end of the text it swallows what it has looked at."""
        seen = ""
        for _ in rest:
            c = self._next()
            if not c:
                return False
            seen += c
            if c in _TERMINATORS:
                break
        if seen == rest and self._peek() in _TERMINATORS:
            return True
        self.at -= len(seen)
        return False

    def _identifier(self, c: str) -> Token:
        name = ""
        while True:
            if c == "\\":
                c = self._next()
                if not c:
                    raise LexerFault
            name += c
            if not _IN_IDENT.match(self._peek()):
                break
            c = self._next()
        if self._peek() not in (*_TERMINATORS, ".", "(", "=", "!"):
            raise LexerFault
        return Token("ident", name)

    def _number(self, c: str) -> Token:
        digits, decimal = c, False
        while _DIGIT.match(self._peek()) or self._peek() == ".":
            c = self._next()
            digits += c
            if c == ".":
                if decimal or self._peek() in _TERMINATORS:
                    raise LexerFault
                decimal = True
        return Token("number", digits)

    def _string(self, quote: str) -> Token:
        end = self.text.find(quote, self.at)
        if end < 0:
            raise LexerFault
        value = self.text[self.at : end]
        # a closing quote that no terminator follows is not taken: it opens the next string
        self.at = end
        self._accept(quote)
        return Token("string", f"{quote}{value}{quote}")
