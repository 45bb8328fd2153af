"""How a destination vouches for itself, as a declared value: an API key, a login, a token of people's, or OAuth 2 with refresh.

A type declares which of its settings hold what; nothing here holds a secret. With OAuth 2 the access token is not a setting: it comes from
a `TokenStore`, one per configured destination. The store of the product keeps it in a database row and renews it under the destination's
lock, so that many workers refresh once; `MemoryTokens` keeps it for as long as the settings object lives.
"""

import base64
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import quote, urlencode, urlsplit

import orjson
from pydantic import SecretStr

if TYPE_CHECKING:
    from engage_pipelines.destinations.base import Settings, Verdict


@dataclass(frozen=True, slots=True)
class Token:
    """An access token; `refresh` is the refresh token that came with it, when the vendor hands out a new one each time."""

    access: str = field(repr=False)
    refresh: str | None = field(default=None, repr=False)
    expires_in_s: float | None = None


class TokenStore(Protocol):
    """Where the access token of one configured destination lives."""

    def current(self) -> Token | None:
        """The token to try, None when there is none yet."""
        ...

    def renew(self, used: Token | None, fetch: "Callable[[Token | None], Token | Verdict]") -> "Token | Verdict":
        """The token to use in place of `used`, which was refused.

        Under the destination's lock: when another worker has put a newer one there, that one; else what `fetch` brings, kept before the
        lock is given back. `fetch` gets the latest token (its refresh token may be newer than the one in the settings), and gives a
        verdict when there is no token to be had; nothing is kept then.
        """
        ...


class MemoryTokens:
    """A store for one process."""

    def __init__(self, token: Token | None = None) -> None:
        self._token = token
        self._lock = Lock()

    def current(self) -> Token | None:
        return self._token

    def renew(self, used: Token | None, fetch: "Callable[[Token | None], Token | Verdict]") -> "Token | Verdict":
        with self._lock:
            if self._token is not None and self._token != used:
                return self._token
            got = fetch(self._token)
            if isinstance(got, Token):
                self._token = got
            return got


@dataclass(frozen=True, slots=True)
class Signed:
    """What authentication adds to a request: headers, and parameters of the query."""

    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    query: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    def url(self, url: str) -> str:
        """The URL with the parameters."""
        if not self.query:
            return url
        return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(self.query)}"


class Authentication(ABC):
    """One way of vouching for a destination; the strings in it name settings."""

    @abstractmethod
    def sign(self, settings: "Settings", token: Token | None) -> Signed:
        """What a request carries."""

    @property
    @abstractmethod
    def words(self) -> str:
        """How people read it in the catalogue."""


@dataclass(frozen=True, slots=True)
class ApiKey(Authentication):
    """A key in a header, `prefix` in front of it."""

    setting: str = "api_key"
    header: str = "Authorization"
    prefix: str = ""

    def sign(self, settings: "Settings", token: Token | None) -> Signed:
        return Signed({self.header: self.prefix + setting_text(settings, self.setting)})

    @property
    def words(self) -> str:
        return "API key"


@dataclass(frozen=True, slots=True)
class QueryKey(Authentication):
    """A key among the parameters of the URL, for vendors that take it nowhere else."""

    parameter: str
    setting: str = "api_key"

    def sign(self, settings: "Settings", token: Token | None) -> Signed:
        return Signed(query={self.parameter: setting_text(settings, self.setting)})

    @property
    def words(self) -> str:
        return "API key"


@dataclass(frozen=True, slots=True)
class Basic(Authentication):
    """A login: a name and a password, each from a setting; an empty setting name means that the vendor wants that half empty."""

    user: str
    password: str = ""

    def sign(self, settings: "Settings", token: Token | None) -> Signed:
        user, password = (setting_text(settings, name) if name else "" for name in (self.user, self.password))
        return Signed({"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"})

    @property
    def words(self) -> str:
        return "login"


@dataclass(frozen=True, slots=True)
class Bearer(Authentication):
    """A token that people made in the vendor's pages and that does not expire."""

    setting: str = "token"

    def sign(self, settings: "Settings", token: Token | None) -> Signed:
        return Signed({"Authorization": f"Bearer {setting_text(settings, self.setting)}"})

    @property
    def words(self) -> str:
        return "token"


@dataclass(frozen=True, slots=True)
class OAuth2(Authentication):
    """OAuth 2: a refresh token or client credentials buy an access token, again when it is refused (RFC 6749, sections 4.4 and 6).

    `client_in` says where the vendor wants the client's id and secret. `path` is the token endpoint's path at the settings' own endpoint,
    `url` the whole address of the vendor's; the type's `token_url` may say otherwise.
    """

    url: str
    client_id: str = "client_id"
    client_secret: str = "client_secret"  # noqa: S105 (the name of a setting)
    refresh_token: str = "refresh_token"  # noqa: S105 (the name of a setting)
    grant: Literal["refresh_token", "client_credentials"] = "refresh_token"
    scope: str = ""
    client_in: Literal["body", "basic", "query"] = "body"
    header: str = "Authorization"
    prefix: str = "Bearer "

    def sign(self, settings: "Settings", token: Token | None) -> Signed:
        return Signed({self.header: self.prefix + token.access} if token else {})

    @property
    def words(self) -> str:
        return "OAuth 2"

    def form(self, settings: "Settings", latest: Token | None) -> tuple[dict[str, str], Signed]:
        """The form that buys a token, and what else the request for it carries."""
        client = {"client_id": setting_text(settings, self.client_id), "client_secret": setting_text(settings, self.client_secret)}
        form = {"grant_type": self.grant}
        if self.grant == "refresh_token":
            newer = latest.refresh if latest else None
            form["refresh_token"] = newer or setting_text(settings, self.refresh_token)
        if self.scope:
            form["scope"] = self.scope
        if self.client_in == "body":
            return {**form, **client}, Signed()
        if self.client_in == "query":
            return {}, Signed(query={**form, **client})
        login = ":".join(quote(part, safe="") for part in client.values())
        return form, Signed({"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"})


def setting_text(settings: "Settings", name: str) -> str:
    """The text of a setting, the secret itself when it is one; empty when there is none."""
    value: Any = getattr(settings, name)
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    return "" if text is None else str(text)


def read_token(body: bytes, latest: Token | None) -> Token | None:
    """The token of a token endpoint's answer, None when there is none in it; an unrenewed refresh token is kept."""
    try:
        said: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    access = said.get("access_token") if isinstance(said, dict) else None
    if not isinstance(access, str) or not access:
        return None
    refresh, expires = said.get("refresh_token"), said.get("expires_in")
    kept = refresh if isinstance(refresh, str) and refresh else (latest.refresh if latest else None)
    return Token(access, kept, float(expires) if isinstance(expires, int | float) and not isinstance(expires, bool) else None)
