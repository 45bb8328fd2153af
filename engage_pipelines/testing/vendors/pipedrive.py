"""A fake Pipedrive: people and organizations by number, found by the exact value of a field; a name is needed to make one.

A custom field has a key of 40 characters; what is said of a key that no field has is passed over in silence.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import KEY, FakeApi, reply_json, route, sent_json, sent_query

PERSON_ID, COMPANY_ID = "f0e1", "a2b3"
FIELDS_AT_ONCE = 2
"""Fewer than Pipedrive tells, so that there is more than one page."""
_TABLES = {"personField": "persons", "organizationField": "organizations"}


class Fake(FakeApi):
    """What there is, by table and number."""

    login = (("x-api-token", "the-api-token"),)
    secrets = ("the-api-token",)

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, dict[int, dict[str, Any]]] = {"persons": {}, "organizations": {}}
        usual = {"name": "Name", "email": "E-mail", "phone": "Phone", "visible_to": "Visible to"}
        self.fields = {"person": {**usual, PERSON_ID: "Our id"}, "organization": {**usual, COMPANY_ID: "Our id"}}

    def settings(self, url: str) -> Mapping[str, object]:
        return {
            "domain": "acme",
            "api_token": "the-api-token",
            "person_field": PERSON_ID,
            "organization_field": COMPANY_ID,
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

    @route("GET", "/api/v1/(person|organization)Fields")
    def fields_there(self, request: Received, of: str) -> Reply:
        asked = sent_query(request)
        start, size = int(asked["start"]), min(int(asked["limit"]), FIELDS_AT_ONCE)
        there = list(self.fields[of].items())
        told = [{"key": key, "name": name} for key, name in there[start : start + size]]
        more = start + size < len(there)
        pages = {"start": start, "limit": size, "more_items_in_collection": more, **({"next_start": start + size} if more else {})}
        return reply_json({"success": True, "data": told, "additional_data": {"pagination": pages}})

    @route("POST", "/api/v1/(person|organization)Fields")
    def make_field(self, request: Received, of: str) -> Reply:
        sent = sent_json(request)
        if not sent.get("name") or sent.get("field_type") != "varchar":
            return reply_json({"success": False, "error": "Field name and type must be given."}, 400)
        key = self.key_of(of, sent["name"])
        self.fields[of][key] = sent["name"]
        return reply_json({"success": True, "data": {"key": key, **sent}}, 201)

    @staticmethod
    def key_of(of: str, name: str) -> str:
        """The key that a field of that name gets."""
        return hashlib.sha256(f"{of} {name}".encode()).hexdigest()[:40]

    @route("POST", "/api/v1/(persons|organizations)")
    def make(self, request: Received, table: str) -> Reply:
        sent = sent_json(request)
        if not sent.get("name") or self.unwanted in {sent.get(PERSON_ID), sent.get(COMPANY_ID)}:
            return reply_json({"success": False, "error": "Name must be given."}, 400)
        number = len(self.tables[table]) + 1
        self.tables[table][number] = self._known(table, sent)
        return reply_json({"success": True, "data": {"id": number}}, 201)

    @route("PUT", "/api/v1/(persons|organizations)/([0-9]+)")
    def change(self, request: Received, table: str, number: str) -> Reply:
        row = self.tables[table].get(int(number))
        if row is None:
            return reply_json({"success": False, "error": "not found"}, 404)
        row.update(self._known(table, sent_json(request)))
        return reply_json({"success": True, "data": {"id": int(number)}})

    def _known(self, table: str, sent: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in sent.items() if key in self.fields[table.removesuffix("s")]}

    def held(self) -> Mapping[str, bool]:
        told = self.key_of("person", KEY)
        return {row[PERSON_ID]: row[told] == "true" for row in self.tables["persons"].values() if told in row}
