"""Requests signed as Amazon S3, and stores that speak its protocol, want them: Signature Version 4 with the body's hash.

The path of the URL must be encoded already, as `encoded_path` does it.
Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html (November 2026)
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import parse_qsl, quote, urlsplit

from engage_pipelines.destinations.http import Request

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class Keys:
    """Who signs, and for which region."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    region: str
    session_token: str | None = field(default=None, repr=False)


def encoded_path(path: str) -> str:
    """A path with everything escaped that S3 escapes: slashes stay."""
    return quote(path, safe="/-_.~")


def signed(request: Request, keys: Keys, now_s: float) -> Request:
    """The request with the headers that vouch for it at this time, in Unix seconds."""
    at = datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%dT%H%M%SZ")
    parts = urlsplit(request.url)
    headers = {
        **request.headers,
        "Host": parts.netloc.removesuffix(_DEFAULT_PORTS.get(parts.scheme, "")),
        "X-Amz-Content-Sha256": sha256(request.body).hexdigest(),
        "X-Amz-Date": at,
        **({"X-Amz-Security-Token": keys.session_token} if keys.session_token else {}),
    }
    return replace(request, headers={**headers, "Authorization": authorization(request.method, request.url, headers, keys)})


def authorization(method: str, url: str, headers: Mapping[str, str], keys: Keys) -> str:
    """The Authorization header over all of these headers, which hold host, date and the body's hash."""
    lower = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    names, at = ";".join(sorted(lower)), lower["x-amz-date"]
    parts = urlsplit(url)
    query = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in sorted(parse_qsl(parts.query, True)))
    lines = "".join(f"{name}:{lower[name]}\n" for name in sorted(lower))
    canonical = f"{method}\n{parts.path}\n{query}\n{lines}\n{names}\n{lower['x-amz-content-sha256']}"
    scope = f"{at[:8]}/{keys.region}/s3/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{keys.secret_access_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    return f"AWS4-HMAC-SHA256 Credential={keys.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
