"""A fake Graph API with the custom audiences of one ad account: 10,000 people at most in a request, invalid entries counted, not named."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import FakeApi, reply_json, route, sent_json, sent_query

MOST = 10_000
_PLAIN = frozenset({"EXTERN_ID", "MADID"})


class Fake(FakeApi):
    """Audiences by id, people by their external id, or the hash of their e-mail address where they have none."""

    login = (("authorization", "Bearer the-access-token"),)
    secrets = ("the-access-token",)
    list_id = "77"

    def __init__(self) -> None:
        super().__init__()
        self.names = {"77": "Big spenders"}
        self.audiences: dict[str, set[str]] = {"77": set()}

    def settings(self, url: str) -> Mapping[str, object]:
        return {"access_token": "the-access-token", "ad_account_id": "act_4711", "endpoint": url}

    def unauthorised(self) -> Reply:
        return _error(400, 190, "Invalid OAuth access token.")

    @route("GET", "/v24.0/act_4711")
    def account(self, request: Received) -> Reply:
        return reply_json({"id": "act_4711"})

    @route("GET", "/v24.0/act_4711/customaudiences")
    def there(self, request: Received) -> Reply:
        (wanted,) = orjson.loads(sent_query(request)["filtering"])
        return reply_json({"data": [{"id": id_, "name": name} for id_, name in self.names.items() if name == wanted["value"]]})

    @route("POST", "/v24.0/act_4711/customaudiences")
    def make(self, request: Received) -> Reply:
        sent = sent_json(request)
        if sent["subtype"] != "CUSTOM" or not sent["customer_file_source"]:
            return _error(400, 100, "Invalid parameter")
        made = str(77 + len(self.names))
        self.names[made] = sent["name"]
        self.audiences[made] = set()
        return reply_json({"id": made})

    @route("GET", r"/v24.0/(\d+)")
    def audience(self, request: Received, id_: str) -> Reply:
        if id_ not in self.names:
            return _error(400, 100, f"Object with ID '{id_}' does not exist", subcode=33)
        return reply_json({"id": id_, "name": self.names[id_]})

    @route("POST", r"/v24.0/(\d+)/users")
    def add(self, request: Received, id_: str) -> Reply:
        return self._change(request, id_, adds=True)

    @route("DELETE", r"/v24.0/(\d+)/users")
    def remove(self, request: Received, id_: str) -> Reply:
        return self._change(request, id_, adds=False)

    def _change(self, request: Received, id_: str, *, adds: bool) -> Reply:
        payload = sent_json(request)["payload"]
        if id_ not in self.names or len(payload["data"]) > MOST:
            return _error(400, 100, "Invalid parameter")
        rows = [dict(zip(payload["schema"], row, strict=True)) for row in payload["data"]]
        good = [row["EXTERN_ID"] or row["EMAIL"] for row in rows if self._is_valid(row)]
        held = self.audiences[id_]
        self.audiences[id_] = held | set(good) if adds else held - set(good)
        return reply_json({"audience_id": id_, "num_received": len(rows), "num_invalid_entries": len(rows) - len(good)})

    def _is_valid(self, row: Mapping[str, str]) -> bool:
        hashes = all(name in _PLAIN or not value or re.fullmatch("[0-9a-f]{64}", value) for name, value in row.items())
        return hashes and any(row.values()) and self.unwanted not in {row["EXTERN_ID"] or row["EMAIL"]} - {""}

    def held(self) -> Mapping[str, bool]:
        return dict.fromkeys(self.audiences["77"], True)


def _error(status: int, code: int, message: str, *, subcode: int | None = None) -> Reply:
    error: dict[str, Any] = {"message": message, "type": "OAuthException", "code": code}
    return reply_json({"error": error | ({"error_subcode": subcode} if subcode else {})}, status)
