"""A fake Pipedrive: people and organizations by number, found by the exact value of a field; a name is needed to make one."""

from collections.abc import Mapping
from typing import Any

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import FakeApi, reply_json, route, sent_json, sent_query

PERSON_ID, PERSON_IN, COMPANY_ID, COMPANY_IN = "f0e1", "c4d5", "a2b3", "e6f7"
_TABLES = {"personField": "persons", "organizationField": "organizations"}


class Fake(FakeApi):
    """What there is, by table and number."""

    login = (("x-api-token", "the-api-token"),)
    secrets = ("the-api-token",)

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, dict[int, dict[str, Any]]] = {"persons": {}, "organizations": {}}

    def settings(self, url: str) -> Mapping[str, object]:
        return {
            "domain": "acme",
            "api_token": "the-api-token",
            "person_field": PERSON_ID,
            "organization_field": COMPANY_ID,
            "person_membership_field": PERSON_IN,
            "organization_membership_field": COMPANY_IN,
            "endpoint": url,
        }

    @route("GET", "/api/v1/users/me")
    def me(self, request: Received) -> Reply:
        return reply_json({"success": True, "data": {"id": 1}})

    @route("GET", "/api/v1/itemSearch/field")
    def search(self, request: Received) -> Reply:
        asked = sent_query(request)
        rows = self.tables[_TABLES[asked["field_type"]]]
        found = [{"id": number} for number, row in rows.items() if row.get(asked["field_key"]) == asked["term"]]
        return reply_json({"success": True, "data": found})

    @route("POST", "/api/v1/(persons|organizations)")
    def make(self, request: Received, table: str) -> Reply:
        sent = sent_json(request)
        if not sent.get("name") or self.unwanted in {sent.get(PERSON_ID), sent.get(COMPANY_ID)}:
            return reply_json({"success": False, "error": "Name must be given."}, 400)
        number = len(self.tables[table]) + 1
        self.tables[table][number] = sent
        return reply_json({"success": True, "data": {"id": number}}, 201)

    @route("PUT", "/api/v1/(persons|organizations)/([0-9]+)")
    def change(self, request: Received, table: str, number: str) -> Reply:
        row = self.tables[table].get(int(number))
        if row is None:
            return reply_json({"success": False, "error": "not found"}, 404)
        row.update(sent_json(request))
        return reply_json({"success": True, "data": {"id": int(number)}})

    def held(self) -> Mapping[str, bool]:
        return {row[PERSON_ID]: row[PERSON_IN] == "true" for row in self.tables["persons"].values() if PERSON_IN in row}
