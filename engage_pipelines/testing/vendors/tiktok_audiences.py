"""A fake TikTok with the custom audiences of one advertiser: it answers 200 to everything, and what became of a request says its code."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import FakeApi, reply_json, route, sent_json, sent_query

_API = "/open_api/v1.3"


class Fake(FakeApi):
    """Audiences by id, people by the first hash that they are named by."""

    login = (("access-token", "the-access-token"),)
    secrets = ("the-access-token",)
    list_id = "77"

    def __init__(self) -> None:
        super().__init__()
        self.names = {"77": "Big spenders"}
        self.audiences: dict[str, set[str]] = {"77": set()}

    def settings(self, url: str) -> Mapping[str, object]:
        return {"access_token": "the-access-token", "advertiser_id": "4711", "endpoint": url}

    def unauthorised(self) -> Reply:
        return _said(40105, "Access token is incorrect or has been revoked.")

    @route("GET", f"{_API}/user/info/")
    def user(self, request: Received) -> Reply:
        return _said(0, "OK", {"display_name": "Somebody"})

    @route("POST", f"{_API}/segment/audience/")
    def make(self, request: Received) -> Reply:
        sent = sent_json(request)
        if sent["advertiser_id"] != "4711" or len(sent["custom_audience_name"]) > 70:
            return _said(40002, "custom_audience_name: too long, or no such advertiser")
        made = str(77 + len(self.names))
        self.names[made] = sent["custom_audience_name"]
        self.audiences[made] = set()
        return _said(0, "OK", {"audience_id": made})

    @route("GET", f"{_API}/dmp/custom_audience/get")
    def get(self, request: Received) -> Reply:
        ids = orjson.loads(sent_query(request)["custom_audience_ids"])
        return _said(
            0, "OK", {"list": [{"audience_details": {"audience_id": id_, "name": self.names[id_]}} for id_ in ids if id_ in self.names]}
        )

    @route("GET", f"{_API}/dmp/custom_audience/list/")
    def there(self, request: Received) -> Reply:
        """One audience a page, so that a reader has to turn pages."""
        page, names = int(sent_query(request)["page"]), list(self.names.items())
        rows = [{"audience_id": id_, "name": name} for id_, name in names[page - 1 : page]]
        return _said(0, "OK", {"list": rows, "page_info": {"page": page, "total_page": len(names)}})

    @route("POST", f"{_API}/segment/mapping/")
    def change(self, request: Received) -> Reply:
        sent = sent_json(request)
        for row in sent["batch_data"]:
            ids = [one for one in row if one]
            bad = [one for one in ids if not re.fullmatch("[0-9a-f]{64}", one["id"]) or one["id"] == self.unwanted]
            if bad or not ids or len(row) != len(sent["id_schema"]):
                return _said(40002, "batch_data: an id is not valid")
            if any(id_ not in self.audiences for one in ids for id_ in one["audience_ids"]):
                return _said(40007, "audience_ids: there is no such audience")
        for row in sent["batch_data"]:
            first = next(one for one in row if one)
            held = self.audiences[first["audience_ids"][0]]
            (held.add if sent["action"] == "add" else held.discard)(first["id"])
        return _said(0, "OK", {})

    def held(self) -> Mapping[str, bool]:
        return dict.fromkeys(self.audiences["77"], True)


def _said(code: int, message: str, data: Any = None) -> Reply:
    return reply_json({"code": code, "message": message, "request_id": "1", "data": data or {}})
