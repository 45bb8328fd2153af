"""A fake Display & Video 360 with the Customer Match audiences of one advertiser: a request with anything bad in it is refused whole."""

import re
from collections.abc import Mapping
from typing import Any

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import FakeApi, reply_json, route, sent_json, sent_query

MOST = 500_000
_AUDIENCES = "/v4/firstPartyAndPartnerAudiences"


class Fake(FakeApi):
    """Audiences by id, people by the hash of their first e-mail address or phone number, or by their device."""

    secrets = ("the-client-secret", "the-refresh-token")
    token_path = "/token"  # noqa: S105 (a path)
    list_id = "77"

    def __init__(self) -> None:
        super().__init__()
        self.audiences: dict[str, dict[str, Any]] = {"77": {"displayName": "Big spenders", "audienceType": "CUSTOMER_MATCH_CONTACT_INFO"}}
        self.members: dict[str, set[str]] = {"77": set()}

    def settings(self, url: str) -> Mapping[str, object]:
        secrets = {"client_secret": "the-client-secret", "refresh_token": "the-refresh-token"}
        return {**secrets, "client_id": "the-client", "advertiser_id": "4711", "endpoint": url}

    @route("GET", "/v4/advertisers/4711")
    def advertiser(self, request: Received) -> Reply:
        return reply_json({"advertiserId": "4711"})

    @route("GET", _AUDIENCES)
    def there(self, request: Received) -> Reply:
        """One audience a page, so that a reader has to turn pages."""
        asked = sent_query(request)
        page, ids = int(asked.get("pageToken", "0")), list(self.audiences)
        more = {"nextPageToken": str(page + 1)} if page + 1 < len(ids) else {}
        return reply_json({"firstPartyAndPartnerAudiences": [self._shown(ids[page])], **more})

    @route("GET", rf"{_AUDIENCES}/(\d+)")
    def audience(self, request: Received, id_: str) -> Reply:
        return reply_json(self._shown(id_)) if id_ in self.audiences else _error(404, "Requested entity was not found.")

    @route("POST", _AUDIENCES)
    def make(self, request: Received) -> Reply:
        made = str(77 + len(self.audiences))
        self.audiences[made] = sent_json(request)
        self.members[made] = set()
        return reply_json(self._shown(made))

    @route("POST", rf"{_AUDIENCES}/(\d+):editCustomerMatchMembers")
    def edit(self, request: Received, id_: str) -> Reply:
        sent = sent_json(request)
        if id_ not in self.audiences or sent.pop("advertiserId") != "4711" or len(sent) != 1:
            return _error(400, "Request contains an invalid argument.")
        ((what, listed),) = sent.items()
        rows = listed.get("contactInfos") or listed["mobileDeviceIds"]
        kind = "CUSTOMER_MATCH_CONTACT_INFO" if "contactInfos" in listed else "CUSTOMER_MATCH_DEVICE_ID"
        if len(rows) > MOST or self.audiences[id_]["audienceType"] != kind or any(self._is_bad(row) for row in rows):
            return _error(400, "Request contains an invalid argument.")
        who = {_named(row) for row in rows}
        self.members[id_] = self.members[id_] | who if what.startswith("added") else self.members[id_] - who
        return reply_json({"firstPartyAndPartnerAudienceId": id_})

    def _is_bad(self, row: Any) -> bool:
        if isinstance(row, str):
            return row == self.unwanted
        hashes = [value for name in ("hashedEmails", "hashedPhoneNumbers") for value in row.get(name, [])]
        return any(not re.fullmatch("[0-9a-f]{64}", value) for value in hashes) or _named(row) == self.unwanted

    def _shown(self, id_: str) -> dict[str, Any]:
        return {"firstPartyAndPartnerAudienceType": "TYPE_FIRST_PARTY", **self.audiences[id_], "firstPartyAndPartnerAudienceId": id_}

    def held(self) -> Mapping[str, bool]:
        return dict.fromkeys(self.members["77"], True)


def _named(row: Any) -> str:
    return row if isinstance(row, str) else (row.get("hashedEmails") or row.get("hashedPhoneNumbers") or [row.get("hashedLastName")])[0]


def _error(status: int, message: str) -> Reply:
    return reply_json({"error": {"code": status, "message": message, "status": "INVALID_ARGUMENT"}}, status)
